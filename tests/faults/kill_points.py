#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dies at every point of tests/faults/points, goes on, and compares the archives with what was acknowledged.

    kill_points.py HOLDFAST embedded|services [--share I/N] [--only NAMES]

HOLDFAST is built with HOLDFAST_FAULTS. For each point: a process that ends itself there, a small load until it
is acknowledged, everything archived; then XML, tar and mails hold each acknowledged record exactly once.
"""
import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book, Chat, check_chat  # noqa: E402

RECORDS = 24
LOST = 4  # answers to commits, one after the other, in each process


def read_points(kind):
    """(point, process, action, passing) in the order of the table."""
    for line in open(os.path.join(HERE, "points")):
        words = line.split()
        if line.startswith("#") or kind[0] not in words[1]:
            continue
        if words[2] == "fail":
            for process in ("chat-server", "capture", "archiver"):
                for n in range(1, LOST + 1):
                    yield words[0], process, "fail", n
        else:
            for n in words[3].split(","):
                yield words[0], words[2], "kill", int(n)


class Trial:
    """One life that ends at one point, and the lives after it until all is archived."""

    def __init__(self, d, book, chat, name, process, action, passing):
        self.d, self.book, self.chat = d, book, chat
        self.name = "%s:%s:%d" % (name, action, passing)
        self.mark = os.path.join(d.dir, "mark-%s-%s" % (process, self.name))
        self.environment = {"HOLDFAST_FAULT": self.name, "HOLDFAST_FAULT_MARK": self.mark}
        if d.kind == "embedded":
            process = "up"
        self.process = "archiver" if process == "worker" else process
        self.deaths = 0
        # A start that can't be sure of its own commit gives up, and is tried again by whoever started it.
        self.ends = (-signal.SIGKILL,) if action == "kill" else (1,)

    def leave_somebody(self):
        """A life that ended without its leaves: the next start records them."""
        d = self.d
        d.start()
        client = subprocess.Popen(d.command("chat", "alice", "Lobby"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
        line = "%s says %06d" % (self.chat.user, len(self.chat.typed) + 1)
        self.chat.typed.append(line)
        client.stdin.write(line + "\n")
        client.stdin.flush()
        check(any(line in heard for heard in iter(client.stdout.readline, "")), "nothing was echoed")
        self.chat.acknowledged.add(line)
        d.kill(d.services()[0])
        client.kill()
        client.wait()
        d.stop()

    def start(self):
        for service in self.d.services():
            self.d.launch(service, self.environment if service == self.process else None)
        self.settle()

    def settle(self):
        """Whatever has ended is started again, without the fault; all are ready."""
        for service in self.d.services():
            while True:
                try:
                    self.d.ready(service)
                    break
                except AssertionError:
                    if self.d.running[service].poll() is None:
                        raise
                    self.revive()

    def revive(self):
        for service in self.d.services():
            process = self.d.running.get(service)
            if process and process.poll() is not None:
                check(process.returncode in self.ends and os.path.exists(self.mark), "%s ended with %d:\n%s", service,
                      process.returncode, self.d.log(service)[-2000:])
                self.deaths += 1
                self.d.launch(service)

    def run_beside(self, words, timeout=60, **options):
        """As subprocess.run; what dies meanwhile is started again: at once among the services, afterwards where
        a command without `up` takes the folder's lock for itself."""
        done = []
        thread = threading.Thread(target=lambda: done.append(subprocess.run(words, timeout=timeout, **options)))
        thread.start()
        while thread.is_alive():
            thread.join(0.02)
            if self.d.kind == "services":
                self.revive()
        self.revive()
        self.settle()
        if not done:
            raise subprocess.TimeoutExpired(words, timeout)
        self.deaths += done[0].returncode == -signal.SIGKILL
        return done[0]

    def until(self, what, seconds, *words):
        """Types the command until it succeeds, whatever dies meanwhile."""
        armed = os.environ | (self.environment if words[0] == self.process else {})
        await_true("%s at %s" % (what, self.name), lambda: self.run_beside(
            self.d.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=armed).returncode == 0, seconds)

    def load(self):
        path = self.book.make(RECORDS)
        self.until("ingest ended well", 60, "ingest", "--source", "irc:test", path)
        self.chat.say(3, self.run_beside)

    def drain(self):
        """Nothing is on its way any more: also the leaves and starts that deaths brought about."""
        limit = "2s" if self.d.kind == "embedded" else "20s"

        def complete():
            self.until("all is archived", 60, "drain", "--timeout", limit)
            return self.d.status()["verdict"] == "COMPLETE"

        await_true("status is complete at %s" % self.name, complete, 60)

    def compare(self):
        compare_all(self.d, self.book, self.chat)

    def stop(self):
        for service in list(self.d.running):
            process = self.d.running.pop(service)
            process.terminate()
            code = process.wait(60)
            self.deaths += code == -signal.SIGKILL
            check(code == 0 or (code in self.ends and os.path.exists(self.mark)), "%s ended with %d on SIGTERM",
                  service, code)

    def run_first(self):
        """A first start dies; what the next one finds is a set-up that works."""
        self.start()
        prepare(self.d)
        self.load()
        self.drain()
        self.compare()
        self.stop()
        check(self.deaths > 0, "%s was never passed", self.name)
        print("%-28s died" % self.name, flush=True)

    def run(self):
        began = time.monotonic()
        if self.name.startswith(("session.begin", "session.leaves")):
            self.leave_somebody()
        self.start()
        self.load()
        self.drain()
        self.compare()
        self.stop()
        check(os.path.exists(self.mark), "%s was never passed", self.name)
        print("%-28s %s, %.1f s" % (self.name, "died" if self.deaths else "went on", time.monotonic() - began),
              flush=True)


