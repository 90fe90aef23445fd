#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The power fails under load: everything acknowledged before is on disk afterwards.

    power.py HOLDFAST CUT [--cuts N] [--seed S]

Data folder and archives lie on an ext4 file system in a file, which CUT shuts down without a flush. Embedded,
by root; exit 77 where no file system can be mounted.
"""
import argparse
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book, Chat, Ingest, check_chat  # noqa: E402


class Disk:
    def __init__(self, folder):
        self.image, self.mounted = os.path.join(folder, "disk.ext4"), os.path.join(folder, "disk")

    def make(self):
        os.mkdir(self.mounted)
        subprocess.run(["truncate", "-s", "512M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        return self.mount()

    def mount(self):
        return subprocess.run(["mount", "-o", "loop", self.image, self.mounted]).returncode == 0

    def unmount(self):
        """A process that was killed may hold its files for a moment more."""
        await_true("unmounted", lambda: subprocess.run(["umount", self.mounted], stderr=subprocess.DEVNULL)
                   .returncode == 0, 30)


def one_cut(d, disk, cut, dice, feed):
    """Load until a random instant; then nothing more reaches the disk."""
    time.sleep(dice.uniform(0.2, 2.5))  # the random instant
    subprocess.run([cut, disk.mounted], check=True)
    d.kill("up")
    if feed.process:
        feed.process.kill()
    disk.unmount()
    assert disk.mount(), "the file system is broken"
    d.launch("up")
    d.ready("up")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("cut")
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print("seed %d" % args.seed, flush=True)
    if os.geteuid() != 0:
        print("only root may mount a file system")
        return 77
    dice = random.Random(args.seed)
    with Deployment("embedded", args.program) as d:
        disk = Disk(d.dir)
        if not disk.make():
            print("no file system can be mounted here")
            return 77
        try:
            d.data, d.out = os.path.join(disk.mounted, "data"), os.path.join(disk.mounted, "out")
            run(d, disk, args, dice)
        finally:
            for process in d.running.values():
                process.kill()
                process.wait()
            disk.unmount()
    return 0


def run(d, disk, args, dice):
    d.start()
    d.holdfast("user", "add", "alice")
    d.holdfast("room", "add", "Lobby")
    subprocess.run(["sync", "-f", disk.mounted], check=True)  # the configuration is not Holdfast's to keep
    book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
    chat.start()
    for _ in range(args.cuts):
        feed = Ingest(d, book.make(3000), 120)
        feed.start()
        subprocess.run(d.command("drain", "--timeout", "1s"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        one_cut(d, disk, args.cut, dice, feed)
        await_true("the ingest ended well", lambda: feed.done, 120)
    chat.stop = True
    chat.join(120)
    d.drain()
    d.stop()
    d.start()
    d.drain()
    status = d.status()
    d.cut()
    assert status["verdict"] == "COMPLETE", status
    archives = Archives(d.out, d.mails())
    compare_with(book.expected, archives)
    check_chat(archives, [chat])
    print("%d power cuts: %d records in, %d out" % (args.cuts, book.expected.total, archives.tar))


if __name__ == "__main__":
    sys.exit(main())
