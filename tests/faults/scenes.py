# SPDX-License-Identifier: Apache-2.0
"""What happens around the points that a plain load does not pass; tests/faults/points says which scene they need.

Each scene takes a Trial of kill_points.py in place of its load: a process of it dies somewhere on the way.
"""
import contextlib
import json
import os
import sqlite3
import subprocess

from archives import check
from deployment import await_true


def incidents(d, kind):
    done = d.holdfast("incident", "list", "--json", ok=None)
    if done.returncode != 0:
        return []
    return [i for i in json.loads(done.stdout)["incidents"] if i["kind"] == kind]


def sql(d, section, text):
    """What psql answers, a line a row."""
    with open(os.path.join(d.data, section + ".url")) as f:
        url = f.read().strip()
    return subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url, "-c", text], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split("\n")[:-1]


# ---- loss: embedded. A record is taken out of the store behind its back, and put back later. ----

def take_record(d):
    with contextlib.closing(sqlite3.connect(os.path.join(d.data, "chat.db"), timeout=20)) as db, db:
        stream, last = db.execute("SELECT r.stream, max(r.sequence) FROM record r JOIN stream s ON s.id = r.stream"
                                  " WHERE s.source = 'irc:test' GROUP BY r.stream ORDER BY 1 LIMIT 1").fetchone()
        row = db.execute("SELECT * FROM record WHERE stream = ? AND sequence = ?", (stream, last - 3)).fetchone()
        db.execute("DELETE FROM record WHERE stream = ? AND sequence = ?", (stream, last - 3))
    return row, last - 3


def put_back(d, row):
    with contextlib.closing(sqlite3.connect(os.path.join(d.data, "chat.db"), timeout=20)) as db, db:
        db.execute("INSERT INTO record VALUES (%s)" % ", ".join("?" * len(row)), row)


def loss(t):
    """The gap shuts its room: what is archived of it is kept. Put back and asked for, it closes the gap, and
    what was kept goes."""
    d = t.d
    t.until("capture is held", 30, "queue", "hold")
    t.until("ingest ended well", 60, "ingest", "--source", "irc:test", t.book.make(24))
    row, number = take_record(d)
    t.until("capture goes on", 30, "queue", "resume")

    def named():
        t.revive()
        t.settle()
        return [i for i in incidents(d, "gap") if i["first"] == i["last"] == number]

    found = await_true("the loss is named at %s" % t.name, named, 60)
    check(len(found) == 1, "%d incidents for one loss: %s", len(found), found)

    def kept():
        t.run_beside(d.command("drain", "--timeout", "1s"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
        return d.status()["kept"] > 0

    await_true("what is archived of the room is kept at %s" % t.name, kept, 60)
    put_back(d, row)

    def closed():
        t.run_beside(d.command("incident", "retry", str(found[0]["id"])), stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return not incidents(d, "gap")

    await_true("the loss is mended at %s" % t.name, closed, 90)


# ---- new-log: services. The topic is deleted and made again, with records that nobody had captured. ----

def relayed(d):
    return sql(d, "store", "SELECT count(*) FROM chat.record r JOIN chat.stream s ON s.id = r.stream"
               " WHERE r.sequence > s.relayed") == ["0"]


def new_log(t):
    d = t.d
    if "capture" in d.running:
        d.kill("capture")
    t.chat.say(5, t.run_beside)
    await_true("all is in the queue", lambda: t.revive() or relayed(d), 60)
    d.part("kafka", "drop", d.part_dir("kafka"), "holdfast")
    d.part("kafka", "topic", d.part_dir("kafka"), "holdfast", "4")
    t.chat.say(5, t.run_beside)
    t.launch("capture")
    t.settle()


# ---- poison: services. A record that can't be relayed. ----

def poison(t):
    """The store loses a join before it was sent: the relay passes over it and says so; the gap that capture
    finds is accepted by two people."""
    d = t.d
    t.chat.say(2, t.run_beside)
    await_true("all is in the queue", lambda: t.revive() or relayed(d), 60)
    d.part("kafka", "stop", d.part_dir("kafka"))
    t.chat.say(3, t.run_beside)
    d.kill("chat-server")
    gone = sql(d, "store", "DELETE FROM chat.record r USING chat.stream s WHERE s.id = r.stream AND r.sequence ="
               " s.relayed + 1 AND position('\"type\":\"holdfast.join\"'::bytea IN r.raw) > 0"
               " RETURNING s.subject, r.sequence")
    check(len(gone) == 1, "%d records taken from the store: %s", len(gone), gone)
    subject, sequence = gone[0].split("|")
    t.lost.add((subject, int(sequence)))
    d.part("kafka", "start", d.part_dir("kafka"))
    t.launch("chat-server")
    t.settle()

    def named():
        t.revive()
        return [i for i in incidents(d, "gap") if (i["subject"], i["first"], i["last"]) ==
                (subject, int(sequence), int(sequence)) and "the source's store answers" in i["state"]]

    found = await_true("the loss is named at %s" % t.name, named, 90)
    words = ["incident", "accept", str(found[0]["id"]), "--reason", "taken by a test"]
    people = [d.command(*words), t.second + words]

    def accepted():
        for n, person in enumerate(people, 1):
            t.run_beside(person, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         env=t.armed("incident", turn=n))
        return not incidents(d, "gap")

    await_true("two people accept it at %s" % t.name, accepted, 30)


SCENES = {"loss": loss, "new-log": new_log, "poison": poison}