def prepare(d):
    """Users and a room exist before anything dies."""
    d.holdfast("user", "add", "alice")
    d.holdfast("room", "add", "Lobby")


def run_incident(program):
    """A record is deleted behind Holdfast's back; the process dies where the incident is opened. In the next
    life there is one incident, of that record, and everything else is archived."""
    name = "incident.open.after:kill:1"
    with Deployment("embedded", program) as d:
        mark = os.path.join(d.dir, "mark")
        d.prepare()
        d.launch("up", {"HOLDFAST_FAULT": name, "HOLDFAST_FAULT_MARK": mark})
        d.ready("up")
        book = Book(d.dir, rooms=1)
        d.holdfast("queue", "hold")
        d.holdfast("ingest", "--source", "irc:test", book.make(RECORDS))
        with sqlite3.connect(os.path.join(d.data, "chat.db"), timeout=10) as db:
            gone = db.execute("DELETE FROM record WHERE sequence = 7 AND stream = (SELECT id FROM stream"
                              " WHERE source = 'irc:test')").rowcount
        db.close()
        check(gone == 1, "%d records deleted", gone)
        d.holdfast("queue", "resume", ok=None)
        await_true("died where the incident is opened", lambda: d.running["up"].poll() is not None, 30)
        check(d.running["up"].returncode == -signal.SIGKILL and os.path.exists(mark), "up ended otherwise")
        d.launch("up")
        d.ready("up")
        d.holdfast("queue", "resume", ok=None)
        await_true("the loss is named", lambda: "#7" in d.holdfast("incident", "list", ok=None).stdout, 30)
        lines = [line for line in d.holdfast("incident", "list", ok=None).stdout.splitlines() if "#7" in line]
        check(len(lines) == 1, "the loss is named %d times", len(lines))
        check(d.status()["verdict"] == "INCOMPLETE", "status hides the loss: %s", d.status())
        d.stop()
    print("%-28s died" % name, flush=True)


def compare_all(d, book, chat):
    archives = Archives(d.out, d.mails())
    compare_with(book.expected, archives)
    check_chat(archives, [chat], quiet=True)


def run_together(args, points):
    """One folder lives through all of them."""
    with Deployment(args.kind, args.program) as d:
        d.start()
        prepare(d)
        d.stop()
        book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
        for point in points:
            Trial(d, book, chat, *point).run()
        d.start()  # what the last stop recorded is archived too
        d.drain()
        d.cut()
        compare_all(d, book, chat)
        print("%d points, %d records" % (len(points), book.expected.total), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("kind", choices=("embedded", "services"))
    parser.add_argument("--share", default="1/1", help="the Ith of N shares of the table")
    parser.add_argument("--only", help="the points whose names begin with one of these, separated by commas")
    args = parser.parse_args()
    mine, shares = (int(n) for n in args.share.split("/"))
    points = [p for i, p in enumerate(read_points(args.kind)) if i % shares == mine - 1]
    if args.only:
        points = [p for p in points if p[0].startswith(tuple(args.only.split(",")))]
    check(points, "no such point")
    # The first adapters are added once in a life, so these points come first, each in a fresh folder.
    for point in [p for p in points if p[0].startswith("adapters.")]:
        with Deployment(args.kind, args.program) as d:
            d.prepare()
            Trial(d, Book(d.dir), Chat(d, "alice", "Lobby"), *point).run_first()
    if any(p[0] == "incident.open.after" for p in points):
        run_incident(args.program)
    points = [p for p in points if not p[0].startswith(("adapters.", "incident."))]
    if not points:
        return
    together = 10 if args.kind == "embedded" else len(points)
    for i in range(0, len(points), together):
        run_together(args, points[i:i + together])


if __name__ == "__main__":
    main()
