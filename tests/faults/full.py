#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A full disk loses nothing: the data folder's, then the archives'; after space is made all goes on.

    full.py HOLDFAST

The folders are small file systems in memory, filled up by a file. Embedded, by root; exit 77 where nothing can
be mounted.
"""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, check, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book, Ingest  # noqa: E402


class Small:
    """A small file system that can be filled up."""

    def __init__(self, path):
        self.path, self.ballast = path, os.path.join(path, "ballast")
        os.makedirs(path)
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", path]).returncode == 0

    def fill(self):
        with open(self.ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass

    def free(self):
        os.unlink(self.ballast)

    def unmount(self):
        if self.mounted:
            await_true("unmounted", lambda: subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL)
                       .returncode == 0, 30)


def data_full(d, disk, book):
    """Nothing more is taken, and everything that was stays; afterwards the same ingest ends well."""
    disk.fill()
    feed = Ingest(d, book.make(2000), 120)
    feed.start()
    await_true("the trouble is in the log", lambda: "full" in d.log("up"), 30)
    check(not feed.done, "an ingest ended well on a full disk")
    check(d.running["up"].poll() is None, "up ended on a full disk:\n%s", d.log("up")[-2000:])
    status = d.status()
    check(status["disk_free_bytes"] < 1 << 20, "status does not show the full disk: %s", status)
    disk.free()
    await_true("the ingest ended well", lambda: feed.done, 60)


def archive_full(d, disk, book):
    """The archives wait and say why; nothing is deleted meanwhile."""
    disk.fill()
    d.holdfast("ingest", "--source", "irc:test", book.make(2000))
    d.holdfast("drain", "--timeout", "1s", ok=None)

    def said():
        waiting = [a for a in d.status()["adapters"] if a["last_error"]]
        return any("space" in a["last_error"].lower() for a in waiting)

    await_true("status says why the archives wait", said, 30)
    check(d.status()["verdict"] != "COMPLETE", "status hides the full disk")
    disk.free()
    await_true("everything is archived", lambda: d.holdfast("drain", "--timeout", "20s", ok=None).returncode == 0, 90)


def main():
    if os.geteuid() != 0:
        print("only root may mount a file system")
        return 77
    with Deployment("embedded", sys.argv[1]) as d:
        disks = []
        try:
            for name in ("small-data", "small-out"):
                disks.append(Small(os.path.join(d.dir, name)))
            if not all(disk.mounted for disk in disks):
                print("no file system can be mounted here")
                return 77
            d.data, d.out = os.path.join(disks[0].path, "data"), os.path.join(disks[1].path, "out")
            d.prepare()
            d.configure("store", "reserve = 0")  # the whole disk may be filled
            d.start()
            book = Book(d.dir)
            data_full(d, disks[0], book)
            d.drain()
            archive_full(d, disks[1], book)
            check(d.status()["verdict"] == "COMPLETE", "status: %s", d.status())
            d.cut()
            archives = Archives(d.out, d.mails())
            compare_with(book.expected, archives)
            print("two full disks: %d records in, %d out" % (book.expected.total, archives.tar))
        finally:
            for process in d.running.values():
                process.kill()
                process.wait()
            for disk in disks:
                disk.unmount()
    return 0


if __name__ == "__main__":
    sys.exit(main())
