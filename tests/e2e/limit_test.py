#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""When less of the disk is free than [store] reserve, posts, joins and other products' records are refused
and status says so, while signing in and out is recorded; with room again everything goes on.

    limit_test.py HOLDFAST
"""
import os
import subprocess
import sys

from archives import Archives, check
from deployment import Deployment
from load import Book


def say(d, user, line):
    """What the person sees."""
    done = subprocess.run(d.command("chat", user, "Lobby"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, input=line + "\n/quit\n")
    return done.stdout


def main():
    with Deployment("embedded", sys.argv[1], mail="smtp") as d:
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        check("early" in say(d, "alice", "early"), "a post was not shown")
        d.stop()
        d.configure("store", "reserve = 900000GiB")
        d.start()
        before = d.status()
        check(before["chat_refused"], "status hides that posts are refused: %s", before)
        check("POSTS ARE REFUSED" in d.holdfast("status", ok=(0, 1)).stdout, "status does not say so")
        ingest = subprocess.Popen(d.command("ingest", "--source", "irc:test", Book(d.dir).make(50)),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        check("no room" not in say(d, "alice", "no room"), "a post went in above the limit")
        check(ingest.poll() is None, "an ingest ended")
        # Signing in and out is on record all the same.
        check(d.status()["stored"] >= before["stored"] + 2, "stored: %s, before: %s", d.status(), before)
        d.stop()
        check(ingest.wait(60) != 0, "an ingest went in above the limit")
        path = os.path.join(d.data, "holdfast.conf")
        with open(path) as f:
            text = f.read().replace("reserve = 900000GiB\n", "")
        with open(path, "w") as f:
            f.write(text)
        d.start()
        check("late" in say(d, "bob", "late"), "a post was not shown")
        check(not d.status()["chat_refused"], "still refused: %s", d.status())
        d.drain()
        d.cut()
        posts = [r.data["text"] for records in Archives(d.out, d.mails()).rooms.values() for r in records
                 if r.type == "holdfast.post"]
        check(posts == ["early", "late"], "archived: %s", posts)
        print("refused above the limit, archived before and after: %s" % posts)


if __name__ == "__main__":
    main()
