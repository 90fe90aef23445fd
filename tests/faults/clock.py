#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The clock jumps a month ahead, back again, and two days into the past, with everything running: the archives
are complete and in order, the source is complete to a time that is not in the future, nothing waits for it, and
no source counts as silent by it.

    clock.py HOLDFAST embedded|services        a build with HOLDFAST_FAULTS
"""
import datetime
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment  # noqa: E402
from load import Book  # noqa: E402

DAY = 86400


def say(d, user, *lines):
    done = subprocess.run(d.command("chat", user, "Lobby"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, input="".join(line + "\n" for line in lines) + "/quit\n")
    for line in lines:
        check(line in done.stdout, "%s did not see the own line %s in: %s", user, line, done.stdout)


def main():
    with Deployment(sys.argv[2], sys.argv[1]) as d:
        clock = os.path.join(d.dir, "clock")

        def jump(seconds):
            with open(clock + ".new", "w") as f:
                f.write(str(seconds))
            os.rename(clock + ".new", clock)

        jump(0)
        os.environ["HOLDFAST_FAULT_CLOCK"] = clock
        d.start()
        for user in ("alice", "bob"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        book, said = Book(d.dir), []
        for i, offset in enumerate((0, 30 * DAY, 0, -2 * DAY, 0)):
            jump(offset)
            lines = ["turn %d line %d" % (i, n) for n in range(10)]
            say(d, "alice" if i % 2 else "bob", *lines)
            said += lines
            d.holdfast("ingest", "--source", "irc:test", book.make(30))
            if i % 2 == 0:
                d.stop()  # a session that began at another time
                d.start()
            d.drain()
        status = d.status()
        check(status["verdict"] == "COMPLETE", "status: %s", status)
        listed = d.holdfast("incident", "list", "--all").stdout
        check("silent" not in listed and "gap" not in listed, "incidents by the clock alone: %s", listed)
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=1)
        for source in status["sources"]:
            to = source.get("complete_to") and datetime.datetime.fromisoformat(source["complete_to"][:-1] + "+00:00")
            check(not to or to < now, "complete to a time in the future: %s", source)
        d.cut()
        archives = Archives(d.out, d.mails())
        compare_with(book.expected, archives)
        posts = [r for records in archives.rooms.values() for r in records
                 if r.type == "holdfast.post" and r.text.startswith(b"turn")]
        check([r.data["text"] for r in posts] == said, "archived: %s", [r.data["text"] for r in posts])
        print("%s: five turns of the clock, %d records archived in order" % (sys.argv[2], archives.tar))


if __name__ == "__main__":
    main()
