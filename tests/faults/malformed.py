#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every malformed record that we could think of among good ones: the good ones are archived once and in order,
of the bad ones every byte is kept and shown, the right incident names each, and what it says to type resolves it.

    malformed.py HOLDFAST services|embedded

Services: straight into the topic, by kcat, behind everybody's back. Embedded: through ingest, which refuses.
"""
import collections
import hashlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import ZERO, check, read_exceptions, read_mails, read_tar, read_xml  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402

SOURCE = "test:malformed"
LIMIT = 512 * 1024


class Room:
    """A stream whose records are made in order; each knows the hash of the one before."""

    def __init__(self, name):
        self.subject, self.sequence, self.previous = "test:" + name, 0, ZERO

    def next(self, text="good", **other):
        self.sequence += 1
        raw = make(self.subject, self.sequence, self.previous, text, **other)
        self.previous = hashlib.sha256(raw).hexdigest()
        return raw

    def same_number(self, before, text):
        return make(self.subject, self.sequence, before, text)


def event(subject, text="good", **other):
    e = {"specversion": "1.0", "id": "", "source": SOURCE, "type": "holdfast.post",
         "time": "2026-11-24T06:00:00.000000Z", "subject": subject,
         "data": {"participant": "sip:ann@example.test", "name": "Ann", "text": text}}
    e.update(other)
    e["id"] = e["id"] or hashlib.sha256(repr(sorted(e.items())).encode()).hexdigest()[:32]
    return e


def dump(e):
    return json.dumps(e, separators=(",", ":")).encode()


def make(subject, sequence, previous, text="good", **other):
    return dump(event(subject, text, epoch=1, sequence="%020d" % sequence, previous=previous, **other))


def malformed():
    """name -> bytes. Each of them breaks one rule of docs/record-format.md."""
    room = "test:victim"
    good = make(room, 1, ZERO)
    deep = good.replace(b'"text":"good"', b'"text":"good","x":' + b"[" * 40 + b"]" * 40)
    return {
        "empty": b"",
        "binary": bytes(range(256)) * 3,
        "not JSON": b"hello",
        "null": b"null",
        "array": b"[" + good + b"]",
        "string": b'"' + b"x" * 100 + b'"',
        "truncated": good[:-20],
        "truncated string": good[:good.index(b"good") + 2],
        "unclosed": good[:-1],
        "two": good + good,
        "trailing": good + b" x",
        "line feed": good[:-1] + b"\n}",
        "oversize": make(room, 1, ZERO, "x" * (LIMIT + 1)),
        "a little oversize": make(room, 1, ZERO, "x" * (LIMIT - len(good) + 5)),
        "invalid UTF-8": good.replace(b"good", b"caf\xe9"),
        "overlong UTF-8": good.replace(b"good", b"\xc0\xaf"),
        "surrogate in UTF-8": good.replace(b"good", b"\xed\xa0\x80"),
        "lone surrogate": good.replace(b"good", b"\\ud800"),
        "NUL byte": good.replace(b"good", b"go\0od"),
        "\\u0000 in the subject": good.replace(b"test:victim", b"test:\\u0000"),
        "\\u0000 in the id": make(room, 1, ZERO, id="a\0b"),
        "control character in the type": make(room, 1, ZERO, type="a\x1b[31m"),
        "duplicate keys": good.replace(b'"specversion"', b'"subject":"test:other","specversion"'),
        "deep": deep,
        "too many values": good.replace(b'"text":"good"', b'"text":"good","x":[' + b"1," * 20000 + b"1]"),
        "huge numbers": good.replace(b'"epoch":1', b'"epoch":' + b"9" * 400),
        "epoch 1e400": good.replace(b'"epoch":1', b'"epoch":1e400'),
        "epoch 0": good.replace(b'"epoch":1', b'"epoch":0'),
        "epoch -1": good.replace(b'"epoch":1', b'"epoch":-1'),
        "epoch 1.5": good.replace(b'"epoch":1', b'"epoch":1.5'),
        "sequence 10^18": make(room, 10 ** 18, ZERO),
        "sequence beyond 64 bits": make(room, 10 ** 20 - 1, ZERO),
        "sequence 0": make(room, 0, ZERO),
        "sequence a number": good.replace(b'"%020d"' % 1, b"1"),
        "sequence of 19 digits": good.replace(b'"%020d"' % 1, b'"%019d"' % 1),
        "previous too short": make(room, 1, "ab"),
        "previous not hex": make(room, 1, "z" * 64),
        "sequence without epoch": good.replace(b'"epoch":1,', b""),
        "year 9999999": make(room, 1, ZERO, time="9999999-01-01T00:00:00Z"),
        "year 10000": make(room, 1, ZERO, time="10000-01-01T00:00:00Z"),
        "year 1969": make(room, 1, ZERO, time="1969-12-31T23:59:59Z"),
        "no time": make(room, 1, ZERO, time=""),
        "a room URI of 9 KB": make("test:" + "r" * 9000, 1, ZERO),
        "an id of 9 KB": make(room, 1, ZERO, id="i" * 9000),
        "subject a number": make(7, 1, ZERO),
        "no subject": good.replace(b'"subject":"test:victim",', b""),
        "no id": good.replace(b'"id":', b'"it":'),
        "no specversion": good.replace(b'"specversion":"1.0",', b""),
        "another specversion": good.replace(b'"1.0"', b'"0.3"'),
        "data an array": make(room, 1, ZERO, data=[1]),
        "participant a number": make(room, 1, ZERO, data={"participant": 7, "text": "x"}),
        "no participant": make(room, 1, ZERO, data={"text": "x"}),
        "text an object": make(room, 1, ZERO, data={"participant": "sip:a@b", "text": {}}),
        "bad base64": make(room, 1, ZERO, data={"participant": "sip:a@b", "text": "x", "text_bytes": "%%%"}),
    }


def odd_but_good(room):
    """Records that keep to every rule, though one would not think so."""
    yield room.next("nul \0, escape \x1b[31m, not characters \ufffe\uffff")
    yield room.next("]]></Message><!-- \r\n.\r\nQUIT")
    yield room.next("", data={"participant": "sip:ann@example.test", "text": "caf\ufffd", "text_bytes": "Y2Fm6Q=="})
    yield room.next("x" * (LIMIT - 1200))
    yield room.next("far future", time="9999-12-31T23:59:59.999999Z")
    yield room.next("unknown kind", type="com.example.nothing", data=[{"deep": [[[1e300]]]}])


class Feed:
    """What is put into the topic, under its room's key, in order."""

    def __init__(self, d):
        self.d, self.good, self.bad = d, [], []
        self.folder = os.path.join(d.dir, "messages")
        os.mkdir(self.folder)
        self.files = 0

    def put(self, key, *values):
        """Each value a message; kcat takes a file for each, but an empty one only as a line."""
        names = []
        for value in values:
            if not value:
                self.kcat(["-K", "\\t"], key.encode() + b"\t\n")
                continue
            self.files += 1
            names.append(os.path.join(self.folder, "%05d" % self.files))
            with open(names[-1], "wb") as f:
                f.write(value)
        if names:
            self.kcat(["-k", key] + names, None)

    def kcat(self, words, text):
        subprocess.run(["kcat", "-q", "-P", "-b", self.d.read_part("kafka", "bootstrap"), "-t", "holdfast",
                        "-X", "partitioner=murmur2_random", "-X", "enable.idempotence=true"] + words,
                       input=text, check=True, timeout=60, stdin=subprocess.DEVNULL if text is None else None)

    def put_good(self, key, *values):
        self.good += values
        self.put(key, *values)


