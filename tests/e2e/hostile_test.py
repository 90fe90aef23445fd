# SPDX-License-Identifier: Apache-2.0
"""hostile_test.py HOLDFAST

Malformed and adversarial clients on a real chat server while a good one works: he is served in
order, nothing of theirs gets to him, and the records say what happened and no more.
"""
import contextlib
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time

from deployment import Deployment, await_true

DOMAIN = "example.test"
POOL = "sip:chat@" + DOMAIN


class Client:
    def __init__(self, d, user, epid="e"):
        self.user, self.epid, self.cseq, self.data = user, epid, 0, b""
        self.call = "%s-%s-%d" % (user, epid, time.monotonic_ns())
        self.s = socket.create_connection(("127.0.0.1", d.port), timeout=20)

    def send(self, method, body="", extra="", sender=None):
        self.cseq += method != "ACK"
        to = "sip:%s@%s" % (self.user, DOMAIN) if method == "REGISTER" else POOL
        head = ("%s %s SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.1:1\r\nFrom: <sip:%s@%s>;tag=t;epid=%s\r\n"
                "To: <%s>\r\nCall-ID: %s\r\nCSeq: %d %s\r\n%s%sContent-Length: %d\r\n\r\n" %
                (method, to, sender or self.user, DOMAIN, self.epid, to, self.call, self.cseq, method, extra,
                 "Content-Type: text/plain\r\n" if body else "", len(body.encode())))
        self.s.sendall((head + body).encode())

    def xccos(self, inside, **more):
        self.send("INFO", '<xccos ver="1" envid="%d" xmlns="urn:parlano:xml:ns:xccos">%s</xccos>' %
                  (self.cseq, inside), **more)

    def next(self):
        """The next message, head and body; "" when the server hung up."""
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if end:
                size = int(re.search(rb"Content-Length: (\d+)", head).group(1))
                if len(rest) >= size:
                    self.data = rest[size:]
                    return (head + end + rest[:size]).decode()
            try:
                more = self.s.recv(65536)
            except ConnectionError:
                return ""
            if not more:
                return ""
            self.data += more

    def expect(self, text):
        got = self.next()
        assert text in got, "%s expected %r, got %r" % (self.user, text, got[:600])
        return got

    def answer(self):
        """The next response; what others do in the room is passed over."""
        got = self.next()
        while got.startswith("INFO "):
            got = self.next()
        return got[8:11]

    def ready(self):
        self.send("REGISTER")
        self.expect("SIP/2.0 200")
        self.send("INVITE")
        self.expect("SIP/2.0 200")
        return self

    def join(self, room):
        domain, name = room[len("ma-chan://"):].split("/")
        self.xccos('<cmd id="cmd:join" seqid="1"><data><chanid key="0" domain="%s" value="%s"/></data></cmd>' %
                   (domain, name))

    def post(self, room, text, **more):
        self.xccos('<grpchat id="grpchat" seqid="1" chanUri="%s" author="sip:carol@%s"><chat>%s</chat></grpchat>' %
                   (room, DOMAIN, text), **more)


RAW = [
    b"\0" * 100,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"REGISTER sip:x SIP/2.0\r\n" + b"A: b\r\n" * 300 + b"\r\n",
    b"REGISTER sip:x SIP/2.0\r\n" + b"X" * 40000,
    b"REGISTER sip:x SIP/2.0\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    b"REGISTER sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
    b"REGISTER sip:x SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"REGISTER sip:x SIP/2.0\r\nContent-Length: 200000\r\n\r\n",
    b"REGISTER sip:x SIP/2.0\r\nVia: a\rX-Smuggled: b\r\nContent-Length: 0\r\n\r\n",
    b"REGISTER sip:x SIP/2.0\nVia: a\nContent-Length: 0\n\r\n\r\n",
    b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
]
ENVELOPES = ["<xccos", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "<a/>", "x" * 200000,
             '<xccos xmlns="urn:parlano:xml:ns:xccos"/>', "<a>" * 4000]


def raw_junk(d):
    for junk in RAW:
        with socket.create_connection(("127.0.0.1", d.port), timeout=20) as s:
            s.sendall(junk)
            answer = b""
            try:
                while more := s.recv(65536):
                    answer += more
            except ConnectionError:
                pass
            assert b"X-Smuggled" not in answer and not answer.startswith(b"SIP/2.0 200"), (junk[:80], answer)


def not_signed_in(d, lobby):
    c = Client(d, "bob", "stranger")
    for method in ("INVITE", "SUBSCRIBE", "INFO", "BYE", "OPTIONS"):
        c.send(method)
        assert c.answer() == "403", method
    c.post(lobby, "unsigned")
    assert c.answer() == "403"


def escaped_line_ends(d):
    c = Client(d, "bob%0d%0aX-Smuggled: yes", "crlf")
    c.send("REGISTER")
    assert "\nX-Smuggled" not in c.next()


def other_names_and_rooms(d, lobby, secret):
    c = Client(d, "bob", "forger").ready()
    c.post(lobby, "not joined")
    assert c.answer() == "403"
    c.post(secret, "not mine")
    hidden = c.answer()
    c.post("ma-chan://%s/00000000-0000-4000-8000-00000000dead" % DOMAIN, "nowhere")
    assert hidden == c.answer() == "404"
    c.join(lobby)
    assert c.answer() == "200"
    c.post(lobby, "as carol", sender="carol")
    assert c.answer() == "403"
    for body in ENVELOPES:
        c.send("INFO", body)
        assert c.answer() == "400", body[:80]
    c.xccos('<grpchat id="grpchat" seqid="1" chanUri="%s"/>' % lobby)
    assert c.answer() == "400"
    c.post(lobby, "y" * 8001)
    assert c.answer() == "413"
    c.s.shutdown(socket.SHUT_WR)  # half-closed in the midst of things
    while c.next():
        pass


