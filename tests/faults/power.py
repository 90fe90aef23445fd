#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The power fails under load: everything acknowledged before is on disk afterwards.

    power.py HOLDFAST CUT [--on services] [--cuts N] [--seed S]

Data folder and archives, and in services PostgreSQL and Kafka too, lie on an ext4 file system in a file, which
CUT shuts down without a flush. Kafka syncs nothing before it confirms: what its log lost comes again from the
store. By root; exit 77 where no file system can be mounted.
"""
import argparse
import glob
import json
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from archives import Archives, compare_with  # noqa: E402
from deployment import Deployment, await_true  # noqa: E402
from load import Book, Chat, Ingest, check_chat  # noqa: E402


class Disk:
    """Reached by a link that leads nowhere while it is not mounted: a command of the load that is started then
    must not make a folder and begin a store in it."""

    def __init__(self, folder):
        self.image, self.folder = os.path.join(folder, "disk.ext4"), os.path.join(folder, "disk-mounted")
        self.mounted = os.path.join(folder, "disk")

    def make(self):
        os.mkdir(self.folder)
        subprocess.run(["truncate", "-s", "1G", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        return self.mount()

    def mount(self):
        if subprocess.run(["mount", "-o", "loop", self.image, self.folder]).returncode != 0:
            return False
        self.lead_to(self.folder)
        return True

    def lead_to(self, target):
        os.symlink(target, self.mounted + ".new")
        os.rename(self.mounted + ".new", self.mounted)

    def unmount(self):
        """A process that was killed may hold its files for a moment more."""
        self.lead_to("/dev/null")
        await_true("unmounted", lambda: subprocess.run(["umount", self.folder], stderr=subprocess.DEVNULL)
                   .returncode == 0, 30)


class Machine(Deployment):
    """Everything of it on one disk, but the mail server: that is another machine."""

    def __init__(self, kind, program):
        super().__init__(kind, program)
        self.disk = Disk(self.dir)
        self.pids = []

    def part_dir(self, name):
        return os.path.join(self.dir if name == self.mail_part else self.disk.mounted, name)

    def parts(self):
        return [name for name in self.neighbours if name != self.mail_part]

    def note_parts(self):
        """While their files can be read: who is to end with the power."""
        self.pids = [int(self.read_part(name, "pid")) for name in self.parts()]

    def stop_all(self, feed):
        """The processors lose power too: a sync that the disk's end overtakes in the kernel may seem to have
        succeeded, and nobody may hear of that. Parents first, so that none is forked meanwhile."""
        stand_still([process.pid for process in self.running.values()] + self.workers() + self.pids +
                    ([feed.process.pid] if feed.process else []))
        stand_still([child for pid in self.pids for child in children(pid)])

    def end_all(self):
        for service in list(self.running):
            self.kill(service)
        for pid in self.pids:
            for one in [pid, *children(pid)]:
                signal_it(one, signal.SIGKILL)
            await_true("process %d is gone" % pid, lambda pid=pid: gone(pid), 30)
        self.pids = []

    def power_up(self):
        for name in self.parts():
            folder = self.part_dir(name)
            for path in [os.path.join(folder, "pid"), os.path.join(folder, "data/postmaster.pid"),
                         *glob.glob(os.path.join(folder, "socket/.s.PGSQL.*"))]:
                if os.path.exists(path):
                    os.unlink(path)
            self.part(name, "start", self.part_dir(name))
        for service in self.services():
            self.launch(service)
        for service in self.services():
            self.ready_in_the_end(service)


def children(pid):
    return [int(n) for n in subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE,
                                           text=True).stdout.split()]


def signal_it(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stand_still(pids):
    """The signal alone is not enough: whoever is to stop runs on until one of its threads gets a processor."""
    for pid in pids:
        signal_it(pid, signal.SIGSTOP)
    for pid in pids:
        await_true("process %d stands still" % pid, lambda pid=pid: stands_still(pid), 30)


def stands_still(pid):
    """A thread that waits for the disk within the kernel (D) stops before it runs in its program again, once
    another one has stopped."""
    states = ""
    for path in glob.glob("/proc/%d/task/*/stat" % pid):
        try:
            with open(path) as f:
                states += f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            pass
    return set(states) <= set("TDZX") and ("T" in states or len(states) <= 1)


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def one_cut(d, cut, dice, feed):
    """Load until a random instant; then nothing more reaches the disk."""
    time.sleep(dice.uniform(0.2, 2.5))  # the random instant
    d.note_parts()
    d.stop_all(feed)
    subprocess.run([cut, d.disk.mounted], check=True)
    d.end_all()
    if feed.process:
        feed.process.kill()
    d.disk.unmount()
    assert d.disk.mount(), "the file system is broken"
    d.power_up()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("cut")
    parser.add_argument("--on", choices=("embedded", "services"), default="embedded")
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print("seed %d" % args.seed, flush=True)
    if os.geteuid() != 0:
        print("only root may mount a file system")
        return 77
    dice = random.Random(args.seed)
    with Machine(args.on, args.program) as d:
        if not d.disk.make():
            print("no file system can be mounted here")
            return 77
        try:
            d.data, d.out = os.path.join(d.disk.mounted, "data"), os.path.join(d.disk.mounted, "out")
            run(d, args, dice)
        finally:
            if d.parts():
                d.note_parts()
            d.end_all()
            d.disk.unmount()
    return 0


def settle(d):
    """Everything archived, whatever has to come from the store again first."""
    def complete():
        if d.kind == "services":
            d.holdfast("queue", "heal", ok=None)
        d.holdfast("drain", "--timeout", "20s", ok=None)
        return d.status()["verdict"] == "COMPLETE"

    await_true("status is complete: %s" % d.status(), complete, 240)


def run(d, args, dice):
    d.start()
    d.holdfast("user", "add", "alice")
    d.holdfast("room", "add", "Lobby")
    subprocess.run(["sync", "-f", d.disk.mounted], check=True)  # the configuration is not Holdfast's to keep
    book, chat = Book(d.dir), Chat(d, "alice", "Lobby")
    chat.start()
    for _ in range(args.cuts):
        feed = Ingest(d, book.make(3000), 120)
        feed.start()
        subprocess.run(d.command("drain", "--timeout", "1s"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        one_cut(d, args.cut, dice, feed)
        await_true("the ingest ended well", lambda: feed.done, 120)
    chat.stop = True
    chat.join(120)
    settle(d)
    d.stop()
    d.start()
    settle(d)
    again = sum(i["kind"] in ("gap", "log-changed") for i in json.loads(
        d.holdfast("incident", "list", "--all", "--json").stdout)["incidents"])
    d.note_parts()
    d.cut()
    archives = Archives(d.out, d.mails(), late=args.on == "services")
    compare_with(book.expected, archives)
    check_chat(archives, [chat])
    print("%d power cuts: %d records in, %d out; incidents that closed: %d" % (
        args.cuts, book.expected.total, archives.tar, again))


if __name__ == "__main__":
    sys.exit(main())