def put_all(feed):
    """Returns what incidents are due, as (kind, subject, first, last); unreadable ones are counted."""
    rooms = [Room("room %d" % i) for i in range(6)]
    feed.bad += malformed().values()
    for k, room in enumerate(rooms):
        mixed = []
        for raw in feed.bad[k::len(rooms)]:
            feed.good.append(room.next())
            mixed += [feed.good[-1], raw]
        feed.put(room.subject, *mixed)
        feed.put_good(room.subject, room.next())
    odd = Room("odd")
    feed.put_good(odd.subject, *odd_but_good(odd))
    due = []
    for misdeed in (wrong_hash, fork, far_ahead, gap, twice, late, unsequenced):
        due += misdeed(feed)
    return due


def wrong_hash(feed):
    room = Room("wrong hash")
    first, second = room.next(), room.next()
    feed.put_good(room.subject, first, second.replace(hashlib.sha256(first).hexdigest().encode(), b"ab" * 32))
    return [("altered", room.subject, 1, 2)]


def fork(feed):
    room = Room("fork")
    first = room.next()
    before, second = room.previous, room.next()
    feed.put_good(room.subject, first, second, room.same_number(before, "another second"))
    return [("fork", room.subject, 2, 2)]


def far_ahead(feed):
    room = Room("far ahead")
    first = room.next()
    forged = make(room.subject, 10 ** 18 - 1, room.previous, "forged")
    feed.put_good(room.subject, first, forged, room.next())
    return [("far-ahead", room.subject, 10 ** 18 - 1, 10 ** 18 - 1)]


