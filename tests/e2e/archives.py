# SPDX-License-Identifier: Apache-2.0
"""Reads Holdfast's outputs with other people's tools and compares them.

Nothing of Holdfast is used: zstd and Python's tarfile, ElementTree and email read what the adapters wrote.
"""
import base64
import collections
import email
import email.policy
import hashlib
import json
import os
import re
import subprocess
import tarfile
import xml.etree.ElementTree as ET

HF = "{urn:holdfast:xml:1}"
ZERO = "0" * 64


class Wrong(AssertionError):
    pass


def check(condition, text, *args):
    if not condition:
        raise Wrong(text % args if args else text)


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


class Record:
    __slots__ = ("raw", "subject", "sequence", "id", "type", "text", "data", "sha", "previous", "source",
                 "epoch")

    def __init__(self, raw):
        event = json.loads(raw)
        self.raw = raw
        self.source = event["source"]
        self.subject = event["subject"]
        self.sequence = int(event.get("sequence", 0))
        self.epoch = event.get("epoch", 1)
        self.previous = event.get("previous")
        self.id = event["id"]
        self.type = event["type"]
        self.data = event.get("data") or {}
        self.text = exact_text(self.data)
        self.sha = sha(raw)


def exact_text(data):
    if "text_bytes" in data:
        return base64.b64decode(data["text_bytes"], validate=True)
    return data["text"].encode() if "text" in data else None


def place(record):
    """What tells a record from others of its room: epoch and number, else its id."""
    return (record.epoch, record.sequence) if record.sequence else record.id


class Marks:
    """How many records each archive marks so: {"tar": {"late": 1}, ...}."""

    def __init__(self):
        self.found = {}

    def add(self, archive, mark, n=1):
        marks = self.found.setdefault(archive, {})
        marks[mark] = marks.get(mark, 0) + n

    def of(self, mark):
        return {archive: self.found.get(archive, {}).get(mark, 0) for archive in ("tar", "xml", "mail")}


class Expected:
    """What a producer handed over: per room the lines in order."""

    def __init__(self):
        self.rooms = {}
        self.total = 0

    @staticmethod
    def from_ndjson(path, keyed=False):
        """Ingest adds members before the closing brace; what goes straight into the topic, behind its key, is
        kept to the last byte."""
        self = Expected()
        with open(path, "rb") as f:
            for line in f:
                line = line.rstrip(b"\n")
                if keyed:
                    line = line[line.index(b"\t") + 1:]
                event = json.loads(line)
                kept = line if keyed else line[:-1]
                self.rooms.setdefault(event["subject"], []).append(
                    (event["id"], hashlib.sha256(kept).digest(), None if keyed else len(kept)))
                self.total += 1
        return self


# ---- the archives ----

def batch_number(name):
    """The order of archives: the time in front is the clock's, which may have been set back."""
    return int(re.search(r"-([0-9]{9})-[0-9a-f]{8}", name).group(1)), name


def archive_files(folder):
    """Of the archives in a folder; what its writers left unfinished must be gone."""
    unfinished = os.path.join(folder, ".incomplete")
    left = os.listdir(unfinished) if os.path.isdir(unfinished) else []
    check(not left, "left over in %s: %s", unfinished, left)
    return sorted((n for n in os.listdir(folder) if n != ".incomplete"), key=batch_number)


def read_tar(folder, marks=None):
    """Yields (file, member, record) of every archive, oldest first; checks what the manifest says."""
    for name in archive_files(folder):
        check(name.endswith(".tar.zst"), "left over in the tar folder: %s", name)
        pipe = subprocess.Popen(["zstd", "-dcq", os.path.join(folder, name)], stdout=subprocess.PIPE)
        digests, manifest = {}, None
        with tarfile.open(fileobj=pipe.stdout, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member).read()
                digests[member.name] = sha(content)
                if member.name == "manifest.json":
                    manifest = content
                elif member.name.startswith("records/"):
                    for line in content.split(b"\n")[:-1]:
                        yield name, member.name, Record(line)
                    check(content.endswith(b"\n"), "%s: %s does not end with a line end", name, member.name)
        check(pipe.wait() == 0, "%s: zstd failed", name)
        check(manifest is not None, "%s has no manifest", name)
        for member in json.loads(manifest)["members"] if marks else ():
            for mark in ("late", "unprovable", "fork", "repeat"):
                marks.add("tar", mark, member.get(mark, 0))
        for member, digest in digests.items():
            if member not in ("manifest.json",):
                check(digest.encode() in manifest, "%s: the manifest does not know %s", name, member)


def note_flags(marks, el, prefix):
    for mark in ("late", "unprovable", "fork", "repeat"):
        if marks and el.get(prefix + mark) == "true":
            marks.add("xml", mark)


