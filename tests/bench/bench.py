#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Holdfast's real programs, each beside its ceiling in the same run, and prints medians.

Measures (all, when none is named):
  capture-sqlite     the store's table -> mgccomp, beside raw prepared inserts
  capture-postgres   Kafka -> PostgreSQL, beside raw binary COPY; and p99 queue -> committed at 10,000/s
  store-sqlite, store-postgres   records the store makes durable, groups of 64 and more
  backlog            a long queue: memory, and cost per record at its end beside that at its beginning
  end-to-end-embedded, end-to-end-services   queue -> ndjson -> deleted, with CPU seconds
"""
import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
from deployment import Deployment, await_true, peak_mib  # noqa: E402

ROOMS = 1000
BATCH = {"embedded": 8000, "services": 4000}  # records that capture writes in a transaction
PATIENCE_S = 3600


class Bench:
    def __init__(self, options):
        self.build = os.path.abspath(options.build)
        self.program = os.path.join(self.build, "holdfast")
        self.records = options.records or 200000
        # A start takes a second or so; the peers' figures are of as many.
        self.captured = {"embedded": self.records, "services": options.records or 500000}
        self.rounds = options.rounds
        self.full = options.full
        self.json = options.json

    def tool(self, name, *words, **more):
        run = [os.path.join(self.build, "tests", "bench", name), *[str(w) for w in words]]
        return subprocess.run(run, check=True, text=True, stdout=more.pop("stdout", subprocess.PIPE), **more)

    def deployment(self, kind, adapters=()):
        d = Deployment(kind, self.program, adapters=adapters, interval="1s")
        for name in adapters:
            os.makedirs(os.path.join(d.out, name))
        d.prepare()
        return d

    def feed(self, d, n, rate=0):
        """n records into the queue, durable when it returns."""
        if d.kind == "services":
            self.tool("bench_feed", "topic", d.read_part("kafka", "bootstrap"), "holdfast", n, ROOMS, rate)
            return
        lines = subprocess.Popen([os.path.join(self.build, "tests", "bench", "bench_feed"), "lines", str(n),
                                  str(ROOMS)], stdout=subprocess.PIPE)
        done = subprocess.run(d.command("ingest", "--source", "sip:bench@example.test", "/dev/stdin"),
                              stdin=lines.stdout, stdout=subprocess.DEVNULL)
        lines.stdout.close()
        if lines.wait() or done.returncode:
            raise AssertionError("the store could not be filled")

    def say(self, name, ours, unit, ceiling=None, rss=None, **more):
        line = {"name": name, "ours": round(ours, 3), "unit": unit}
        if ceiling:
            line.update(ceiling=round(ceiling, 3), ratio=round(ours / ceiling, 2))
        if rss:
            line["rss_mib"] = round(rss, 1)
        line.update(more)
        if self.json:
            print(json.dumps(line), flush=True)
            return
        text = "%-26s %12s %s" % (name, "{:,.6g}".format(ours) if ours < 1000 else "{:,.0f}".format(ours), unit)
        if ceiling:
            text += ", %.2f of %s" % (ours / ceiling, "{:,.0f}".format(ceiling))
        if rss:
            text += ", %.0f MiB" % rss
        for key, value in more.items():
            text += ", %s %s" % (key.replace("_", " "), value)
        print(text, flush=True)


# ---- what mgccomp says ----

def ask(d, sql):
    """One row of mgccomp as numbers; None while it has no tables yet."""
    if d.kind == "embedded":
        path = os.path.join(d.data, "mgccomp.db")
        if not os.path.exists(path):
            return None
        with sqlite3.connect("file:%s?mode=ro" % path, uri=True, timeout=60) as db:
            try:
                return db.execute(sql).fetchone()
            except sqlite3.OperationalError:
                return None
    with open(os.path.join(d.data, "mgccomp.url")) as f:
        url = f.read().strip()
    done = subprocess.run(["psql", "-XAtq", "-F", " ", url, "-c", sql], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    return tuple(float(v) for v in done.stdout.split()) if done.returncode == 0 and done.stdout.strip() else None


def await_tally(d, name, n, alive=()):
    def look():
        for service in alive:
            if d.running[service].poll() is not None:
                raise AssertionError("%s ended: %s" % (service, d.log(service)[-2000:]))
        row = ask(d, "SELECT value FROM tally WHERE name = '%s'" % name)
        return row and row[0] >= n

    await_true("%s = %d" % (name, n), look, PATIENCE_S)


def rate_between(d, lo, hi):
    """Records a second from the transaction that holds queue record lo to the one that holds hi, by the times
    at which transactions began: the first counts, the last does not."""
    sql = ("SELECT max(captured_us) - min(captured_us), count(*) FROM (SELECT captured_us,"
           " row_number() OVER (ORDER BY captured_us) AS n FROM record) AS r WHERE n >= %d AND n <= %d" % (lo, hi))
    span, n = ask(d, sql)
    last = ask(d, "SELECT count(*) FROM (SELECT captured_us, row_number() OVER (ORDER BY captured_us) AS n FROM"
                  " record) AS r WHERE n >= %d AND n <= %d AND captured_us = (SELECT max(captured_us) FROM (SELECT"
                  " captured_us, row_number() OVER (ORDER BY captured_us) AS n FROM record) AS q WHERE n <= %d)"
                  % (lo, hi, hi))[0]
    return (n - last) * 1e6 / span if span else float("nan")


def capture_of(d):
    return "up" if d.kind == "embedded" else "capture"


def cpu_seconds(pid):
    """Of a process, its threads, and children that ended."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(int(v) for v in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def children(pid):
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as f:
            found += [int(v) for v in f.read().split()]
    return found