def gap(feed):
    room = Room("gap")
    feed.put_good(room.subject, room.next())
    room.next()
    room.next()
    feed.put_good(room.subject, room.next())
    return [("gap", room.subject, 2, 3)]


def twice(feed):
    """A client that timed out and sends again: the same bytes are one record."""
    room = Room("twice")
    records = [room.next(), room.next()]
    feed.put_good(room.subject, *records)
    feed.put(room.subject, *records)
    return []


def late(feed):
    """A client library that gave a record up and sent the later ones first."""
    room = Room("late")
    first, second, third = room.next(), room.next(), room.next()
    feed.put_good(room.subject, first, third, second)
    return []


def unsequenced(feed):
    feed.put_good("test:free", *[dump(event("test:free", "free %d" % i)) for i in range(3)])
    return []


def incidents(d):
    return json.loads(d.holdfast("incident", "list", "--json").stdout)["incidents"]


def check_incidents(d, due, bad):
    found = incidents(d)
    kinds = collections.Counter(i["kind"] for i in found)
    wanted = collections.Counter(kind for kind, _, _, _ in due)
    wanted["unreadable"] = bad
    check(kinds == wanted, "incidents are %s, due are %s", dict(kinds), dict(wanted))
    places = [(i["kind"], i["subject"], i["first"], i["last"]) for i in found if i["kind"] != "unreadable"]
    # An altered record is named by one of the two that do not fit.
    for kind, subject, first, last in due:
        near = [p for p in places if p[:2] == (kind, subject) and first <= p[2] <= p[3] <= last]
        check(len(near) == 1, "no incident %s of %s#%d: %s", kind, subject, first, places)
    spots = {(i["partition"], i["first"]) for i in found if i["kind"] == "unreadable"}
    check(len(spots) == bad, "%d places are named for %d unreadable messages", len(spots), bad)


def check_held(d):
    """Archived, and none of it deleted that must not; drain does not end and says so."""
    status = d.status()
    check(status["verdict"] == "INCOMPLETE", "status hides it: %s", status)
    text = d.holdfast("status", ok=None).stdout
    check("at stake" in text and "type      holdfast incident accept" in text, "status does not say what to type:\n%s", text)
    drain = d.holdfast("drain", "--timeout", "1s", ok=None)
    check(drain.returncode != 0 and "incident" in drain.stdout + drain.stderr,
          "drain ended, or does not say why not: %s%s", drain.stdout, drain.stderr)


def mend_gap(d, feed):
    """One missing record is found and sent after all; for the other nobody has an answer."""
    room = Room("gap")
    room.next()
    feed.put_good(room.subject, room.next())
    number = [i["id"] for i in incidents(d) if i["kind"] == "gap"][0]
    done = d.holdfast("incident", "retry", str(number))
    check("asked for again" in done.stdout, "retry says: %s", done.stdout)

    def shorter():
        return [i for i in incidents(d) if i["kind"] == "gap" and (i["first"], i["last"]) == (3, 3)]

    await_true("the gap is shorter by one", shorter, 30)


def accept_all(d):
    """What is still open is accepted as its page says, by two people; one alone can't."""
    second = d.second_person()
    page = d.holdfast("incident", "show", str(incidents(d)[0]["id"])).stdout
    check("holdfast incident accept" in page and "two people" in page, "the page does not say it: %s", page)
    alone = True
    for i in incidents(d):
        words = ["incident", "accept", str(i["id"]), "--reason", "forged by a test"]
        d.holdfast(*words)
        if alone:
            refused = d.holdfast(*words, ok=None)
            check(refused.returncode != 0 and "another person" in refused.stderr, "one person alone: %s",
                  refused.stdout + refused.stderr)
            alone = False
        subprocess.run(second + words, check=True, stdout=subprocess.DEVNULL, timeout=60)
    check(not incidents(d), "still open: %s", incidents(d))


