#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A chat server, then an ingest, freezes and loses its connections, another one takes over, the first one wakes:
it records nothing more of its own, and nothing is lost or doubled.

    frozen_writers.py HOLDFAST
"""
import os
import shutil
import signal
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true, free_port  # noqa: E402
from load import Book  # noqa: E402


class Person:
    """Somebody at a keyboard; what the program printed is kept."""

    def __init__(self, words):
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.heard = ""
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.heard += line

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def hears(self, text):
        await_true("%r is heard" % text, lambda: text in self.heard, 30)

    def end(self):
        self.process.kill()
        self.process.wait()


def second_server(d):
    """A data folder of its own for the same pool: another port, the same key."""
    folder = os.path.join(d.dir, "data-other")
    shutil.copytree(d.data, folder)
    path = os.path.join(folder, "holdfast.conf")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("127.0.0.1:%d" % d.port, "127.0.0.1:%d" % free_port()))
    return [d.program, "--data", folder]


def cut_connections(d):
    """As when the frozen machine's network is gone: the database gives its locks to others."""
    with open(os.path.join(d.data, "store.url")) as f:
        subprocess.run(["psql", "-X", "-q", "-t", f.read().strip(), "-c",
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'store'"
                        " AND pid <> pg_backend_pid()"], check=True, stdout=subprocess.DEVNULL)


def chat_server(d):
    alice = Person(d.command("chat", "alice", "Lobby"))
    alice.say("before")
    alice.hears("before")
    other = second_server(d)
    refused = subprocess.run(other + ["chat-server"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, timeout=60)
    check(refused.returncode != 0 and "another" in refused.stdout, "a second server beside the first: %d %s",
          refused.returncode, refused.stdout)
    frozen = d.running.pop("chat-server")
    os.kill(frozen.pid, signal.SIGSTOP)
    cut_connections(d)
    with open(os.path.join(d.dir, "other.log"), "wb") as log:
        second = subprocess.Popen(other + ["chat-server"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def other_log():
        with open(os.path.join(d.dir, "other.log")) as f:
            return f.read()

    bob = None
    try:
        await_true("the other server is ready", lambda: "event=ready" in other_log(), 30)
        bob = Person(other + ["chat", "bob", "Lobby"])
        bob.say("meanwhile")
        bob.hears("meanwhile")
        os.kill(frozen.pid, signal.SIGCONT)
        alice.say("woken")
        await_true("the woken server gives up", lambda: frozen.poll() is not None, 60)
        check(frozen.returncode == 1 and "another server session" in d.log("chat-server"),
              "it ended with %d and says:\n%s", frozen.returncode, d.log("chat-server")[-1500:])
        check(alice.heard.count("woken") == 0, "a post was echoed that nobody recorded: %s", alice.heard)
        bob.say("afterwards")
        bob.hears("afterwards")
        check("woken" not in bob.heard, "bob sees what is not on record")
    finally:
        alice.end()
        if bob:
            bob.end()
        second.terminate()
        code = second.wait(60)
    check(code == 0, "the other server ended with %d:\n%s", code, other_log()[-2000:])
    d.launch("chat-server")
    d.ready("chat-server")


def ingest(d, book):
    words = d.command("ingest", "--source", "irc:test", book.make(20000))
    first = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True)
    before = d.status()["stored"]
    await_true("some is stored", lambda: d.status()["stored"] > before or first.poll() is not None, 30)
    os.kill(first.pid, signal.SIGSTOP)
    check(first.poll() is None, "the ingest was too quick for this test")
    try:
        refused = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True, timeout=60)
        check(refused.returncode != 0 and "another writer" in refused.stdout, "two ingests of one source: %d %s",
              refused.returncode, refused.stdout)
        cut_connections(d)
        await_true("the other ingest ends well", lambda: subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=120).returncode == 0, 120)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    text = first.communicate(timeout=120)[1]
    check(first.returncode in (0, 1), "the woken ingest ended with %d: %s", first.returncode, text)
    if first.returncode == 0:
        print("the woken ingest went on and found everything known")


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        chat_server(d)
        book = Book(d.dir)
        ingest(d, book)
        d.drain(120)
        d.stop()
        d.start()
        d.drain(120)
        check(d.status()["verdict"] == "COMPLETE", "status: %s", d.status())
        d.cut()
        archives = Archives(d.out, d.mails())
        compare_with(book.expected, archives)
        lobby = [r for records in archives.rooms.values() for r in records if r.subject.startswith("ma-chan:")
                 and r.source.startswith("sip:")]
        posts = [r.data["text"] for r in lobby if r.type == "holdfast.post"]
        check(posts == ["before", "meanwhile", "afterwards"], "posts on record: %s", posts)
        for user in ("alice", "bob"):
            acts = [r.type for r in lobby if r.type in ("holdfast.join", "holdfast.leave")
                    and r.data["participant"].startswith("sip:%s@" % user)]
            check(acts == ["holdfast.join", "holdfast.leave"], "%s: %s", user, acts)
        print("%d records; posts of the frozen server's room: %s" % (archives.tar, posts))


if __name__ == "__main__":
    main()
