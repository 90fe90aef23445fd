#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two real SIPE clients sign in, join, talk, read history and leave; the archives hold exactly what they did
and were shown, each once, in order, and staging is empty.

    sipe_test.py HOLDFAST SIPE_CLIENT embedded|services
"""
import email
import email.policy
import json
import os
import queue
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET

from archives import Archives, archive_files, check, mail_bytes, read_tar
from deployment import Deployment, await_true

HOSTILE = "<b>&amp; ]]> \"quoted\" 'single' Ünïcödé 日本語 \U0001F680 -- %s"


class Sipe:
    """One real client; events it printed so far are in self.events."""

    def __init__(self, d, program, user):
        folder = os.path.join(d.dir, "sipe-" + user)
        os.mkdir(folder)
        self.user = user
        self.events, self.lines = [], queue.Queue()
        self.process = subprocess.Popen(
            [program, folder, "%s@%s" % (user, d.domain), "127.0.0.1:%d" % d.port],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            env=dict(os.environ, SIPE_PASSWORD="x"))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                pass

    def type(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def await_event(self, what, test):
        return await_true("%s: %s; events %s" % (self.user, what, self.events[-5:]),
                          lambda: next((e for e in list(self.events) if test(e)), None), 60)

    def messages(self):
        return [e["text"] for e in list(self.events) if e["event"] == "message"]

    def quit(self):
        self.type("quit")
        self.process.wait(30)


def check_room_name(d, uri, name):
    """People read the room's name, not its address, in every archive."""
    xml = os.path.join(d.out, "xml")
    names = set()
    for document in archive_files(xml):
        for channel in ET.parse(os.path.join(xml, document)).iter("Channel"):
            if channel.get("uri") == uri:
                names.add(channel.get("name"))
    check(names == {name}, "the XML calls the room %s", names)
    subjects = set()
    for mail in os.listdir(d.mails()):
        with open(os.path.join(d.mails(), mail), "rb") as f:
            message = email.message_from_bytes(mail_bytes(f.name), policy=email.policy.default)
        if uri in message.get_body().get_content():
            subjects.add(name in message["Subject"] and "Room:     %s\n" % name in message.get_body().get_content())
    check(subjects == {True}, "mails of the room do not name it")
    members = {member for _, member, r in read_tar(os.path.join(d.out, "tar")) if r.subject == uri}
    check(all(name.lower() in member.lower() for member in members), "the tar keeps the room in %s", members)


def main():
    program, sipe, kind = sys.argv[1:4]
    mail = "postfix" if kind == "services" else "smtp"
    with Deployment(kind, program, mail=mail) as d:
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user, "--name", user.title())
        uri = d.holdfast("room", "add", "Lobby").stdout.split()[-1]
        check(uri.startswith("ma-chan://"), "room add printed %s", uri)

        alice = Sipe(d, sipe, "alice")
        alice.await_event("connected", lambda e: e["event"] == "connected")
        alice.type("join " + uri)
        alice.await_event("joined", lambda e: e["event"] == "joined")
        spoken = ["first words", HOSTILE]
        for text in spoken:
            alice.type("say " + text)
            alice.await_event("echo", lambda e: e["event"] == "message" and e["text"] == text)

        bob = Sipe(d, sipe, "bob")
        bob.await_event("connected", lambda e: e["event"] == "connected")
        bob.type("join " + uri)
        bob.await_event("joined", lambda e: e["event"] == "joined")
        for text in spoken:  # from history
            bob.await_event("history", lambda e: e["event"] == "message" and e["text"] == text)
        bob.type("say I read it")
        alice.await_event("bob's words", lambda e: e["event"] == "message" and e["text"] == "I read it")
        bob.type("part")
        bob.quit()
        alice.quit()

        d.drain()
        status = d.status()
        check(status["verdict"] == "COMPLETE", "%s", status)
        check(status["captured"] == status["deleted"], "staging is not empty: %s", status)
        d.stop()
        d.start()
        d.drain()
        d.cut()
        archives = Archives(d.out, d.mails())
        room = archives.rooms[uri]
        did = [(r.type.split(".")[1], r.data["participant"].split(":")[1].split("@")[0], r.data.get("text"))
               for r in room]
        check([x for x in did if x[0] == "post"] == [("post", "alice", spoken[0]), ("post", "alice", spoken[1]),
                                                     ("post", "bob", "I read it")], "posts: %s", did)
        check([x[:2] for x in did if x[0] == "join"] == [("join", "alice"), ("join", "bob")], "joins: %s", did)
        check(sorted(x[1] for x in did if x[0] == "leave") == ["alice", "bob"], "leaves: %s", did)
        reads = [(r.data["participant"], r.data["ranges"]) for r in room if r.type == "holdfast.read"]
        check(reads == [("sip:alice@example.test", []), ("sip:bob@example.test", [[1, 2]])], "reads: %s", reads)
        bob_left = next(r for r in room if r.type == "holdfast.leave" and "bob" in r.data["participant"])
        check(bob_left.data["reason"] == "part", "bob's leave says %s", bob_left.data)
        sessions = [r.type for s, records in archives.rooms.items() if s.startswith("urn:uuid:") for r in records]
        for kind_ in ("sign-in", "sign-out"):
            check(sessions.count("holdfast." + kind_) == 2, "%s: %s", kind_, sessions)
        check_room_name(d, uri, "Lobby")
        print("%d records of the room, as it happened: %s" % (len(room), [x[0] for x in did]))


if __name__ == "__main__":
    main()
