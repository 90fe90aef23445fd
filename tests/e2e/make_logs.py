#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes made-up IRC logs, the same ones for the same numbers: make_logs.py FOLDER ROOMS LINES [SEED]

Among ordinary talk: bytes that are no UTF-8, control characters, long lines, empty texts, many scripts,
markup, lines that look like protocol, people who come and go.
"""
import os
import random
import sys

WORDS = ("the a report desk limit trade room about morning please never always risk bond swap curve fix "
         "server update reboot mirror kernel sound wine java package apt sudo works broken thanks hello").split()
ODD = [b"caf\xe9 in latin-1", b"\xff\xfe\xfd", b"tab\there", b"bell \x07 and escape \x1b[31m", b"null \x00 inside",
       "日本語のテキスト".encode(), "emoji 🚀🔥 and RTL שלום مرحبا".encode(), b"<b>bold</b> &amp; ]]> <!-- x -->",
       b"'; DROP TABLE record; --", b"From: nobody@example.test", b".", b"..", b"", b" leading and trailing ",
       b"\xc3\x28 bad continuation", b"\xed\xa0\x80 surrogate", b"\\u0000 \\n \\\"", b"%s%n%x", b"\xef\xbf\xbe\xef\xbf\xbf",
       b"{\"json\": true}", b"CR\rinside", "a\u0301 combining".encode()]
NAMES = ["alice", "bob", "|QuaD-", "`anthony", "L0sT", "w\u00e4lti", "a_b-c", "[x]", "carol^away", "d{e}"]


def line(dice, minute):
    clock = b"[%02d:%02d] " % (minute // 60, minute % 60)
    name = dice.choice(NAMES).encode()
    kind = dice.random()
    if kind < 0.05:
        return b"=== " + name + b" [~u@host.example.test]  has joined #talk"
    if kind < 0.08:
        return b"=== " + name + b" [~u@host.example.test]  has left #talk [\"bye\"]"
    if kind < 0.11:
        return clock + b"* " + name + b" waves"
    if kind < 0.20:
        return clock + b"<" + name + b"> " + dice.choice(ODD)
    if kind < 0.21:
        return clock + b"<" + name + b"> " + b"long " * dice.randrange(500, 4000)
    text = " ".join(dice.choice(WORDS) for _ in range(dice.randrange(1, 30)))
    return clock + b"<" + name + b"> " + text.encode()


def main():
    folder, rooms, lines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    os.makedirs(folder, exist_ok=True)
    for room in range(rooms):
        with open(os.path.join(folder, "2026-%02d-%02d.made-up.txt" % (room % 12 + 1, room % 28 + 1)), "wb") as f:
            for i in range(lines):
                f.write(line(dice, i * 1439 // lines) + b"\n")


if __name__ == "__main__":
    main()
