#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chat store is restored from an older copy: it refuses to start, says what to type, and typed, a new epoch
begins. Everything that anybody was told of is in the archives once, of all epochs; all chains are whole.

    restored.py HOLDFAST embedded|services [dies]

dies: the command is killed at each of its steps (tests/faults/points), each time after another restore, and typed
again (a build with HOLDFAST_FAULTS).
"""
import os
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from kill_points import table  # noqa: E402
from load import Book  # noqa: E402

SERVER = {"embedded": "up", "services": "chat-server"}
HINT = "holdfast store restored --reason TEXT"
ROOMS = 70  # an ingested source's: their heads need two records


def say(d, user, room, *lines):
    """Posts the lines and returns what the person saw."""
    done = subprocess.run(d.command("chat", user, room), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, input="".join(line + "\n" for line in lines) + "/quit\n")
    check(done.returncode == 0, "%s could not chat: %s", user, done.stdout)
    for line in lines:
        check(line in done.stdout, "%s did not see the own line %s in: %s", user, line, done.stdout)
    return done.stdout


class Copy:
    """A copy of the store while nothing runs, and its return."""

    def __init__(self, d):
        self.d = d
        self.folder = os.path.join(d.dir, "copy")

    def sql(self, *statements):
        words = [word for s in statements for word in ("-c", s)]
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", self.d.read_part("postgres", "url")] + words,
                       check=True)

    def files(self, folder):
        return [os.path.join(folder, n) for n in os.listdir(folder) if n.startswith("chat.db")]

    def take(self):
        if self.d.kind == "services":
            self.sql("DROP DATABASE IF EXISTS copy", "CREATE DATABASE copy TEMPLATE store")
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        for path in self.files(self.d.data):
            shutil.copy2(path, self.folder)

    def put_back(self):
        if self.d.kind == "services":
            self.sql("DROP DATABASE store", "CREATE DATABASE store TEMPLATE copy")
            return
        for path in self.files(self.d.data):
            os.unlink(path)
        for path in self.files(self.folder):
            shutil.copy2(path, self.d.data)


def refused(d):
    """The server ends by itself and says what to type; so does status."""
    service = SERVER[d.kind]
    d.launch(service)
    process = d.running[service]
    await_true("the server ends", lambda: process.poll() is not None)
    d.running.pop(service)
    check(process.returncode != 0, "the server ended well on an older store")
    check(HINT in d.log(service), "no hint in the log: %s", d.log(service)[-1500:])
    text = d.holdfast("status", ok=(2,)).stdout
    check(HINT in text, "status does not say what to type: %s", text)


def records_of(archives, name):
    return [r for records in archives.rooms.values() for r in records
            if any(x.type == "holdfast.join" and x.data.get("room") == name for x in records)]


def posts(records, epoch):
    return [r.data["text"] for r in records if r.type == "holdfast.post" and r.epoch == epoch]


def one_restore(d):
    d.start()
    for user in ("alice", "bob"):
        d.holdfast("user", "add", user)
    d.holdfast("room", "add", "Lobby")
    book, copy = Book(d.dir), Copy(d)
    first = ["in the copy %d" % i for i in range(20)]
    lost = ["beyond the copy %d" % i for i in range(15)]
    after = ["in the new epoch %d" % i for i in range(15)]
    say(d, "alice", "Lobby", *first)
    d.holdfast("ingest", "--source", "irc:test", book.make(60))
    d.stop()
    copy.take()
    d.start()
    say(d, "bob", "Lobby", *lost[:10])
    d.drain()
    d.holdfast("room", "add", "Later")
    say(d, "alice", "Later", "in a room the copy does not know")
    say(d, "bob", "Lobby", *lost[10:])
    d.stop()
    copy.put_back()
    refused(d)
    said = d.holdfast("store", "restored", "--reason", "the disk died").stdout
    check("epoch 2 begins" in said, "said: %s", said)
    d.start()
    seen = say(d, "alice", "Lobby", *after)
    check(first[-1] in seen, "history of the first epoch is gone: %s", seen)
    check(lost[0] not in seen, "history shows what the store does not hold: %s", seen)
    d.holdfast("ingest", "--source", "irc:test", book.make(40))
    d.stop()
    d.start()
    d.drain()
    status = d.status()
    check(status["verdict"] == "COMPLETE", "status: %s", status)
    check(status["captured_beyond_store"] >= len(lost) + 1, "status: %s", status)
    d.cut()
    archives = Archives(d.out, d.mails())
    compare_with(book.expected, archives)
    lobby = records_of(archives, "Lobby")
    check(posts(lobby, 1) == first + lost, "archived of epoch 1: %s", posts(lobby, 1))
    check(posts(lobby, 2) == after, "archived of epoch 2: %s", posts(lobby, 2))
    ids = [r.data["chatId"] for r in lobby if r.type == "holdfast.post"]
    check(ids == list(range(1, 36)) + list(range(21, 36)), "chat ids: %s", ids)
    later = records_of(archives, "Later")
    check(posts(later, 1) == ["in a room the copy does not know"], "archived of Later: %s", posts(later, 1))
    begun = [r for records in archives.rooms.values() for r in records if r.type == "holdfast.epoch-start"]
    check({r.source for r in begun} == {lobby[0].source, "irc:test"}, "%d epoch-start records", len(begun))
    head = [h for r in begun for h in r.data["heads"] if h["subject"] == lobby[0].subject]
    by_number = {r.sequence: r.sha for r in lobby if r.epoch == 1}
    check(len(head) == 1 and by_number[int(head[0]["sequence"])] == head[0]["hash"], "head of the Lobby: %s", head)
    print("%s: %d records archived, %d beyond the copy, epochs %s" % (
        d.kind, archives.tar, status["captured_beyond_store"], sorted({r.epoch for r in lobby})))


# ---- dying ----

class Lives:
    """One set-up whose store is restored again and again; what was said goes on from life to life."""

    def __init__(self, d):
        self.d, self.copy, self.book = d, Copy(d), Book(d.dir, rooms=ROOMS)
        self.said = []
        self.whole = {}  # source -> epochs that were begun to the end

    def say(self, text):
        lines = ["%04d %s" % (len(self.said) + i, text) for i in range(5)]
        say(self.d, "alice", "Lobby", *lines)
        self.said += lines

    def ingest(self, path, **options):
        return self.d.holdfast("ingest", "--source", "irc:test", path, **options)

    def go_beyond_the_copy(self):
        self.copy.take()
        self.d.start()
        self.say("beyond the copy")
        self.ingest(self.book.make(ROOMS))
        self.d.drain()
        self.d.stop()
        self.copy.put_back()
        refused(self.d)

    def type(self, fault=None):
        words = ["store", "restored", "--reason", "the disk died"]
        done = subprocess.run(self.d.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "HOLDFAST_FAULT": fault or ""})
        check(done.returncode == (-signal.SIGKILL if fault else 0), "at %s store restored ended with %d: %s", fault,
              done.returncode, done.stdout)
        for line in done.stdout.splitlines() if not fault else ():
            source, epoch = line.split(": epoch ")
            self.whole.setdefault(source, []).append(int(epoch.split()[0]))

    def live(self, name, passing):
        """The ingested source's epoch is begun first, the chat server's last; until then the server refuses."""
        self.go_beyond_the_copy()
        self.type("%s:kill:%d" % (name, passing))
        begun = (passing == 2) + (name in ("epoch.begun", "epoch.listed"))  # how many epochs
        if begun == 2:
            self.d.start()
            self.say("before it was typed again")
        else:
            refused(self.d)
        path = self.book.make(ROOMS)
        done = self.ingest(path, ok=(0,) if begun else (1,))
        check(begun or HINT in done.stderr, "an ingest does not say what to type: %s", done.stderr)
        self.d.stop()
        self.type()
        self.d.start()
        self.say("in the new epoch")
        if not begun:
            self.ingest(path)
        self.ingest(self.book.make(ROOMS))
        self.d.stop()
        print("%s:%d died" % (name, passing), flush=True)


def check_lists(lives, archives):
    """Every epoch-start record names heads that are archived; those of an epoch begun to the end name every room
    once."""
    known = {(r.source, r.epoch, r.subject, r.sequence): r.sha
             for records in archives.rooms.values() for r in records}
    named = {}
    for r in [r for records in archives.rooms.values() for r in records if r.type == "holdfast.epoch-start"]:
        for head in r.data["heads"]:
            place = (r.source, head["epoch"], head["subject"], int(head["sequence"]))
            check(known.get(place) == head["hash"], "epoch %d of %s names %s", r.epoch, r.source, head)
            named.setdefault((r.source, r.epoch), []).append(head["subject"])
    check(len(lives.whole) == 2, "epochs were begun for %s", sorted(lives.whole))
    for source, epochs in lives.whole.items():
        for epoch in epochs:
            subjects = named[(source, epoch)]
            check(len(subjects) == len(set(subjects)), "epoch %d of %s names a room twice", epoch, source)
            rooms = {s for s in subjects if s in lives.book.expected.rooms}
            check(source != "irc:test" or len(rooms) == ROOMS, "epoch %d of %s names %d rooms", epoch, source,
                  len(rooms))


def every_death(d):
    d.start()
    d.holdfast("user", "add", "alice")
    d.holdfast("room", "add", "Lobby")
    lives = Lives(d)
    lives.say("in the first epoch")
    lives.ingest(lives.book.make(ROOMS))
    d.drain()
    d.stop()
    points = [(name, int(n)) for _, name, process, passings in table(d.kind) if process == "restored"
              for n in passings.split(",")]
    for name, passing in points:
        lives.live(name, passing)
    d.start()
    d.drain()
    status = d.status()
    check(status["verdict"] == "COMPLETE", "status: %s", status)
    d.cut()
    archives = Archives(d.out, d.mails())
    compare_with(lives.book.expected, archives)
    lobby = sorted(records_of(archives, "Lobby"), key=lambda r: (r.epoch, r.sequence))
    texts = [r.data["text"] for r in lobby if r.type == "holdfast.post"]
    check(texts == lives.said, "archived of the Lobby: %s", texts)
    check_lists(lives, archives)
    print("%s: %d deaths, %d records archived, epochs up to %d" % (d.kind, len(points), archives.tar,
                                                                    lobby[-1].epoch))


def main():
    with Deployment(sys.argv[2], sys.argv[1]) as d:
        (every_death if sys.argv[3:] == ["dies"] else one_restore)(d)


if __name__ == "__main__":
    main()
