#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs Holdfast into a folder, builds modules outside of this tree against the installed header alone,
lays them into the installed folder, and has records archived by them, loaded by name.

    installed_test.py BUILD-FOLDER COMPILER
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "e2e"))
from deployment import Deployment  # noqa: E402

OURS = ("xml", "tar", "smtp", "ndjson", "null")


def check(condition, text, *args):
    if not condition:
        sys.exit("installed_test: " + (text % args if args else text))


def build(compiler, prefix, folder, source, name):
    """As docs/adapters.md says, in a folder that has the one source only."""
    shutil.copy(os.path.join(TOP, source), folder)
    subprocess.run([compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden",
                    "-I", os.path.join(prefix, "include"), "-o",
                    os.path.join(prefix, "lib/holdfast/adapters/mgc_%s.so" % name), os.path.basename(source)],
                   cwd=folder, check=True)


def check_installed(prefix):
    files = ["bin/holdfast", "include/holdfast/mgc_adapter.h"]
    files += ["lib/holdfast/adapters/mgc_%s.so" % name for name in OURS]
    for name in files:
        check(os.path.isfile(os.path.join(prefix, name)), "%s was not installed", name)


def check_described(d):
    for name in OURS + ("stranger", "copy"):
        text = d.holdfast("adapter", "describe", name).stdout
        check("#[adapter NAME]" in text and "#module =" in text and "#deadline = 5m" in text, "%s: %s", name, text)
    text = d.holdfast("adapter", "describe", "tar").stdout
    check("#level = 3" in text and "Read-back: full" in text, "tar: %s", text)
    missing = d.holdfast("adapter", "describe", "absent", ok=(2,))
    check("mgc_absent.so" in missing.stderr, "a module that is not there: %s", missing.stderr)


def records(n):
    return [json.dumps({"specversion": "1.0", "id": "a%d" % i, "type": "com.example.topic", "subject": "irc:#one",
                        "time": "2026-11-24T06:00:%02dZ" % i}) for i in range(n)]


def main():
    build_folder, compiler = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hf-installed.") as root:
        prefix, elsewhere = os.path.join(root, "prefix"), os.path.join(root, "elsewhere")
        os.mkdir(elsewhere)
        subprocess.run(["cmake", "--install", build_folder, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        check_installed(prefix)
        build(compiler, prefix, elsewhere, "tests/abi/plain.c", "stranger")
        build(compiler, prefix, elsewhere, "adapters/null/null_adapter.c", "copy")
        with Deployment("embedded", os.path.join(prefix, "bin", "holdfast"), adapters=("stranger",)) as d:
            d.prepare()
            os.makedirs(os.path.join(d.out, "stranger"))
            with open(os.path.join(d.data, "holdfast.conf"), "a") as file:
                file.write("[adapter copy]\nmodule = copy\ninterval = 1m\n")
            check_described(d)
            d.start()
            lines = records(5)
            d.holdfast("ingest", "--source", "irc", "-", input="".join(line + "\n" for line in lines))
            d.drain()
            d.stop()
            text = ""
            for name in os.listdir(os.path.join(d.out, "stranger")):
                with open(os.path.join(d.out, "stranger", name)) as file:
                    text += file.read()
            for i, line in enumerate(lines):
                check(text.count(line[:-1]) == 1, "record %d is not there once:\n%s", i, text)
        print("%d modules installed, 2 foreign ones loaded by name" % len(OURS))


if __name__ == "__main__":
    main()
