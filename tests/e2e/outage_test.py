#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""While Kafka is away people go on chatting, status says what is behind and since when; afterwards all of
it is archived. A room that is recorded by the queue gets 503 meanwhile, and keeps what it had.

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


def try_desk(d, line):
    """A post in the room that is recorded by the queue, as the person sees it."""
    return subprocess.run(d.command("chat", "bob", "Desk"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60, input=line + "\n/quit\n").stdout


class AtTheDesk:
    """Somebody who stays in that room."""

    def __init__(self, d):
        self.path = os.path.join(d.dir, "desk.txt")
        self.out = open(self.path, "wb")
        self.process = subprocess.Popen(d.command("chat", "alice", "Desk"), stdin=subprocess.PIPE, stdout=self.out,
                                        stderr=subprocess.STDOUT)

    def sees(self):
        with open(self.path, errors="replace") as f:
            return f.read()

    def say(self, line):
        self.process.stdin.write((line + "\n").encode())
        self.process.stdin.flush()

    def quit(self):
        self.say("/quit")
        self.process.wait(60)
        self.out.close()


def desk_during_outage(d, desk):
    """One post is stored and refused when its time is up; after that nothing more of the room is stored."""
    desk.say("refused in time")
    await_true("the author is told no", lambda: "503" in desk.sees())
    stored = d.status()["stored"]
    desk.say("refused at once")
    await_true("the author is told no again", lambda: desk.sees().count("503") > 1)
    check(d.status()["stored"] == stored, "a post was stored although the queue was late")
    check("refused in time" not in desk.sees(), "a post was shown before the queue had it: %s", desk.sees())
    text = try_desk(d, "not even in")
    check("not even in" not in text, "a join went in while the queue was away: %s", text)


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
        d.holdfast("room", "add", "Desk", "--recorded", "queue")
        say(d, "alice", "before the outage")
        d.drain()
        check(d.status()["verdict"] == "COMPLETE", "not complete before the outage: %s", d.status())
        d.stop()
        d.configure("store", "limit = %d" % LIMIT)
        d.configure("store", "queue-wait = 1s")
        d.start()
        check("over Kafka" in try_desk(d, "over Kafka"), "a post was not shown while the queue confirms")
        desk = AtTheDesk(d)
        await_true("alice is at the desk", lambda: "over Kafka" in desk.sees())
        d.part("kafka", "stop", d.part_dir("kafka"))
        said = []
        for i in range(5):
            said.append("while Kafka is away %d" % i)
            say(d, "alice" if i % 2 else "bob", said[-1])
        desk_during_outage(d, desk)
        behind = d.status()
        check(behind["verdict"] == "BEHIND", "status during the outage: %s", behind)
        check(behind["uncaptured"] >= 5, "uncaptured is %s", behind["uncaptured"])
        check(behind["oldest_uncaptured"], "since when is not said")
        said += fill(d, LIMIT)
        full = d.status()["uncaptured"]
        check(full >= LIMIT, "refused already at %d waiting records", full)
        text = d.holdfast("status", ok=(1,)).stdout
        check(text.startswith("BEHIND"), "the first line is not the verdict: %s", text)
        for part in ("queue: topic holdfast: no answer from Kafka at ", "at stake: %d records, the oldest " % full,
                     "POSTS ARE REFUSED", "Type: holdfast queue check"):
            check(part in text, "status during the outage lacks: %s\n%s", part, text)
        checked = d.holdfast("queue", "check", ok=(1,)).stdout
        check("no answer from Kafka" in checked, "queue check says: %s", checked)
        d.part("kafka", "start", d.part_dir("kafka"))
        await_true("the post is shown once the queue has it", lambda: "refused in time" in desk.sees())
        check("again over Kafka" in await_true("the desk is open again", lambda: try_desk(d, "again over Kafka")),
              "the desk stays shut")
        desk.quit()
        await_true("complete again", lambda: d.holdfast("drain", "--timeout", "60s", ok=None).returncode == 0, 120)
        d.stop()
        d.start()
        d.drain()
        d.cut()
        rooms = Archives(d.out, d.mails()).rooms
        posts = {records[0].data["room"]: [r.data["text"] for r in records if r.type == "holdfast.post"]
                 for records in rooms.values() if records[0].type == "holdfast.join"}
        check(posts["Lobby"] == ["before the outage"] + said, "archived: %s", posts)
        check(posts["Desk"] == ["over Kafka", "refused in time", "again over Kafka"], "archived: %s", posts)
        acts = [r.type for records in rooms.values() for r in records]
        check(acts.count("holdfast.join") == acts.count("holdfast.leave"), "joins and leaves: %s", acts)
        print("%d posts during the outage, all archived in order" % len(said))


if __name__ == "__main__":
    main()
