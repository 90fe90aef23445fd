#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mgccomp is restored from an older copy while the archives, the store and the queue went on: nothing is delivered
until `staging reconcile` was typed; afterwards the archives hold every record once.

    restore_test.py HOLDFAST embedded|services [trusted|unknown|gone|both|dies|alone|vouched|away]

trusted: the mails, which can't be read here, had everything, and the person says so. unknown: nobody says so,
they are sent again since the copy. gone: as trusted, and the queue has deleted what was archived.
both: as trusted, and the store is the older copy, too: a new epoch begins behind what the archives hold. In
services mgccomp can't be asked for a while when the chat server starts: it goes on, and ends once it knows.
alone: XML is the only archive. It lists records and proves none, so that all since the copy is delivered again, also
what somebody had altered there. vouched: as alone, and a person vouches for the archive: nothing is delivered again.
away: as trusted, and no folder is mounted at first: what was delivered from here tells.
dies: as trusted, and the command is killed at every of its steps first (a build with HOLDFAST_FAULTS).
"""
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter

from archives import Archives, Expected, archive_files, check, compare_with, read_tar, read_xml
from deployment import Deployment, await_true

SOURCE = "restored"
ROOMS = 5


def lines(phase, n):
    return [json.dumps({"specversion": "1.0", "id": "%s-%d" % (phase, i), "type": "com.example.line",
                        "time": "2026-11-24T07:00:00Z", "subject": "irc:#room%d" % (i % ROOMS),
                        "data": {"text": "%s %d" % (phase, i)}}) for i in range(n)]


ALONE = ("alone", "vouched")


class Story:
    def __init__(self, d):
        self.d = d
        self.all = []

    def load(self, phase, n):
        text = lines(phase, n)
        self.all += text
        self.d.holdfast("ingest", "--source", SOURCE, "-", input="".join(line + "\n" for line in text))

    def expected(self):
        path = os.path.join(self.d.dir, "expected.ndjson")
        with open(path, "w") as f:
            f.write("".join(line + "\n" for line in self.all))
        return Expected.from_ndjson(path)


class Copy:
    """A database as it is now, with nothing of ours running."""

    def __init__(self, d, name):
        self.d = d
        self.path = os.path.join(d.dir, "copy-" + name)
        if d.kind == "embedded":
            self.file = os.path.join(d.data, name + ".db")
            for end in ("", "-wal"):
                if os.path.exists(self.file + end):
                    shutil.copy(self.file + end, self.path + end)
        else:
            with open(os.path.join(d.data, name + ".url")) as f:
                self.url = f.read().strip()
            self.run("pg_dump", "--format=custom", "--file=" + self.path, self.url)

    def run(self, *words):
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(done.returncode == 0, "%s: %s", " ".join(words), done.stdout)

    def restore(self):
        if self.d.kind == "embedded":
            for end in ("", "-wal", "-shm"):
                if os.path.exists(self.file + end):
                    os.unlink(self.file + end)
                if os.path.exists(self.path + end):
                    shutil.copy(self.path + end, self.file + end)
        else:
            self.run("pg_restore", "--clean", "--if-exists", "--exit-on-error", "--dbname=" + self.url, self.path)


def refused(d):
    """What archives ends at once and says why."""
    service = "up" if d.kind == "embedded" else "archiver"
    done = subprocess.run(d.command(service), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    check(done.returncode != 0, "%s started on an older copy", service)
    check("older than its archives" in done.stdout and "holdfast staging reconcile" in done.stdout,
          "%s does not say what to type: %s", service, done.stdout)
    listed = d.holdfast("adapter", "list").stdout
    check("older than this archive" in listed and "holdfast staging reconcile" in listed, "adapter list: %s", listed)


def write(path, content):
    os.unlink(path)
    with open(path, "wb") as f:
        f.write(content)


def zstd(word, content):
    return subprocess.run(["zstd", "-q", word, "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def tampered(d, words):
    """An archive that is not as its manifest says is no proof of anything; one that was moved is asked for."""
    folder = os.path.join(d.out, "tar")
    names = sorted(os.listdir(folder))
    path = os.path.join(folder, names[-1])
    with open(path, "rb") as f:
        whole = f.read()
    inside = zstd("-d", whole)
    at = inside.rindex(b"after-2 9")
    for what, content in (("cut", whole[:len(whole) // 2]),
                          ("altered", zstd("-1", inside[:at] + b"after-2 8" + inside[at + 9:])),
                          ("no archive", b"nothing"),
                          ("empty", b"")):
        write(path, content)
        done = d.holdfast(*words, "--yes", ok=(1,))
        check(names[-1] in done.stderr and not done.stdout, "%s: %s%s", what, done.stdout, done.stderr)
        refused(d)
    write(path, whole)
    moved = os.path.join(d.dir, "moved")
    os.mkdir(moved)
    os.rename(os.path.join(folder, names[-2]), os.path.join(moved, names[-2]))
    dry = d.holdfast(*words, ok=(1,)).stdout
    check("1 batch is beyond the ledger in none" in dry and "--from FOLDER" in dry, "a moved archive: %s", dry)
    dry = d.holdfast(*words, "--from", moved, folder, ok=(1,)).stdout
    check("in none of these" not in dry, "a moved archive, named: %s", dry)
    os.rename(os.path.join(moved, names[-2]), os.path.join(folder, names[-2]))


def die(d, words):
    """At each step; what archives goes on refusing, and the next one goes on."""
    for point in ("captured:kill:1", "commit.before:kill:1", "commit.after:kill:1", "captured:kill:2"):
        done = subprocess.run(d.command(*words, "--yes"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "HOLDFAST_FAULT": "reconcile." + point})
        check(done.returncode == -signal.SIGKILL, "reconcile did not die at %s: %s", point, done.stdout)
        said = d.holdfast("incident", "list", "--all", "--json").stdout
        check("is vouched for: mail" in said, "nobody vouched for anything: %s", said)
        refused(d)


def away(d, words):
    """No archive is to be seen; they come back before anything is done."""
    folders = [os.path.join(d.out, name) for name in ("tar", "xml")]
    for folder in folders:
        os.rename(folder, folder + "-away")
    refused(d)
    dry = d.holdfast(*words, ok=(1,)).stdout
    check("no archive of it is here" in dry and "--trust" not in dry, "without archives: %s", dry)
    done = d.holdfast(*words, "--trust", "mail", ok=(2,))
    check("no archive is read" in done.stderr, "trust without archives: %s", done.stderr)
    for folder in folders:
        if os.path.exists(folder):
            os.rmdir(folder)
        os.rename(folder + "-away", folder)


def reconcile(d, trust, how):
    words = ["staging", "reconcile", "--reason", "the disk of mgccomp was replaced"]
    if how == "away":
        away(d, words)
    words += ["--trust", ",".join(trust)] if trust else []
    dry = d.holdfast(*words, ok=(1,)).stdout
    check("nothing was changed" in dry, "the dry run says: %s", dry)
    unread = "--trust " + ("xml" if how in ALONE else "mail")
    check(bool(trust) != (unread in dry), "the dry run about what it does not believe: %s", dry)
    check(how in ALONE or "proves none: they go only once another adapter" in dry, "about the XML: %s", dry)
    refused(d)
    if how == "trusted":
        tampered(d, words)
    if how == "dies":
        die(d, words)
    done = d.holdfast(*words, "--yes").stdout
    check("done:" in done, "reconcile says: %s", done)
    said = d.holdfast("incident", "list", "--all", "--json").stdout
    check(bool(trust) == ("vouched for: %s" % ",".join(trust) in said), "who vouched for what: %s", said)
    check(how != "gone" or "gone from the queue" in done, "about the queue it says: %s", done)
    again = d.holdfast(*words, "--yes").stdout
    check("nothing to do" in again, "a second time: %s", again)


def rename_mgccomp(d, old, new):
    with open(os.path.join(d.data, "store.url")) as f:
        url = f.read().strip()
    done = subprocess.run(["psql", "-q", "-d", url, "-c", "ALTER DATABASE %s RENAME TO %s" % (old, new)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(done.returncode == 0, "rename %s: %s", old, done.stdout)


def learns_late(d):
    """A chat server that can't ask mgccomp starts all the same, and ends once it can: it is an older copy."""
    rename_mgccomp(d, "mgccomp", "mgccomp_away")
    d.launch("chat-server")
    d.ready("chat-server")
    check("event=store.unchecked" in d.log("chat-server"), "it does not say that it could not ask")
    rename_mgccomp(d, "mgccomp_away", "mgccomp")
    server = d.running.pop("chat-server")
    await_true("the chat server ended", lambda: server.poll() is not None)
    check(server.returncode == 1 and "holdfast store restored" in d.log("chat-server"),
          "it ended with %d: %s", server.returncode, d.log("chat-server")[-2000:])