def cpu_of(d):
    """CPU seconds so far by process; PostgreSQL with its live children."""
    spent = {service: cpu_seconds(p.pid) for service, p in d.running.items()}
    for name in ("postgres", "kafka"):
        if name in d.neighbours:
            pid = int(d.read_part(name, "pid"))
            spent[name] = cpu_seconds(pid) + sum(cpu_seconds(c) for c in children(pid))
    return spent


def cpu_since(d, before, n):
    """Per million records."""
    return {k: round((v - before.get(k, 0)) * 1e6 / n, 1) for k, v in cpu_of(d).items()}


def cost_between(d, lo, hi, alive):
    """Microseconds of CPU, of all processes together, for each record captured between about lo and about hi."""
    points = []
    for n in (lo, hi):
        await_tally(d, "captured", n, alive)
        points.append((ask(d, "SELECT value FROM tally WHERE name = 'captured'")[0], sum(cpu_of(d).values())))
    return (points[1][1] - points[0][1]) * 1e6 / (points[1][0] - points[0][0])


def by_process(spent):
    return " ".join("%s=%s" % item for item in spent.items())


def run_capture(bench, d, n, costs=None, stretches=()):
    """Fills the queue, then captures it with nothing else at work, not even the kernel that writes the queue's
    pages. Returns peak memory in MiB, and CPU seconds per million records by process. costs: gets that of each
    of the stretches."""
    bench.feed(d, n)
    os.sync()
    service = capture_of(d)
    before = cpu_of(d)
    d.launch(service)
    for lo, hi in stretches:
        costs.append(cost_between(d, lo, hi, [service]))
    await_tally(d, "captured", n, [service])
    rss = peak_mib(d.running[service].pid)
    spent = cpu_since(d, before, n)
    d.end(service)
    return rss, spent


# ---- measures ----

def ceiling(bench, d, n):
    if d.kind == "embedded":
        path = os.path.join(d.dir, "raw.db")
        for end in ("", "-wal", "-shm"):
            if os.path.exists(path + end):
                os.remove(path + end)
        url = "sqlite:" + path
    else:
        url = d.part("postgres", "db", d.part_dir("postgres"), "raw", output=True)
    return float(bench.tool("bench_write", "raw", url, n, ROOMS, BATCH[d.kind]).stdout)


def capture(bench, name, kind):
    ours, raw, rss = [], [], []
    for _ in range(bench.rounds):
        with bench.deployment(kind) as d:
            raw.append(ceiling(bench, d, bench.captured[kind]))
            peak, spent = run_capture(bench, d, bench.captured[kind])
            rss.append(peak)
            ours.append(rate_between(d, 1, bench.captured[kind]))
    ratios = sorted(o / r for o, r in zip(ours, raw))
    bench.say(name, statistics.median(ours), "records/s", statistics.median(raw), max(rss),
              ratios=" ".join("%.2f" % r for r in ratios), cpu_s_per_million=by_process(spent))