def read_xml_document(path, marks=None):
    """(index, room, sequence, sha, content bytes or None, kind) of every message and record of one document."""
    name, found, room = os.path.basename(path), [], None
    for event, el in ET.iterparse(path, events=("start", "end")):
        if event == "start" and el.tag == "Channel":
            room = el.get("uri")
        if event == "end" and el.tag == "Message" and el.get(HF + "sha256"):
            note_flags(marks, el, HF)
            content = el.get("content").encode()
            if el.get(HF + "bytes"):
                content = base64.b64decode(el.get(HF + "bytes"), validate=True)
            found.append((int(el.get(HF + "index")), room, int(el.get(HF + "sequence")), el.get(HF + "sha256"),
                          content, el.get("type")))
        if event == "end" and el.tag == HF + "Record":
            raw = el.text.encode()
            if el.get("encoding") == "base64":
                raw = base64.b64decode(raw, validate=True)
            note_flags(marks, el, "")
            record = Record(raw)
            check(record.sha == el.get("sha256"), "%s: %s#%d is not its hash", name, record.subject, record.sequence)
            found.append((int(el.get("index")), record.subject, record.sequence, record.sha, None, None))
        if event == "end" and el.tag in ("Conversation", HF + "Records"):
            el.clear()
    return found


def read_xml(folder, marks=None):
    """Yields (file, room, sequence, sha, content, kind) in the order of the batches; kinds that the original
    has no element for stand apart in a document, their index says where they belong."""
    for name in archive_files(folder):
        check(name.endswith(".xml"), "left over in the XML folder: %s", name)
        for _, *entry in sorted(read_xml_document(os.path.join(folder, name), marks),
                                key=lambda entry: entry[0]):
            yield name, *entry


def mail_bytes(path):
    """The mail as sent: without the envelope and trace lines that the receiving server put before it."""
    with open(path, "rb") as f:
        content = f.read()
    head, body = re.split(rb"\r?\n\r?\n", content, maxsplit=1)
    lines, skipping = [], False
    for line in re.split(rb"\r?\n", head):
        if re.match(rb"(?i)(x-envelope-|x-original-to|delivered-to|return-path|received):?", line):
            skipping = True
        elif not line[:1].isspace():
            skipping = False
        if not skipping:
            lines.append(line)
    return b"\n".join(lines) + b"\n\n" + body.replace(b"\r\n", b"\n")


def read_mails(folder, marks=None):
    """Returns ([records of a mail in order], repeats). The same Message-ID twice must be the same bytes."""
    seen, mails, repeats = {}, [], 0
    for name in sorted(os.listdir(folder)):
        content = mail_bytes(os.path.join(folder, name))
        message = email.message_from_bytes(content, policy=email.policy.default)
        key = message["Message-ID"]
        check(key, "%s has no Message-ID", name)
        if key in seen:
            check(seen[key] == sha(content), "mail %s came twice with other bytes", key)
            repeats += 1
            continue
        seen[key] = sha(content)
        records = []
        for part in message.walk():
            if (part.get_filename() or "").endswith(".ndjson"):
                payload = part.get_payload(decode=True)
                records += [Record(line) for line in payload.split(b"\n") if line]
            elif marks and part.get_content_type() == "text/plain":
                for name, mark in (("(late)", "late"), ("(not provable)", "unprovable")):
                    marks.add("mail", mark, part.get_content().count(name))
        mails.append(records)
    return mails, repeats


def read_exceptions(out, mails):
    """Of each archive, what could not be read as a record: a Counter of its bytes."""
    found = {"tar": collections.Counter(), "xml": collections.Counter(), "mail": collections.Counter()}
    for name in archive_files(os.path.join(out, "tar")):
        pipe = subprocess.Popen(["zstd", "-dcq", os.path.join(out, "tar", name)], stdout=subprocess.PIPE)
        with tarfile.open(fileobj=pipe.stdout, mode="r|") as archive:
            for member in archive:
                if member.name.startswith("exceptions/"):
                    found["tar"][archive.extractfile(member).read()] += 1
        pipe.wait()
    for name in archive_files(os.path.join(out, "xml")):
        for _, el in ET.iterparse(os.path.join(out, "xml", name)):
            if el.tag == HF + "Exception":
                found["xml"][base64.b64decode(el.text or "", validate=True)] += 1
    seen = set()
    for name in sorted(os.listdir(mails)):
        message = email.message_from_bytes(mail_bytes(os.path.join(mails, name)), policy=email.policy.default)
        parts = [] if message["Message-ID"] in seen else message.walk()
        seen.add(message["Message-ID"])
        for part in parts:
            if (part.get_filename() or "") == "exceptions.jsonl":
                for line in part.get_payload(decode=True).split(b"\n"):
                    if line:
                        found["mail"][base64.b64decode(json.loads(line)["base64"], validate=True)] += 1
    return found


