# SPDX-License-Identifier: Apache-2.0
"""Loads that know what was acknowledged: an ingest that is started until it ends well, and people who chat."""
import hashlib
import json
import re
import subprocess
import threading
import time
import uuid

from archives import Expected, check


class Ingest(threading.Thread):
    """Feeds the file until an ingest ends well; it may be killed at any time."""

    def __init__(self, d, path, seconds=300):
        super().__init__(daemon=True)
        self.d, self.path, self.seconds = d, path, seconds
        self.process, self.tries, self.done = None, 0, False

    def run(self):
        end = time.monotonic() + self.seconds
        while not self.done and time.monotonic() < end:
            self.tries += 1
            self.process = subprocess.Popen(self.d.command("ingest", "--source", "irc:test", self.path),
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.done = self.process.wait() == 0


class Chat(threading.Thread):
    """One person typing numbered lines; remembers which were echoed."""

    def __init__(self, d, user, room):
        super().__init__(daemon=True)
        self.d, self.user, self.room = d, user, room
        self.typed, self.acknowledged, self.stop = [], set(), False

    def say(self, count, run=subprocess.run):
        first = len(self.typed) + 1
        lines = ["%s says %06d" % (self.user, n) for n in range(first, first + count)]
        self.typed += lines
        try:
            done = run(self.d.command("chat", self.user, self.room), stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True, timeout=60,
                       input="".join(line + "\n" for line in lines) + "/quit\n")
        except subprocess.TimeoutExpired:
            return
        # A client that finds history of an earlier run shows those lines too: they are acknowledged as well.
        self.acknowledged |= set(re.findall(r"%s says \d{6}" % self.user, done.stdout))

    def run(self):
        while not self.stop:
            before = len(self.acknowledged)
            self.say(20)
            if len(self.acknowledged) == before:
                time.sleep(0.2)  # nobody serves: the pause of a person who tries again


class Book:
    """Makes records for one source and writes down what was made; one file for each call of make()."""

    def __init__(self, folder, domain="example.test", rooms=3):
        self.folder, self.domain, self.rooms = folder, domain, rooms
        self.expected = Expected()
        self.files = 0

    def make(self, count):
        self.files += 1
        path = "%s/load-%d.ndjson" % (self.folder, self.files)
        with open(path, "wb") as f:
            for _ in range(count):
                f.write(self._line())
        return path

    def _line(self):
        n = self.expected.total
        room = "ma-chan://%s/%s" % (self.domain, uuid.uuid5(uuid.NAMESPACE_OID, "room %d" % (n % self.rooms)))
        clock = "%02d:%02d:%02d.%06d" % (n // 3600 % 24, n // 60 % 60, n % 60, n % 1000000)
        event = {"specversion": "1.0", "id": str(uuid.uuid5(uuid.NAMESPACE_OID, "record %d" % n)),
                 "type": "holdfast.post", "time": "2026-01-01T%sZ" % clock,
                 "subject": room, "datacontenttype": "application/json",
                 "data": {"participant": "sip:maker@irc.example.test", "name": "maker",
                          "text": "made record %d \u20ac <&> %s" % (n, "x" * (n * 37 % 400))}}
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        self.expected.rooms.setdefault(room, []).append(
            (event["id"], hashlib.sha256(line[:-1]).digest(), len(line) - 1))
        self.expected.total += 1
        return line + b"\n"


def check_chat(archives, chats, quiet=False):
    for chat in chats:
        room = [r for records in archives.rooms.values() for r in records
                if r.type == "holdfast.post" and r.data.get("text", "").startswith(chat.user + " says")]
        texts = [r.data["text"] for r in room]
        check(len(texts) == len(set(texts)), "a line of %s was recorded twice", chat.user)
        lost = chat.acknowledged - set(texts)
        check(not lost, "%d acknowledged lines of %s are lost: %s", len(lost), chat.user, sorted(lost)[:3])
        check(set(texts) <= set(chat.typed), "%s never typed that", chat.user)
        if not quiet:
            print("%s: typed %d, acknowledged %d, archived %d" % (chat.user, len(chat.typed), len(chat.acknowledged),
                                                                  len(texts)))