def check_archives(d, feed):
    good, bad = collections.Counter(feed.good), collections.Counter(feed.bad)
    rooms = {}
    for _, _, r in read_tar(os.path.join(d.out, "tar")):
        rooms.setdefault(r.subject, []).append(r)
    raws = collections.Counter(r.raw for records in rooms.values() for r in records if r.source == SOURCE)
    check(raws == good, "tar: %d records are not there, %d too many", (good - raws).total(), (raws - good).total())
    for subject, records in rooms.items():
        if subject.startswith("test:room") or subject == "test:odd":
            check([r.sequence for r in records] == list(range(1, len(records) + 1)), "%s is out of order", subject)
    hashes = collections.Counter(hashlib.sha256(raw).hexdigest() for raw in feed.good)
    xml = collections.Counter(digest for _, room, _, digest, _, _ in read_xml(os.path.join(d.out, "xml"))
                              if room.startswith("test:"))
    check(xml == hashes, "XML: %d records are not there, %d too many", (hashes - xml).total(),
          (xml - hashes).total())
    mails, _ = read_mails(d.mails())
    mail = collections.Counter(r.sha for records in mails for r in records if r.source == SOURCE)
    check(mail == hashes, "mails: %d records are not there, %d too many", (hashes - mail).total(),
          (mail - hashes).total())
    for archive, found in read_exceptions(d.out, d.mails()).items():
        check(found == bad, "%s: these unreadable messages are not there: %.300s; these too often: %.300s", archive,
              list(bad - found), list(found - bad))


def run_services(d):
    d.start()
    feed = Feed(d)
    due = put_all(feed)
    total = len(feed.good) + len(feed.bad)
    await_true("all is captured", lambda: d.status()["captured"] >= total, 60)

    def archived():
        d.holdfast("drain", "--timeout", "1s", ok=None)
        return all(a["archived"] >= total for a in d.status()["adapters"])

    await_true("all is archived", archived, 60)
    check_incidents(d, due, len(feed.bad))
    check_held(d)
    mend_gap(d, feed)
    accept_all(d)
    d.drain(60)
    status = d.status()
    check(status["accepted_losses"] == 2, "losses accepted: %s", status["accepted_losses"])
    check(status["verdict"] == "INCOMPLETE", "an accepted loss is hidden: %s", status["verdict"])
    check(status["kept"] == 0 and status["deleted"] == status["captured"], "not deleted: %s", status)
    check(status["exceptions"] == len(feed.bad) and status["duplicates"] >= 2, "counted: %s", status)
    more = Room("afterwards")
    feed.put_good(more.subject, *[more.next() for _ in range(20)])
    await_true("what comes afterwards is captured", lambda: d.status()["captured"] >= total + 21, 30)
    d.drain(60)
    check(all(d.running[s].poll() is None for s in d.services()), "a process ended")
    d.cut()
    check_archives(d, feed)
    print("%d good records, %d malformed ones, %d incidents" % (len(feed.good), len(feed.bad),
                                                               len(due) + len(feed.bad)))


def run_embedded(d):
    """Ingest names each bad line and takes all others; nothing of a bad one gets any further."""
    d.start()
    lines, bad, good = [], [], []
    rooms = [Room("room %d" % i) for i in range(6)]
    odd = Room("odd")

    def add_good(raw):
        good.append(raw)
        lines.append(raw)

    for i, (name, raw) in enumerate(malformed().items()):
        add_good(rooms[i % len(rooms)].next())
        if raw.strip() and b"\n" not in raw:
            lines.append(raw)
            bad.append((len(lines), name))
    for raw in odd_but_good(odd):
        add_good(raw)
    room = Room("forged")
    first, second, _, fourth = (room.next() for _ in range(4))
    add_good(first)
    for forged in (fourth, make(room.subject, 10 ** 18 - 1, room.previous),
                   second.replace(hashlib.sha256(first).hexdigest().encode(), b"ab" * 32)):
        lines.append(forged)
        bad.append((len(lines), "forged"))
    add_good(second)
    path = os.path.join(d.dir, "lines")
    with open(path, "wb") as f:
        f.write(b"\n".join(lines) + b"\n")
    for known in (0, len(good)):
        done = d.holdfast("ingest", "--source", SOURCE, path, ok=(1,))
        named = sorted(int(line.split(":")[1]) for line in done.stderr.splitlines() if line.startswith(path + ":"))
        check(named == [number for number, _ in bad], "named are the lines %s, bad are %s", named, bad)
        check("%d stored, %d known already, %d bad" % (len(good) - known, known, len(bad)) in done.stdout,
              "ingest says: %s", done.stdout)
    d.drain(60)
    check(d.status()["verdict"] == "COMPLETE", "status: %s", d.status())
    check(d.running["up"].poll() is None, "up ended")
    d.cut()
    feed = collections.namedtuple("Fed", "good bad")(good, [])
    check_archives(d, feed)
    print("%d good lines taken, %d bad ones named" % (len(good), len(bad)))


def main():
    with Deployment(sys.argv[2], sys.argv[1]) as d:
        {"services": run_services, "embedded": run_embedded}[sys.argv[2]](d)


if __name__ == "__main__":
    main()
