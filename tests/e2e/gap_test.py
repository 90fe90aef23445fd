#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records that are left out: what status says, what it says to type, and what that does.

    gap_test.py HOLDFAST

A product that numbers its records feeds the topic by kcat and leaves one record of each of two rooms out. One is
sent late, the other is accepted as lost by two people. Then a source that only ingest feeds loses a record between
store and queue, and the whole topic: `holdfast queue heal` brings both back.
"""
import hashlib
import json
import os
import subprocess
import sys

from archives import ZERO, Marks, check, read_mails, read_tar, read_xml
from deployment import Deployment, await_true

SOURCE, INGESTED = "app:kcat", "app:ingested"
LATE, LOST, COUNT = 4, 7, 10
WHERE = {"ma-chan://app/late": LATE, "ma-chan://app/lost": LOST}


def chain(room):
    previous, lines = ZERO, []
    for n in range(1, COUNT + 1):
        event = {"specversion": "1.0", "id": "%s-%d" % (room, n), "source": SOURCE, "type": "holdfast.post",
                 "time": "2026-11-24T08:00:%02dZ" % n, "subject": room, "epoch": 1, "sequence": "%020d" % n,
                 "previous": previous, "data": {"participant": "sip:a@app", "text": "post %d" % n}}
        lines.append(json.dumps(event, separators=(",", ":")))
        previous = hashlib.sha256(lines[-1].encode()).hexdigest()
    return lines


def put(d, room, lines):
    subprocess.run(["kcat", "-P", "-b", d.read_part("kafka", "bootstrap"), "-t", "holdfast", "-K", "\t",
                    "-X", "partitioner=murmur2_random", "-X", "enable.idempotence=true"], check=True, text=True,
                   input="".join("%s\t%s\n" % (room, line) for line in lines))


def gaps(d):
    return {i["place"]: i for i in d.status()["incidents"] if i["kind"] == "gap"}


def leave_out(d):
    for room, n in WHERE.items():
        lines = chain(room)
        put(d, room, lines[:n - 1] + lines[n:])
    found = await_true("both gaps named", lambda: gaps(d) if len(gaps(d)) == 2 else None)
    for room, n in WHERE.items():
        gap = found[room]
        check((gap["first"], gap["last"]) == (n, n) and gap["since"], "the gap of %s is told as %s", room, gap)
        check(gap["state"].startswith("asked for: "), "at first a gap is asked for: %s", gap["state"])
    status = d.status()
    check(status["verdict"] == "INCOMPLETE", "status hides a gap: %s", status)


def stand(d):
    """No store behind them: after half a minute the gaps are a person's."""
    await_true("the gaps stand", lambda: all(g["state"].startswith("stands: ") for g in gaps(d).values()))
    text = d.holdfast("status", ok=(2,)).stdout
    for room, n in WHERE.items():
        part = text[text.index("gap %s#%d of source %s since " % (room, n, SOURCE)):]
        for line in ("at stake  1 record of this room is not archived and may be lost; until it closes nothing more "
                     "of this room is deleted from mgccomp", "type      holdfast queue heal; when neither a store nor the source can send it again: holdfast incident accept "):
            check(line in part, "status lacks of %s: %s\n%s", room, line, text)
    done = d.holdfast("queue", "heal", ok=(1,))
    check("2 gaps are of sources without a store here: only they can send what is missing" in done.stdout,
          "queue heal says: %s", done.stdout)
    check(d.holdfast("drain", "--timeout", "5s", ok=None).returncode != 0, "drained with a gap")


def send_late(d):
    room = "ma-chan://app/late"
    put(d, room, [chain(room)[LATE - 1]])
    await_true("the gap closes by itself", lambda: room not in gaps(d))
    closed = d.holdfast("incident", "list", "--all").stdout
    check("closed: the missing records arrived" in closed, "the list: %s", closed)


