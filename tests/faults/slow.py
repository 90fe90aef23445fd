#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka, then PostgreSQL, stands still for longer than our time-outs, under load: status says so, nobody gives up
for good, and afterwards everything is archived once.

    slow.py HOLDFAST
    slow.py HOLDFAST connections     only the processes that serve PostgreSQL's connections stand still: new ones
                                     are served, and each service must give up the old ones by itself
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
SILENT_S = 75  # above what anybody waits for an answer of PostgreSQL


def tree(pid):
    below = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True).stdout.split()
    return [pid, *map(int, below)]


def connections(d):
    rows = [line.split(None, 1) for line in
            subprocess.run(["ps", "-o", "pid=,args=", "--ppid", d.read_part("postgres", "pid")],
                           stdout=subprocess.PIPE, text=True).stdout.splitlines()]
    pids = [int(pid) for pid, title in rows if ": holdfast " in title]
    check(len(pids) >= 4, "these processes serve connections: %s", rows)
    return pids


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def freeze(pids, seconds):
    send(pids, signal.SIGSTOP)
    try:
        time.sleep(seconds)  # how long it stands still
    finally:
        send(reversed(pids), signal.SIGCONT)


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


def stand_still(d, book, pids, seconds):
    feed = Ingest(d, book.make(5000), 200)
    feed.start()
    await_true("records come in", lambda: d.status()["captured"] > book.expected.total - 5000, 60)
    freeze(pids(), seconds)
    await_true("the ingest ended well", lambda: revive(d) or feed.done, 120)


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        d.holdfast("user", "add", "alice")
        d.holdfast("room", "add", "Lobby")
        book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
        chat.start()
        if "connections" in sys.argv[2:]:
            stand_still(d, book, lambda: connections(d), SILENT_S)
            for service in ("chat-server", "archiver"):  # capture, which was idle, only connects anew
                check("no answer" in d.log(service), "%s did not say so:\n%s", service, d.log(service)[-2000:])
        else:
            for name in ("kafka", "postgres"):
                stand_still(d, book, lambda name=name: tree(int(d.read_part(name, "pid"))), STILL_S)
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
