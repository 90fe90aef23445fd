#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The leading archiver freezes at work, one that stands by takes over, the first one wakes and stands by, and
leads again when the other one stops: every record is archived exactly once, and no worker outlives the lease.

    frozen_archiver.py HOLDFAST
"""
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book  # noqa: E402

LEASE_S = 10
SLOW = "[adapter slow]\nmodule = null\npause = 60s\nrequired = no\ninterval = 1s\n"


def leader(d):
    """The number of the process that leads, or 0."""
    seen = d.status().get("archiver")
    return int(seen["holder"].rsplit(" ", 1)[1]) if seen and seen["leads"] else 0


def runs(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def freeze(d, second):
    """Within the lease the frozen one's workers are gone; then, and not before, the other one leads."""
    first = d.running["archiver"]
    await_true("the slow adapter's worker runs", d.workers, 30)
    time.sleep(0.3)  # in the middle of what it does
    os.kill(first.pid, signal.SIGSTOP)
    began = time.monotonic()
    workers = d.workers()
    check(workers, "no worker runs")
    await_true("its workers ended by themselves", lambda: not any(runs(p) for p in workers), LEASE_S + 1)
    check(leader(d) != second.pid, "another archiver leads while a worker of the first one runs")
    await_true("the other one leads", lambda: leader(d) == second.pid, LEASE_S + 20)
    check(time.monotonic() - began < LEASE_S + 5, "it took %.1f s", time.monotonic() - began)


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.prepare()
        with open(os.path.join(d.data, "holdfast.conf"), "a") as f:
            f.write(SLOW)
        d.start()
        first = d.running["archiver"]
        path = os.path.join(d.dir, "second.log")
        with open(path, "wb") as log:
            second = subprocess.Popen(d.command("archiver"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            await_true("the second one stands by", lambda: "archiver.standby" in open(path).read(), 30)
            check(leader(d) == first.pid, "the first one does not lead")
            book = Book(d.dir, rooms=8)
            d.holdfast("ingest", "--source", "irc:test", book.make(3000))
            d.holdfast("drain", "--timeout", "1s", ok=None)
            freeze(d, second)
            d.holdfast("adapter", "retire", "slow", "--reason", "it did what it was for")
            d.holdfast("ingest", "--source", "irc:test", book.make(3000))
            d.drain(60)
            os.kill(first.pid, signal.SIGCONT)
            await_true("the first one stands by", lambda: "archiver.lost" in d.log("archiver"), 30)
            d.holdfast("ingest", "--source", "irc:test", book.make(500))
            d.drain(60)
            check(leader(d) == second.pid and first.poll() is None, "the first one leads, or ended")
            second.terminate()
            check(second.wait(60) == 0, "the second one did not end well")
            await_true("the first one leads again, at once", lambda: leader(d) == first.pid, 5)
            d.holdfast("ingest", "--source", "irc:test", book.make(500))
            d.drain(60)
            status = d.status()
            check(status["verdict"] == "COMPLETE", "status: %s", status)
        finally:
            second.kill()
            second.wait()
        d.cut()
        archives = Archives(d.out, d.mails())
        compare_with(book.expected, archives)
        print("%d records in, %d out" % (book.expected.total, archives.tar))


if __name__ == "__main__":
    main()
