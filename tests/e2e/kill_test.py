#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL to every process in the middle of a load; afterwards nothing is lost and nothing doubled.

    kill_test.py HOLDFAST embedded|services FOLDER [--kills N] [--seed S]

The load is an ingest of the logs in FOLDER, started again until it ends well, and people who chat. What was
acknowledged (ingest exit 0; a post echoed to its author) must be in XML and tar exactly once.
"""
import argparse
import os
import random
import subprocess
import sys
import threading
import time

from archives import Archives, Expected, check, compare
from deployment import Deployment, await_true
from load import Chat, Ingest, check_chat


def victims(d, ingest):
    found = list(d.running)
    if ingest.process and ingest.process.poll() is None:
        found.append("ingest")
    if d.workers():
        found.append("worker")
    return found


def kill_once(d, ingest, victim, killed):
    if victim == "ingest":
        ingest.process.kill()
    elif victim == "worker":
        for pid in d.workers()[:1]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                return
    else:
        d.kill(victim)
        d.launch(victim)
        d.ready_in_the_end(victim)
    killed[victim] = killed.get(victim, 0) + 1


def storm(d, ingest, dice, each):
    """At least `each` kills of every process, at random instants."""
    killed = {}
    end = time.monotonic() + 240
    wanted = set(d.services()) | {"ingest", "worker"}
    while any(killed.get(v, 0) < each for v in wanted):
        check(time.monotonic() < end, "could not kill everything %d times: %s", each, killed)
        time.sleep(dice.uniform(0.05, 0.6))  # the random instant
        short = [v for v in victims(d, ingest) if killed.get(v, 0) < each]
        if short:
            kill_once(d, ingest, dice.choice(sorted(short)), killed)
        elif killed.get("ingest", 0) < each and ingest.done:
            ingest = Ingest(d, ingest.path)  # it was too quick: once more, everything is known already
            ingest.start()
    return killed, ingest


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("kind")
    parser.add_argument("logs", help="a folder")
    parser.add_argument("--kills", type=int, default=3, help="of each process")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print("seed %d" % args.seed, flush=True)
    dice = random.Random(args.seed)
    with Deployment(args.kind, args.program) as d:
        records = os.path.join(d.dir, "records.ndjson")
        with open(records, "wb") as f:
            subprocess.run([os.path.join(os.path.dirname(d.program), "irc-records"), *sorted(os.path.join(args.logs, n) for n in os.listdir(args.logs))], stdout=f,
                           check=True)
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        expected = Expected.from_ndjson(records)
        ingest = Ingest(d, records)
        chats = [Chat(d, "alice", "Lobby"), Chat(d, "bob", "Lobby")]
        for thread in [ingest] + chats:
            thread.start()
        drains = threading.Event()

        def keep_draining():  # so that adapters work all the time and not only at their intervals
            while not drains.is_set():
                d.holdfast("drain", "--timeout", "2s", ok=None)
                drains.wait(0.2)

        drainer = threading.Thread(target=keep_draining, daemon=True)
        drainer.start()
        killed, ingest = storm(d, ingest, dice, args.kills)
        for chat in chats:
            chat.stop = True
        await_true("the ingest ended well", lambda: ingest.done, 300)
        for thread in chats:
            thread.join(120)
        drains.set()
        drainer.join(60)
        d.drain(300)
        status = d.status()
        check(status["verdict"] == "COMPLETE", "status is %s: %s", status["verdict"], status)
        d.stop()
        d.start()  # what stopping recorded (leaves, session end) is archived too
        d.drain(120)
        d.cut()
        counts = compare(expected, d.out, d.mails())
        check_chat(Archives(d.out, d.mails()), chats)
        print("killed %s; %d records in, %s out" % (killed, expected.total, counts))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    main()
