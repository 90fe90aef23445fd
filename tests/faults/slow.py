#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka, then PostgreSQL, stands still for longer than our time-outs, under load: status says so, nobody gives up
for good, and afterwards everything is archived once.

    slow.py HOLDFAST
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
from load import Book, Chat, Ingest, check_chat  # noqa: E402

STILL_S = 22  # above every time-out of a request


def tree(pid):
    below = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True).stdout.split()
    return [pid, *map(int, below)]


def freeze(d, name, seconds):
    pids = tree(int(d.read_part(name, "pid")))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)  # how long it stands still
    finally:
        for pid in reversed(pids):
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def revive(d):
    for service in d.services():
        process = d.running[service]
        if process.poll() is not None:
            check(process.returncode == 1, "%s ended with %d:\n%s", service, process.returncode,
                  d.log(service)[-2000:])
            d.launch(service)


def complete(d):
    revive(d)
    d.holdfast("drain", "--timeout", "20s", ok=None)
    return d.status()["verdict"] == "COMPLETE"


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        d.holdfast("user", "add", "alice")
        d.holdfast("room", "add", "Lobby")
        book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
        chat.start()
        for name in ("kafka", "postgres"):
            feed = Ingest(d, book.make(5000), 200)
            feed.start()
            freeze(d, name, STILL_S)
            await_true("the ingest ended well", lambda feed=feed: revive(d) or feed.done, 120)
        chat.stop = True
        chat.join(120)
        await_true("status is complete", lambda: complete(d), 120)
        d.stop()
        d.start()
        await_true("status is complete", lambda: complete(d), 60)
        d.cut()
        archives = Archives(d.out, d.mails(), late=True)
        compare_with(book.expected, archives)
        check_chat(archives, [chat])
        print("%d records in, %d out" % (book.expected.total, archives.tar))


if __name__ == "__main__":
    main()
