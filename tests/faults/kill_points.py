#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dies at every point of tests/faults/points, goes on, and compares the archives with what was acknowledged.

    kill_points.py HOLDFAST embedded|services [--share I/N] [--only NAMES]

HOLDFAST is built with HOLDFAST_FAULTS. For each point: a process that ends itself there, a small load until it
is acknowledged (or one of scenes.py), everything archived; then XML, tar and mails hold each acknowledged record
exactly once.
"""
import argparse
import os
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book, Chat, check_chat  # noqa: E402
from scenes import SCENES  # noqa: E402

RECORDS = 24
LOST = 4  # answers to commits, one after the other, in each process
CLOCK_S = 90  # what comes by the clock comes within that
ELSEWHERE = ("reconcile", "restored")  # commands that die in tests of their own
AT_STOP = "session.end."  # passed by a process that was told to stop


def table(kind):
    """(scene, point, process, passings) of each line that this set-up has; the scene "" is a plain load."""
    scene = ""
    for line in open(os.path.join(HERE, "points")):
        words = line.split()
        if line.startswith("# Scene "):
            scene = words[2].rstrip(":")
            if (scene, kind) == ("loss", "services"):
                scene = "new-log"  # passes there what a loss passes in the embedded set-up
        if not line.startswith("#") and kind[0] in words[1]:
            yield scene, words[0], words[2], words[3]


def read_points(kind):
    """(scene, point, process, action, passing) in the order of the table, of those that die here."""
    for scene, name, process, passings in table(kind):
        if process == "fail":
            for one in ("chat-server", "capture", "archiver"):
                for n in range(1, LOST + 1):
                    yield scene, name, one, "fail", n
        elif process not in ELSEWHERE:
            for n in passings.split(","):
                yield scene, name, process, "kill", int(n)


class Trial:
    """One life that ends at one point, and the lives after it until all is archived."""

    def __init__(self, d, book, chat, name, process, action, passing):
        self.d, self.book, self.chat = d, book, chat
        self.name, self.passing = "%s:%s:%d" % (name, action, passing), passing
        self.mark = os.path.join(d.dir, "mark-%s-%s" % (process, self.name))
        self.environment = {"HOLDFAST_FAULT": self.name, "HOLDFAST_FAULT_MARK": self.mark}
        if d.kind == "embedded":
            process = "up"
        self.process = "archiver" if process == "worker" else process
        self.deaths = 0
        self.lost = set()  # (room, number) of what no store holds any more, named by the scene
        self.late = False  # records may come behind those that follow them
        self.second = None  # the first words of a command typed by another person
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

    def armed(self, process, turn=None):
        """The environment of a process that may be the one to die. turn: of several processes the Nth does."""
        if process != self.process or (turn and turn != self.passing):
            return dict(os.environ)
        first = {"HOLDFAST_FAULT": self.name.rsplit(":", 1)[0] + ":1"} if turn else {}
        return os.environ | self.environment | first

    def launch(self, service):
        self.d.launch(service, self.environment if service == self.process else None)

    def start(self, without=()):
        for service in self.d.services():
            if service not in without:
                self.launch(service)
        self.settle()

    def settle(self):
        """Whatever has ended is started again, without the fault; all are ready."""
        for service in list(self.d.running):
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
        await_true("%s at %s" % (what, self.name), lambda: self.run_beside(
            self.d.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=self.armed(words[0])).returncode == 0, seconds)

    def load(self):
        path = self.book.make(RECORDS)
        self.until("ingest ended well", 60, "ingest", "--source", "irc:test", path)
        self.chat.say(3, self.run_beside)

    def drain(self, seconds=60):
        """Nothing is on its way any more: also the leaves and starts that deaths brought about."""
        limit = "2s" if self.d.kind == "embedded" else "20s"

        def complete():
            self.until("all is archived", seconds, "drain", "--timeout", limit)
            status = self.d.status()
            return status["verdict"] == "COMPLETE" or (self.lost and status["accepted_losses"] == len(self.lost) and
                                                       not status["incidents"] and not status["kept"])

        await_true("status is complete at %s" % self.name, complete, seconds)

    def await_mark(self):
        """A point that is passed by the clock, as when capture compares totals, may be behind everything else."""
        if os.path.exists(self.mark) or self.name.startswith(AT_STOP):
            return
        await_true("%s is passed" % self.name, lambda: self.revive() or os.path.exists(self.mark), CLOCK_S)
        self.revive()
        self.settle()
        self.drain()

    def compare(self):
        compare_all(self.d, self.book, self.chat, self.lost, self.late)

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

    def run(self, scene=""):
        began = time.monotonic()
        if self.name.startswith(("session.begin", "session.leaves")):
            self.leave_somebody()
        self.start(without=("capture",) if scene == "new-log" else ())
        if scene:
            SCENES[scene](self)
        else:
            self.load()
        self.drain(180 if scene else 60)
        self.await_mark()
        self.compare()
        self.stop()
        check(os.path.exists(self.mark), "%s was never passed", self.name)
        print("%-28s %s, %.1f s" % (self.name, "died" if self.deaths else "went on", time.monotonic() - began),
              flush=True)


def prepare(d):
    """Users and a room exist before anything dies."""
    d.holdfast("user", "add", "alice")
    d.holdfast("room", "add", "Lobby")


def compare_all(d, book, chat, lost=frozenset(), late=False):
    archives = Archives(d.out, d.mails(), lost, late)
    compare_with(book.expected, archives)
    check_chat(archives, [chat], quiet=True)


def run_together(args, scene, points):
    """One folder lives through all of them."""
    with Deployment(args.kind, args.program) as d:
        d.start()
        prepare(d)
        book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
        chat.say(2)
        d.drain()
        second = d.second_person() if scene == "poison" else None
        d.stop()
        lost = set()
        for point in points:
            trial = Trial(d, book, chat, *point)
            trial.lost, trial.second, trial.late = lost, second, scene != ""
            trial.run(scene)
        d.start()  # what the last stop recorded is archived too
        d.drain()
        d.cut()
        compare_all(d, book, chat, lost, scene != "")
        print("%d points, %d records, %d lines" % (len(points), book.expected.total, len(chat.typed)), flush=True)


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
        points = [p for p in points if p[1].startswith(tuple(args.only.split(",")))]
    check(points, "no such point")
    # The first adapters are added once in a life, so these points come first, each in a fresh folder.
    for point in [p for p in points if p[1].startswith("adapters.")]:
        with Deployment(args.kind, args.program) as d:
            d.prepare()
            Trial(d, Book(d.dir), Chat(d, "alice", "Lobby"), *point[1:]).run_first()
    for scene in ("", *SCENES):
        here = [p[1:] for p in points if p[0] == scene and not p[1].startswith("adapters.")]
        together = 10 if args.kind == "embedded" else len(here)
        for i in range(0, len(here), together or 1):
            run_together(args, scene, here[i:i + together])


if __name__ == "__main__":
    main()