def same_endpoint_at_once(d):
    """Sign-ins of one endpoint that race leave one of them, and as many sign-outs as sign-ins."""
    many = [Client(d, "bob", "twin") for _ in range(8)]
    for c in many:
        c.send("REGISTER")
    alive = 0
    for c in many:
        try:
            alive += c.next() != "" and c.s.send(b"\r\n") == 2
        except ConnectionError:
            pass
    assert alive >= 1
    for c in many:
        c.s.close()


def takes_nothing(d, lobby):
    """Joins and never reads again; its connection is reset by its own end."""
    c = Client(d, "bob", "deaf").ready()
    c.join(lobby)
    assert c.answer() == "200"
    for _ in range(200):
        c.send("OPTIONS")
    return c


def idle_crowd(d):
    crowd = []
    try:
        for _ in range(150):
            crowd.append(socket.create_connection(("127.0.0.1", d.port), timeout=20))
            crowd[-1].sendall(b"REGISTER sip:x SIP/2.0\r\nVia: ")
    except OSError:
        pass
    return crowd


def records(d):
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % os.path.join(d.data, "chat.db"), uri=True)) as db:
        return [bytes(row[0]).decode() for row in db.execute("SELECT raw FROM record")]


def count(rows, kind, user):
    return sum(1 for r in rows if re.search(r'"type":"[a-z.]*\.%s"' % kind, r) and
               '"participant":"sip:%s@%s"' % (user, DOMAIN) in r)


def wrong_words(d):
    """Of the command line: where --data stands is the person's choice; what is wrong is said in one line."""
    room_list = d.holdfast("room", "list").stdout
    for words, code, says in ((("room", "list", "--data", d.data), 0, room_list),
                              (("room", "--data=" + d.data, "list"), 0, room_list),
                              (("room", "list", "--data"), 2, "--data and --config need a value"),
                              (("room", "lst"), 2, "which command: 'room add', 'room list'?"),
                              (("room", "list", "--dta", "x", "--data", d.data), 2, "no option '--dta'"),
                              (("room", "list", "--", "--data", d.data), 1, "is no data folder"),
                              (("room", "add", "X", "--data", d.dir + "/unmounted"), 1, "is no data folder"),
                              (("status", "--data", d.dir + "/unmounted"), 3, "is no data folder")):
        done = subprocess.run([d.program, *words], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "XDG_STATE_HOME": d.dir})
        assert done.returncode == code and says in done.stdout + done.stderr, (words, done)
    assert not os.path.exists(d.dir + "/unmounted")


def main(program):
    with Deployment("embedded", program, adapters=("xml",)) as d:
        d.start()
        for user in ("alice", "bob", "carol"):
            d.holdfast("user", "add", user)
        d.holdfast("room", "add", "Lobby")
        d.holdfast("room", "add", "Secret", "--members", "carol")
        rooms = d.holdfast("room", "list").stdout.splitlines()
        lobby, secret = (next(re.search(r"ma-chan://\S+", line).group(0) for line in rooms if name in line)
                         for name in ("Lobby", "Secret"))
        wrong_words(d)
        alice = Client(d, "alice").ready()
        alice.join(lobby)
        assert alice.answer() == "200"
        posted = 0
        kept = []
        for attack in (lambda: raw_junk(d), lambda: not_signed_in(d, lobby), lambda: escaped_line_ends(d),
                       lambda: other_names_and_rooms(d, lobby, secret), lambda: same_endpoint_at_once(d),
                       lambda: kept.append(takes_nothing(d, lobby)), lambda: kept.append(idle_crowd(d))):
            attack()
            for _ in range(5):
                posted += 1
                start = time.monotonic()
                alice.post(lobby, "good %d" % posted)
                assert alice.answer() == "200"
                while "good %d<" % posted not in (got := alice.next()):
                    assert got and "carol" not in got, got
                assert "author=\"sip:alice@%s\"" % DOMAIN in got
                assert time.monotonic() - start < 10
        kept[0].s.close()
        for s in kept[1]:
            s.close()

        def settled():
            rows = records(d)
            return rows if count(rows, "sign-in", "bob") == count(rows, "sign-out", "bob") and \
                count(rows, "join", "bob") == count(rows, "leave", "bob") else None

        rows = await_true("a leave and a sign-out of every bob", settled, 20)
        assert count(rows, "post", "alice") == posted == 35, count(rows, "post", "alice")
        assert count(rows, "post", "bob") == count(rows, "post", "carol") == 0
        assert count(rows, "join", "bob") == 2 and count(rows, "sign-in", "carol") == 0
        assert count(rows, "sign-out", "alice") == 0
        d.stop()
        rows = records(d)
        assert count(rows, "sign-in", "alice") == count(rows, "sign-out", "alice") == 1
        assert count(rows, "join", "alice") == count(rows, "leave", "alice") == 1
    print("hostile: %d posts of the good client served and recorded" % posted)


main(sys.argv[1])
