#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A capture freezes, another takes over its partitions, the first one wakes: nothing is lost or doubled.

    frozen.py HOLDFAST
"""
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book  # noqa: E402


def captured(d):
    return d.status()["captured"]


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        book = Book(d.dir, rooms=8)
        d.holdfast("ingest", "--source", "irc:test", book.make(500))
        await_true("captured", lambda: captured(d) >= 500, 30)
        log = open(os.path.join(d.dir, "second.log"), "wb")
        second = subprocess.Popen(d.command("capture"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            frozen = d.running["capture"].pid
            feed = subprocess.Popen(d.command("ingest", "--source", "irc:test", book.make(8000)),
                                    stdout=subprocess.DEVNULL)
            os.kill(frozen, signal.SIGSTOP)
            check(feed.wait(120) == 0, "the ingest failed")
            total = book.expected.total
            await_true("the other one captured everything", lambda: captured(d) >= total, 90)
            os.kill(frozen, signal.SIGCONT)
            d.holdfast("ingest", "--source", "irc:test", book.make(500))
            d.drain(120)
            status = d.status()
            check(status["verdict"] == "COMPLETE", "status: %s", status)
            check(d.running["capture"].poll() is None and second.poll() is None, "a capture ended")
        finally:
            second.terminate()
            second.wait(60)
        d.cut()
        archives = Archives(d.out, d.mails())
        compare_with(book.expected, archives)
        print("%d records in, %d out, repeats dropped: %d" % (book.expected.total, archives.tar,
                                                               status["duplicates"]))


if __name__ == "__main__":
    main()