# ---- comparing ----

def by_number(entries, key):
    """Entries with those of a room in the order of their numbers; rooms as they come."""
    rooms = {}
    for entry in entries:
        rooms.setdefault(key(entry)[0], []).append(entry)
    for room in rooms.values():
        yield from sorted(room, key=lambda entry: key(entry)[1])


class Archives:
    """Everything the three archives hold, checked against each other."""

    def __init__(self, out, mails, lost=frozenset(), late=False):
        """lost: (subject, number) of records that are gone and were accepted as gone. late: some records came
        behind those that follow them, so that only their numbers give the order."""
        self.lost, self.late = lost, late
        self.rooms = {}  # subject -> [Record] in order, from the tar
        self.marks = Marks()
        seen, unnumbered = {}, 0
        entries = read_tar(os.path.join(out, "tar"), self.marks)
        if late:
            entries = by_number(entries, lambda entry: ((entry[2].source, entry[2].subject, entry[2].epoch),
                                                        entry[2].sequence))
        for file, _, r in entries:
            self.rooms.setdefault(r.subject, []).append(r)
            if not r.sequence:
                unnumbered += 1
                continue
            key = (r.source, r.epoch, r.subject)
            previous = seen.get(key)
            due = previous.sequence + 1 if previous else 1
            skipped = (r.subject, due) in lost
            check(r.sequence == due + skipped, "%s: %s#%d follows #%d", file, r.subject, r.sequence, due - 1)
            check(skipped or r.previous == (previous.sha if previous else ZERO), "%s: the chain breaks at %s#%d",
                  file, r.subject, r.sequence)
            seen[key] = r
        self.tar = sum(len(v) for v in self.rooms.values())
        self.xml = self._compare_xml(os.path.join(out, "xml"))
        self.mail, self.repeats = self._compare_mails(mails)
        check(set(self.marks.of("unprovable").values()) == {unnumbered}, "%d records without number are marked: %s",
              unnumbered, self.marks.of("unprovable"))

    def _compare_xml(self, folder):
        place, count = {}, 0
        entries = read_xml(folder, self.marks)
        if self.late:
            entries = by_number(entries, lambda entry: (entry[1], entry[2]))
        for file, room, sequence, digest, content, kind in entries:
            known = self.rooms.get(room)
            i = place.get(room, 0)
            check(known and i < len(known), "%s: %s#%d is not in the tar", file, room, sequence)
            r = known[i]
            check((r.sequence, r.sha) == (sequence, digest), "%s: %s#%d where #%d is due", file, room, sequence,
                  r.sequence)
            if kind == "CHAT":
                check(content == r.text, "%s: the text of %s#%d differs", file, room, sequence)
            place[room] = i + 1
            count += 1
        check(count == self.tar, "XML holds %d records, tar %d", count, self.tar)
        return count

    def _follows(self, before, after):
        if not after.sequence or (self.late and after.sequence > before.sequence):
            return True
        if after.epoch > before.epoch and after.sequence == 1:
            return True
        return after.sequence == before.sequence + 1 or (after.subject, after.sequence - 1) in self.lost

    def _compare_mails(self, folder):
        mails, repeats = read_mails(folder, self.marks)
        found = {}
        for records in mails:
            for before, after in zip(records, records[1:]):
                check(self._follows(before, after), "a mail about %s is out of order", after.subject)
            for r in records:
                check((r.subject, place(r)) not in found, "%s#%s is in two mails", r.subject, place(r))
                found[(r.subject, place(r))] = r.sha
        for subject, records in self.rooms.items():
            for r in records:
                check(found.pop((subject, place(r)), None) == r.sha, "%s#%s is not in the mails", subject, place(r))
        check(not found, "mails hold what the tar does not: %s", list(found)[:3])
        return sum(len(r) for r in mails), repeats


def compare(expected, out, mails):
    """Every line handed over is in every archive, once, in order, its bytes in front of the record's."""
    return compare_with(expected, Archives(out, mails))


def compare_with(expected, archives):
    for subject, lines in expected.rooms.items():
        records = archives.rooms.get(subject, [])
        check(len(records) == len(lines), "%s: %d records of %d", subject, len(records), len(lines))
        for (id, digest, n), r in zip(lines, records):
            check(r.id == id, "%s#%d is %s, due is %s", subject, r.sequence, r.id, id)
            check(hashlib.sha256(r.raw[:n]).digest() == digest, "%s#%d: the producer's bytes were changed",
                  subject, r.sequence)
    return {"xml": archives.xml, "tar": archives.tar, "mail": archives.mail, "repeats": archives.repeats}
