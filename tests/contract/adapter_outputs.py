#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what an adapter module wrote, with other people's tools, and compares it with the records.

    adapter_outputs.py check xml|tar|ndjson|smtp FOLDER EXPECTED    exit 0 when every record is there, once
    adapter_outputs.py show xml|tar|ndjson|smtp FOLDER              the outputs as text, for golden files
    adapter_outputs.py count xml|tar|ndjson|smtp FOLDER             how many files or mails

EXPECTED: one JSON object a record, as sample_expect writes them.
"""
import base64
import email
import email.policy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

HF = "{urn:holdfast:xml:1}"
POST = 3


def check(condition, text, *args):
    if not condition:
        sys.exit("adapter_outputs: " + (text % args if args else text))


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


def load(path):
    with open(path) as file:
        records = [json.loads(line) for line in file]
    for r in records:
        r["raw"] = base64.b64decode(r["raw"])
        r["text"] = base64.b64decode(r["text_bytes"] or r["text"])
    return records


def files(folder, ending):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if ".incomplete" in names:
        names.remove(".incomplete")
        left = os.listdir(os.path.join(folder, ".incomplete"))
        check(not left, "left over in %s: %s", folder, left)
    for name in names:
        check(name.endswith(ending), "%s is left over in %s", name, folder)
    return [os.path.join(folder, name) for name in names]


# ---- xml ----

def check_message(m, r):
    check(r["kind"] in (1, 2, 3, 4), "record %d is a Message", r["index"])
    if r["kind"] != POST:
        return
    exact = m.get(HF + "bytes")
    content = base64.b64decode(exact, validate=True) if exact else m.get("content").encode()
    check(content == r["text"], "the text of record %d differs", r["index"])


def check_time(element):
    ms, text, ticks = int(element.get("since1970")), element.get("string"), int(element.get("long"))
    check(len(text) == 28 and text.endswith("0Z"), "time %s", text)
    check((ticks - 621355968000000000) // 10000 == ms, "times differ: %d, %d", ms, ticks)


def check_conversation(c):
    check([e.tag for e in c] == ["Channel", "FirstMessage", "Messages", "StartTimeUTC", "EndTimeUTC"],
          "parts of a Conversation: %s", [e.tag for e in c])
    first, again = c.find("FirstMessage"), c.find("Messages")[0]
    for name in ("type", "content", "id"):
        check(first.get(name) == again.get(name), "FirstMessage is not the first message")
    for m in [first] + list(c.find("Messages")):
        check([e.tag for e in m] == ["Sender", "DateTimeUTC"], "parts of a Message")
        check(-2**31 <= int(m.get("id")) < 2**31, "id of a Message")
        check_time(m.find("DateTimeUTC"))


def check_xml(folder, records):
    found = {}
    for path in files(folder, ".xml"):
        subprocess.run(["xmllint", "--noout", "--nonet", path], check=True)
        root = ET.parse(path).getroot()
        check(root.tag == "Conversations", "root %s", root.tag)
        for c in root.iter("Conversation"):
            check_conversation(c)
        for e in root.iter():
            index = e.get(HF + "index") if e.tag == "Message" else e.get("index")
            if index is None:
                continue
            index = int(index)
            check(index not in found, "record %d is there twice", index)
            digest = e.get(HF + "sha256") or e.get("sha256")
            r = records[index]
            check(digest == sha(r["raw"]), "the sha256 of record %d differs", index)
            if e.tag == "Message":
                check_message(e, r)
            else:
                coded = e.get("encoding") == "base64"
                raw = base64.b64decode(e.text, validate=True) if coded else e.text.encode()
                check(raw == r["raw"], "the bytes of record %d differ", index)
            found[index] = True
    check(len(found) == len(records), "%d records of %d", len(found), len(records))


# ---- tar ----

def unpack(path, folder):
    subprocess.run(["tar", "--zstd", "-xf", path, "-C", folder], check=True)
    with open(os.path.join(folder, "manifest.json"), "rb") as file:
        return json.loads(file.read())


def check_members(folder, manifest):
    names = {"manifest.json"}
    for m in manifest["members"]:
        with open(os.path.join(folder, m["name"]), "rb") as file:
            content = file.read()
        check(len(content) == m["bytes"] and sha(content) == m["sha256"], "member %s differs", m["name"])
        check(m["name"] not in names, "member %s is there twice", m["name"])
        names.add(m["name"])
        yield m, content
    there = {os.path.relpath(os.path.join(d, f), folder) for d, _, fs in os.walk(folder) for f in fs}
    check(there == names, "members beside the manifest: %s", sorted(there ^ names))


def check_tar(folder, records):
    lines, odd = [], {}
    for path in files(folder, ".tar.zst"):
        with tempfile.TemporaryDirectory() as scratch:
            manifest = unpack(path, scratch)
            check(manifest["records"] == len(records), "records in the manifest")
            for m, content in check_members(scratch, manifest):
                if m["kind"] == "records":
                    some = content.split(b"\n")
                    check(some.pop() == b"" and len(some) == m["records"], "lines of %s", m["name"])
                    lines += some
                elif m["kind"] == "exception":
                    odd[m["index"]] = content
    due = [r for r in records if not r["unreadable"] and b"\n" not in r["raw"]]
    check(lines == [r["raw"] for r in due], "the lines are not the records in order")
    check(odd == {r["index"]: r["raw"] for r in records if r not in due}, "the exceptions differ")


# ---- ndjson ----

def check_marks(manifest, records):
    marked = {}
    for first, last, *marks in manifest["marks"]:
        for index in range(first, last + 1):
            check(index not in marked, "record %d is marked twice", index)
            marked[index] = set(marks)
    for r in records:
        marks = marked.get(r["index"], set())
        check(("unreadable" in marks) == r["unreadable"], "marks of record %d: %s", r["index"], marks)
        check(("late" in marks) == r["late"], "marks of record %d: %s", r["index"], marks)


def check_ndjson(folder, records):
    for path in files(folder, ".ndjson"):
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
        check(lines.pop() == b"", "the last line has no end")
        manifest = json.loads(lines.pop())["manifest"]
        check(len(lines) == len(records) == manifest["records"], "%d lines", len(lines))
        odd = 0
        for line, r in zip(lines, records):
            if r["unreadable"] or b"\n" in r["raw"]:
                e = json.loads(line)["exception"]
                odd += 1
                check(e["index"] == r["index"] and e["sha256"] == sha(r["raw"]), "exception %d", r["index"])
                check(base64.b64decode(e["base64"], validate=True) == r["raw"], "its bytes, %d", r["index"])
            else:
                check(line == r["raw"], "line %d is not the record", r["index"])
        check(manifest["exceptions"] == odd, "exceptions in the manifest")
        whole = b"".join(len(r["raw"]).to_bytes(8, "big") + r["raw"] for r in records)
        check(manifest["sha256"] == sha(whole), "sha256 in the manifest")
        check_marks(manifest, records)


# ---- mails ----

def mails(folder):
    """{Message-ID: (bytes, how often)}, the receiving server's envelope lines taken off."""
    found = {}
    new = os.path.join(folder, "new")
    for name in sorted(os.listdir(new)) if os.path.isdir(new) else []:
        with open(os.path.join(new, name), "rb") as file:
            content = file.read()
        while content.startswith(b"X-Envelope-"):
            content = content.split(b"\n", 1)[1]
        key = email.message_from_bytes(content)["Message-ID"]
        check(key, "%s has no Message-ID", name)
        check(key not in found or found[key][0] == content, "mail %s came twice with other bytes", key)
        found[key] = (content, found.get(key, (b"", 0))[1] + 1)
    return found