def accept(d):
    words = gaps(d)["ma-chan://app/lost"]["command"].split("holdfast incident accept ")[1].split()
    command = ["incident", "accept", words[0], "--reason", "the product lost it"]
    check("Another person must type: holdfast incident accept %s" % words[0] in d.holdfast(*command).stdout,
          "the first person is not told what is next")
    check("another person must do it" in d.holdfast(*command, ok=(1,)).stderr, "one person was let be two")
    subprocess.run(d.second_person() + command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    d.drain()
    for again in (False, True):
        status = d.status()
        check((status["verdict"], status["accepted_losses"], status["incidents"]) == ("INCOMPLETE", 1, []),
              "after the loss was accepted: %s", status)
        check(status["kept"] == 0 and status["deleted"] == status["captured"], "deletion does not go on: %s", status)
        if not again:
            d.stop()
            d.start()
            d.drain()
    text = d.holdfast("status", ok=(2,)).stdout
    told = text[text.index("losses accepted, ever: 1 record\n"):]
    for part in ("gap ma-chan://app/lost#%d of source %s, 1 lost, accepted 2" % (LOST, SOURCE),
                 "by        database role second, proposed by database role holdfast", "because   the product lost it"):
        check(part in told, "the loss is not told for ever: %s\n%s", part, text)
    page = d.holdfast("incident", "show", words[0]).stdout
    check("closed" in page and page.count("the product lost it") == 2, "the loss's page: %s", page)


def archived(d):
    marks, found = Marks(), {room: [] for room in WHERE}
    for _, _, r in read_tar(os.path.join(d.out, "tar"), marks):
        if r.source == SOURCE:
            found[r.subject].append(r.raw.decode())
    for room, n in WHERE.items():
        due = chain(room)
        late = due.pop(n - 1)
        if n == LATE:
            due.append(late)  # behind what came in order
        check(found[room] == due, "archived of %s: %s", room, found[room])
    for _ in read_xml(os.path.join(d.out, "xml"), marks):
        pass
    read_mails(d.mails(), marks)
    check(marks.of("late") == {"tar": 1, "xml": 1, "mail": 1}, "marked late: %s", marks.of("late"))


def sql(d, text):
    with open(os.path.join(d.data, "store.url")) as f:
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", f.read().strip(), "-c", text], check=True)


def ingest(d, *numbers, wait=True):
    lines = "".join(json.dumps({"specversion": "1.0", "id": str(n), "type": "com.example.line", "subject": "room",
                                "time": "2026-11-24T09:00:00Z", "data": {"n": n}}) + "\n" for n in numbers)
    command = d.command("ingest", "--source", INGESTED, "-")
    if wait:
        subprocess.run(command, input=lines, text=True, check=True, stdout=subprocess.DEVNULL, timeout=60)
        return None
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               text=True)
    process.stdin.write(lines)
    process.stdin.close()
    return process


def stored(d):
    return d.status()["stored"]


def lose_between(d):
    """Record 4 is in the store, and the store believes that the queue has it."""
    ingest(d, 1, 2, 3)
    before = stored(d)
    d.part("kafka", "stop", d.part_dir("kafka"))
    process = ingest(d, 4, 5, wait=False)
    await_true("two more are stored", lambda: stored(d) == before + 2)
    process.kill()
    process.wait()
    sql(d, "UPDATE chat.stream SET relayed = 4 WHERE source = '%s'" % INGESTED)
    d.part("kafka", "start", d.part_dir("kafka"))
    ingest(d, 6)
    await_true("the gap is named", lambda: "room" in gaps(d), 120)
    check(gaps(d)["room"]["command"].startswith("holdfast queue heal; "), "what to type: %s", gaps(d))
    healed = d.holdfast("queue", "heal").stdout
    check(healed.startswith("nothing is missed\n  gaps closed: 1,"), "queue heal says: %s", healed)


def main():
    with Deployment("services", sys.argv[1]) as d:
        d.start()
        await_true("the chat server's totals are believed", lambda: d.status()["sources"])
        leave_out(d)
        stand(d)
        send_late(d)
        accept(d)
        archived(d)
        lose_between(d)
        d.drain()
        d.cut()
        rooms = [r.data["n"] for _, _, r in read_tar(os.path.join(d.out, "tar")) if r.source == INGESTED]
        check(sorted(rooms) == [1, 2, 3, 4, 5, 6], "archived of the ingested: %s", rooms)
        print("left out, named, sent late, accepted, healed")


if __name__ == "__main__":
    main()
