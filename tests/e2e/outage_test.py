#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""While Kafka is away people go on chatting, status says what is behind and since when; afterwards all of
it is archived.

    outage_test.py HOLDFAST
"""
import os
import subprocess
import sys

from archives import Archives, check
from deployment import Deployment, await_true


LIMIT = 60  # records


def say(d, user, *lines):
    done = subprocess.run(d.command("chat", user, "Lobby"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, input="".join(line + "\n" for line in lines) + "/quit\n")
    check(done.returncode == 0, "%s could not chat: %s%s", user, done.stdout, done.stderr)
    for line in lines:
        check(line in done.stdout, "%s did not see the own line %s in: %s", user, line, done.stdout)


def limit_store(d, records):
    path = os.path.join(d.data, "holdfast.conf")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("[store]\n", "[store]\nlimit = %d\n" % records))


def fill(d, limit):
    """Posts go in until as many records wait as may; from then on people are told, and can still leave."""
    said = []
    for i in range(limit):
        line = "until the limit %d" % i
        done = subprocess.run(d.command("chat", "alice", "Lobby"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, input=line + "\n/quit\n")
        if line not in done.stdout:
            return said
        said.append(line)
    check(False, "%d posts went in above a limit of %d waiting records", limit, limit)


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        say(d, "alice", "before the outage")
        d.drain()
        check(d.status()["verdict"] == "COMPLETE", "not complete before the outage: %s", d.status())
        d.stop()
        limit_store(d, LIMIT)
        d.start()
        d.part("kafka", "stop", d.part_dir("kafka"))
        said = []
        for i in range(5):
            said.append("while Kafka is away %d" % i)
            say(d, "alice" if i % 2 else "bob", said[-1])
        behind = d.status()
        check(behind["verdict"] == "BEHIND", "status during the outage: %s", behind)
        check(behind["uncaptured"] >= 5, "uncaptured is %s", behind["uncaptured"])
        check(behind["oldest_uncaptured"], "since when is not said")
        said += fill(d, LIMIT)
        full = d.status()["uncaptured"]
        check(full >= LIMIT, "refused already at %d waiting records", full)
        text = d.holdfast("status", ok=(1,)).stdout
        check(text.startswith("BEHIND"), "the first line is not the verdict: %s", text)
        d.part("kafka", "start", d.part_dir("kafka"))
        await_true("complete again", lambda: d.holdfast("drain", "--timeout", "60s", ok=None).returncode == 0, 120)
        d.stop()
        d.start()
        d.drain()
        d.cut()
        posts = [r.data["text"] for records in Archives(d.out, d.mails()).rooms.values() for r in records
                 if r.type == "holdfast.post"]
        check(posts == ["before the outage"] + said, "archived: %s", posts)
        rooms = Archives(d.out, d.mails()).rooms
        acts = [r.type for records in rooms.values() for r in records]
        check(acts.count("holdfast.join") == acts.count("holdfast.leave"), "joins and leaves: %s", acts)
        print("%d posts during the outage, all archived in order" % len(said))


if __name__ == "__main__":
    main()