def check_form(content):
    check(content.isascii() and b"\0" not in content, "a mail is not plain ASCII")
    check(content.count(b"\n") == content.count(b"\r\n") == content.count(b"\r"), "lone CR or LF")
    check(max(len(line) for line in content.split(b"\r\n")) <= 998, "a line is too long")
    message = email.message_from_bytes(content, policy=email.policy.default)
    check(not message.defects, "defects: %s", message.defects)
    allowed = {"date", "from", "to", "subject", "message-id", "mime-version", "auto-submitted", "content-type",
               "x-holdfast-batch", "x-holdfast-batch-sha256", "x-holdfast-sha256", "x-holdfast-room",
               "x-holdfast-records"}
    check({k.lower() for k in message.keys()} <= allowed, "header fields: %s", message.keys())
    return message


def check_smtp(folder, records):
    lines, odd = {}, {}
    place = {r["raw"]: r["index"] for r in records}
    for content, _ in mails(folder).values():
        message = check_form(content)
        parts = list(message.walk())[1:]
        check(parts[0].get_content_type() == "text/plain", "the first part")
        check(all(not part.defects for part in parts), "defects in a part")
        digest = sha(b"")
        for part in parts[1:]:
            payload = part.get_payload(decode=True)
            if part.get_filename() == "records.ndjson":
                digest = sha(payload)
                some = payload.split(b"\n")[:-1]
                indexes = [place[line] for line in some]
                check(indexes == sorted(indexes), "a mail is out of order")
                for i, line in zip(indexes, some):
                    check(i not in lines, "record %d is in two mails", i)
                    lines[i] = line
            else:
                for line in payload.split(b"\n")[:-1]:
                    e = json.loads(line)
                    check(e["index"] not in odd, "exception %d is in two mails", e["index"])
                    odd[e["index"]] = base64.b64decode(e["base64"], validate=True)
                    check(sha(odd[e["index"]]) == e["sha256"], "sha256 of exception %d", e["index"])
        check(message["X-Holdfast-SHA256"] == digest, "X-Holdfast-SHA256")
    check({**lines, **odd} == {r["index"]: r["raw"] for r in records}, "the mails hold other records")
    check(all(records[i]["unreadable"] or b"\n" in records[i]["raw"] for i in odd), "exceptions")


# ---- ----

def show(kind, folder):
    out = sys.stdout.buffer
    if kind in ("xml", "ndjson"):
        for path in files(folder, "." + kind):
            out.write(open(path, "rb").read())
    elif kind == "tar":
        environment = dict(os.environ, TZ="UTC", LC_ALL="C")
        for path in files(folder, ".tar.zst"):
            out.write(subprocess.run(["tar", "--zstd", "-tvf", path, "--numeric-owner", "--full-time"], check=True,
                                     env=environment, stdout=subprocess.PIPE).stdout)
            out.write(subprocess.run(["tar", "--zstd", "-xOf", path, "manifest.json"], check=True,
                                     stdout=subprocess.PIPE).stdout)
    else:
        for _, (content, _) in sorted(mails(folder).items()):
            out.write(content.replace(b"\r\n", b"\n"))


def count(kind, folder):
    if kind == "smtp":
        print(sum(times for _, times in mails(folder).values()))
    else:
        print(len(files(folder, {"tar": ".tar.zst"}.get(kind, "." + kind))))


def main(arguments):
    verb, kind, folder = arguments[:3]
    if verb == "check":
        check_kind = {"xml": check_xml, "tar": check_tar, "ndjson": check_ndjson, "smtp": check_smtp}
        check_kind[kind](folder, load(arguments[3]))
    elif verb == "show":
        show(kind, folder)
    else:
        count(kind, folder)


main(sys.argv[1:])
