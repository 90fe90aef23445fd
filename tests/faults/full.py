#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A full disk loses nothing: the data folder's, the archives', in services Kafka's and PostgreSQL's; after space is
made all goes on.

    full.py HOLDFAST [embedded|services]

The folders are small file systems in memory, filled up by a file. By root; exit 77 where nothing can be mounted.
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

    def __init__(self, path, size="64m"):
        self.path, self.ballast = path, os.path.join(path, "ballast")
        os.makedirs(path)
        self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s,mode=711" % size, "tmpfs",
                                       path]).returncode == 0

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


def revive(d):
    """What gave up is started again, as whoever runs it would; of ours nothing ends in another way."""
    for name in d.places:
        if not d.part_lives(name):
            d.part(name, "stop", d.part_dir(name))
            d.part(name, "start", d.part_dir(name))
    for service in d.services():
        process = d.running[service]
        if process.poll() is not None:
            check(process.returncode == 1, "%s ended with %d:\n%s", service, process.returncode,
                  d.log(service)[-2000:])
            d.launch(service)


def complete(d):
    revive(d)
    d.holdfast("queue", "heal", ok=None)
    d.holdfast("drain", "--timeout", "10s", ok=None)
    return d.status()["verdict"] == "COMPLETE"


def part_full(d, name, disk, book):
    """A database or a broker that can't write any more may end; started again, it and we go on."""
    disk.fill()
    feed = Ingest(d, book.make(2000), 200)
    feed.start()
    feed.join(10)  # that nothing happens takes its time
    check(not feed.done, "an ingest ended well on a full disk of %s", name)
    disk.free()
    await_true("the ingest ended well", lambda: revive(d) or feed.done, 120)
    await_true("everything is archived after the full disk of %s" % name, lambda: complete(d), 120)


def run_embedded(d, disks):
    d.prepare()
    d.configure("store", "reserve = 0")  # the whole disk may be filled
    d.start()
    book = Book(d.dir)
    data_full(d, disks["data"], book)
    d.drain()
    archive_full(d, disks["out"], book)
    return book


def run_services(d, disks):
    for name in ("kafka", "postgres"):
        d.places[name] = os.path.join(disks[name].path, name)
    d.prepare()
    d.configure("store", "reserve = 0")
    d.start()
    book = Book(d.dir)
    for name in ("kafka", "postgres"):
        part_full(d, name, disks[name], book)
    for name in ("out", "data"):  # of the data folder the archiver needs the scratch
        archive_full(d, disks[name], book)
    await_true("status is complete", lambda: complete(d), 60)
    return book


SIZES = {"embedded": {"data": "64m", "out": "64m"},
         "services": {"data": "64m", "out": "64m", "kafka": "96m", "postgres": "256m"}}


def main():
    if os.geteuid() != 0:
        print("only root may mount a file system")
        return 77
    kind = (sys.argv[2:] or ["embedded"])[0]
    with Deployment(kind, sys.argv[1]) as d:
        disks = {name: Small(os.path.join(d.dir, "small-" + name), size) for name, size in SIZES[kind].items()}
        try:
            if not all(disk.mounted for disk in disks.values()):
                print("no file system can be mounted here")
                return 77
            d.data, d.out = os.path.join(disks["data"].path, "data"), os.path.join(disks["out"].path, "out")
            book = {"embedded": run_embedded, "services": run_services}[kind](d, disks)
            check(d.status()["verdict"] == "COMPLETE", "status: %s", d.status())
            d.cut()
            archives = Archives(d.out, d.mails(), late=kind == "services")
            compare_with(book.expected, archives)
            print("%d full disks: %d records in, %d out" % (len(disks), book.expected.total, archives.tar))
        finally:
            for process in d.running.values():
                process.kill()
                process.wait()
            for name in d.places:
                if d.part_lives(name):
                    d.part(name, "stop", d.part_dir(name))
            for disk in disks.values():
                disk.unmount()
    return 0


if __name__ == "__main__":
    sys.exit(main())