def latency(bench):
    """From the broker's time stamp (whole milliseconds) to PostgreSQL's own time of the commit."""
    with bench.deployment("services") as d:
        pg = d.part_dir("postgres")
        with open(os.path.join(pg, "data", "postgresql.auto.conf"), "a") as f:
            f.write("track_commit_timestamp = on\n")
        d.part("postgres", "restart", pg)
        d.launch("capture")
        await_true("capture reads the topic", lambda: "event=capture.assigned" in d.log("capture"))
        n = min(bench.records, 100000)
        bench.feed(d, n, 10000)
        await_tally(d, "captured", n, ["capture"])
        row = ask(d, "SELECT %s FROM record" % ", ".join(
            "percentile_cont(%s) WITHIN GROUP (ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000"
            " - queued_us / 1000)" % p for p in ("0.99", "0.5")))
        bench.say("capture-postgres-p99", float(row[0]), "ms", rss=peak_mib(d.running["capture"].pid),
                  p50_ms=round(float(row[1]), 1), at="10,000 records/s", wanted="250 or less")
        d.end("capture")


def store(bench, name, kind):
    ours, rss = [], []
    for _ in range(bench.rounds):
        with bench.deployment(kind) as d:
            url = ("sqlite:" + os.path.join(d.dir, "bench.db") if kind == "embedded" else
                   d.part("postgres", "db", d.part_dir("postgres"), "bench", output=True))
            line = json.loads(bench.tool("store_bench", "--name", name, "--url", url, "--records",
                                         bench.records).stdout)
            ours.append(line["ours"])
            rss.append(line["rss_mib"])
    bench.say(name, statistics.median(ours), "records/s", rss=max(rss), group=line["group"])


def backlog(bench):
    n = 5000000 if bench.full else 5 * bench.records
    part = min(100000, n // 5)
    for kind in ("services", "embedded"):
        with bench.deployment(kind) as d:
            starts = 1, (n - part) // 2, n - part
            costs = []
            rss, _ = run_capture(bench, d, n, costs, [(at, at + part) for at in starts])
            first, middle, last = (rate_between(d, at, at + part) for at in starts)
            bench.say("backlog-" + kind, last, "records/s", first, rss, records=n, middle=round(middle),
                      compared="last %d with first %d" % (part, part),
                      cpu_us_a_record="first %.1f, middle %.1f, last %.1f" % tuple(costs))


def end_to_end(bench, name, kind):
    import time
    with bench.deployment(kind, ("ndjson",)) as d:
        bench.feed(d, bench.records)
        services = ["up"] if kind == "embedded" else ["capture", "archiver"]
        before = cpu_of(d)
        began = time.monotonic()
        for service in services:
            d.launch(service)
        await_tally(d, "deleted", bench.records, services)
        took = time.monotonic() - began
        rss = max(peak_mib(d.running[s].pid) for s in services)
        for service in services:
            d.ready(service)
        spent = cpu_since(d, before, bench.records)
        bench.say(name, bench.records / took, "records/s", rss=rss,
                  cpu_s_per_million=round(sum(spent.values()), 1), of_these=by_process(spent))
        for service in services:
            d.end(service)


MEASURES = {
    "capture-sqlite": lambda b: capture(b, "capture-sqlite", "embedded"),
    "capture-postgres": lambda b: (capture(b, "capture-postgres", "services"), latency(b)),
    "store-sqlite": lambda b: store(b, "store-sqlite", "embedded"),
    "store-postgres": lambda b: store(b, "store-postgres", "services"),
    "backlog": backlog,
    "end-to-end-embedded": lambda b: end_to_end(b, "end-to-end-embedded", "embedded"),
    "end-to-end-services": lambda b: end_to_end(b, "end-to-end-services", "services"),
}


def main():
    p = argparse.ArgumentParser(prog="./bench", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", nargs="*", help="measures to take")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    p.add_argument("--records", type=int, default=0,
                   help="records of a round; 500,000 of capture-postgres and 200,000 of the others unless given")
    p.add_argument("--rounds", type=int, default=3, help="rounds; the median counts")
    p.add_argument("--full", action="store_true", help="backlog of 5 million records")
    p.add_argument("--build", default="build/release", help=argparse.SUPPRESS)
    options = p.parse_args()
    unknown = [n for n in options.name if n not in MEASURES]
    if unknown:
        p.error("no such measure: %s" % " ".join(unknown))
    bench = Bench(options)
    for name in options.name or MEASURES:
        MEASURES[name](bench)


if __name__ == "__main__":
    main()