def new_epoch(d):
    """The store gives out no number that the archives have, now that mgccomp knows them."""
    service = "up" if d.kind == "embedded" else "chat-server"
    if d.kind == "services":
        learns_late(d)
    done = subprocess.run(d.command(service), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    check(done.returncode != 0 and "holdfast store restored" in done.stdout, "%s: %s", service, done.stdout)
    d.holdfast("store", "restored", "--reason", "the same disk")


def once(folder):
    seen = {}
    for file, _, r in read_tar(folder):
        key = (r.source, r.epoch, r.subject, r.sequence)
        check(key not in seen, "%s#%d is in %s and in %s", r.subject, r.sequence, seen.get(key), file)
        seen[key] = file
    return len(seen)


def alter(d):
    """One record's text, its digest left as it is. Returns the file and the record's own line."""
    folder = os.path.join(d.out, "xml")
    for name in archive_files(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as f:
            content = f.read()
        if b"after-1 42" in content:
            write(path, content.replace(b"after-1 42", b"after-1 24"))
            return path
    raise AssertionError("no document holds the record")


def only_xml(story, how, altered):
    """Every record is there, and once where the archive was vouched for."""
    if altered:
        os.unlink(altered)  # it proved nothing, so it is not needed
    found = Counter((room, n) for _, room, n, *_ in read_xml(os.path.join(story.d.out, "xml"))
                    if room.startswith("irc:"))
    each = len(story.all) // ROOMS
    expected = {("irc:#room%d" % i, n + 1) for i in range(ROOMS) for n in range(each)}
    check(set(found) == expected, "records differ: %s", set(found) ^ expected)
    twice = sum(1 for n in found.values() if n > 1)
    check((twice == 0) == (how == "vouched"), "%d records are there twice", twice)
    print("%d records, %d of them twice" % (len(found), twice))


def main():
    kind, how = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else "trusted"
    trust = {"unknown": [], "alone": [], "vouched": ["xml"]}.get(how, ["mail"])
    adapters = ("xml",) if how in ALONE else ("xml", "tar", "mail")
    with Deployment(kind, sys.argv[1], adapters=adapters) as d:
        story = Story(d)
        d.start()
        story.load("before", 200)
        d.drain()
        story.load("in-between", 50)  # captured or not, cut or not: as it comes
        d.stop()
        copies = [Copy(d, "mgccomp")]
        if how == "both":
            copies.append(Copy(d, "chat" if kind == "embedded" else "store"))
        d.start()
        for i in range(3):
            story.load("after-%d" % i, 100)
            d.drain()
        if how == "gone":  # a new archiver deletes from the queue with its first sweep
            d.end("archiver")
            d.launch("archiver")
            d.ready("archiver")
            story.load("more", 100)
            d.drain()
        d.cut()  # an orderly end would record a last word that not every adapter gets
        archived = once(os.path.join(d.out, "tar")) if "tar" in adapters else 0
        for copy in copies:
            copy.restore()
        refused(d)
        altered = alter(d) if how == "alone" else None
        if kind == "services":  # capture goes on meanwhile, and finds again what was archived
            d.launch("capture")
            d.ready("capture")
        reconcile(d, trust, how)
        if kind == "services":
            d.end("capture")
        if how == "both":
            new_epoch(d)
        d.start()
        story.load("on", 100)
        d.drain()
        check(d.holdfast("staging", "check").stdout, "staging check says nothing")
        status = d.status()
        check(status["verdict"] == "COMPLETE", "status: %s", status)
        listed = d.holdfast("incident", "list", "--all").stdout
        check("restored" in listed, "the restore is not on record: %s", listed)
        d.cut()
        if how in ALONE:
            return only_xml(story, how, altered)
        total = once(os.path.join(d.out, "tar"))
        if how == "unknown":
            rooms = {}
            for _, _, r in read_tar(os.path.join(d.out, "tar")):
                rooms.setdefault(r.subject, []).append(r)
            places = [(room, n, h) for _, room, n, h, _, _ in read_xml(os.path.join(d.out, "xml"))]
            check(sorted(places) == sorted((name, r.sequence, r.sha) for name in rooms for r in rooms[name]),
                  "XML and tar differ")
            found = [r.id for name in rooms for r in rooms[name] if r.source == SOURCE]
            check(sorted(found) == sorted(json.loads(line)["id"] for line in story.all), "the tar lacks records")
        else:
            print(compare_with(story.expected(), Archives(d.out, d.mails())))
        print("%d records archived when the copy came back, %d in the end, each once" % (archived, total))


if __name__ == "__main__":
    main()
