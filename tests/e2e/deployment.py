# SPDX-License-Identifier: Apache-2.0
"""A whole Holdfast in a scratch folder, embedded or as services, with its real neighbours.

with Deployment("services", bin) as d:
    d.start()
    d.holdfast("room", "add", "Lobby")
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PARTS = os.path.join(TOP, "tests", "parts")
SMTP = os.path.join(TOP, "contrib", "maildir-smtp")
WAIT_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_true(what, condition, seconds=WAIT_S):
    """Polls until condition() is true and returns its value; says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (seconds, what))
        time.sleep(0.05)  # the pause between two looks, not a guess how long it takes


def peak_mib(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) / 1024
    except (OSError, AttributeError):
        return 0.0


class Deployment:
    def __init__(self, kind, program, keep=None, mail="smtp", interval="1m", adapters=("xml", "tar", "mail"),
                 brokers=1, more=()):
        assert kind in ("embedded", "services"), kind
        self.kind = kind
        self.program = os.path.abspath(program)
        self.keep = keep
        self.mail_part = mail
        self.interval = interval
        self.adapters = adapters
        self.brokers = brokers
        self.more = more  # lines of configuration
        self.queue = "kafka" if brokers == 1 else "kafka-cluster"
        self.dir = tempfile.mkdtemp(prefix="hf-e2e.")
        self.data = os.path.join(self.dir, "data")
        self.out = os.path.abspath(keep) if keep else os.path.join(self.dir, "out")
        self.port = free_port()
        self.running = {}
        self.places = {}  # of parts whose folder is not below ours
        self.peaks = {}
        self.domain = "example.test"
        self.neighbours = []

    # ---- neighbours ----

    def part(self, name, *words, output=False):
        run = [SMTP if name == "smtp" else os.path.join(PARTS, name), *words]
        done = subprocess.run(run, stdout=subprocess.PIPE if output else subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise AssertionError("%s: %s" % (" ".join(run), done.stderr))
        return done.stdout.strip() if output else None

    def part_dir(self, name):
        return self.places.get(name) or os.path.join(self.dir, name)

    def part_lives(self, name):
        try:
            pid = int(self.read_part(name, "pid"))
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    def start_part(self, name):
        os.makedirs(self.part_dir(name), exist_ok=True)
        self.part(name, "start", self.part_dir(name))
        self.neighbours.append(name)

    def read_part(self, name, file):
        with open(os.path.join(self.part_dir(name), file)) as f:
            return f.read().strip()

    def prepare(self):
        os.makedirs(self.data, mode=0o700)
        for name in ("xml", "tar"):
            os.makedirs(os.path.join(self.out, name), exist_ok=True)
        lines = ["[holdfast]", "setup = " + self.kind]
        if "mail" in self.adapters:
            self.start_part(self.mail_part)
        if self.kind == "services":
            self.start_part("postgres")
            self.start_part(self.queue)
            self.part(self.queue, "topic", self.part_dir(self.queue), "holdfast", "4")
            self.part(self.queue, "topic", self.part_dir(self.queue), "holdfast-control", "1")
            for section in ("store", "mgccomp"):
                url = self.part("postgres", "db", self.part_dir("postgres"), section, output=True)
                with open(os.path.join(self.data, section + ".url"), "w") as f:
                    f.write(url + "\n")
                lines += ["[%s]" % section, "database = file:%s.url" % os.path.join(self.data, section)]
            lines += ["[kafka]", "brokers = " + self.read_part(self.queue, "bootstrap"),
                      "single-broker = " + ("yes" if self.brokers == 1 else "no")]
        lines += ["[chat-server]", "listen = 127.0.0.1:%d" % self.port, "domain = " + self.domain]
        for name in self.adapters:
            lines += ["[adapter %s]" % name, "interval = " + self.interval]
            if name == "mail":
                lines += ["module = smtp", "server = 127.0.0.1:" + self.read_part(self.mail_part, "port"),
                          "from = archive@example.test", "to = compliance@example.test"]
            else:
                lines += ["module = " + name, "directory = " + os.path.join(self.out, name)]
        with open(os.path.join(self.data, "holdfast.conf"), "w") as f:
            f.write("\n".join([*lines, *self.more]) + "\n")

    def configure(self, section, line):
        """Puts a line into a section of the configuration; read at the next start."""
        path = os.path.join(self.data, "holdfast.conf")
        with open(path) as f:
            text = f.read()
        head = "[%s]\n" % section
        text = text.replace(head, head + line + "\n") if head in text else text + head + line + "\n"
        with open(path, "w") as f:
            f.write(text)

    # ---- our processes ----

    def services(self):
        return ["up"] if self.kind == "embedded" else ["chat-server", "capture", "archiver"]

    def launch(self, service, environment=None):
        log = open(os.path.join(self.dir, service + ".log"), "ab")
        self.running[service] = subprocess.Popen(
            [self.program, "--data", self.data, service], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True, env={**os.environ, **(environment or {})})
        log.close()
        self.note_pid(service)

    def note_pid(self, service):
        """For the guard, which ends what a test leaves that was ended itself."""
        folder = os.path.join(self.dir, "run", service)
        os.makedirs(folder, exist_ok=True)
        pid = self.running[service].pid
        with open("/proc/%d/stat" % pid) as stat:
            since = stat.read().rsplit(")", 1)[1].split()[19]
        for name, value in (("pid", str(pid)), ("pid.since", since)):
            with open(os.path.join(folder, name), "w") as f:
                f.write(value + "\n")

    def ready(self, service):
        """A service is ready when its log says so after its newest start."""
        process = self.running[service]

        def look():
            if process.poll() is not None:
                raise AssertionError("%s ended with %d:\n%s" % (service, process.returncode, self.log(service)))
            return ("pid=%d" % process.pid) in self.log(service) and self.log_has_ready(service, process.pid)

        await_true("%s ready" % service, look)

    def ready_in_the_end(self, service, seconds=3 * WAIT_S):
        """Without `up` an ingest takes the folder for itself; `up` waits for it, may give up, and is started again."""
        def look():
            try:
                self.ready(service)
                return True
            except AssertionError:
                code = self.running[service].poll()
                if code not in (None, 1):
                    raise
                if code == 1:
                    self.launch(service)
                return False

        await_true("%s is ready in the end" % service, look, seconds)

    def log(self, service):
        with open(os.path.join(self.dir, service + ".log"), errors="replace") as f:
            return f.read()

    def log_has_ready(self, service, pid):
        return any("event=ready" in line and "pid=%d" % pid in line for line in self.log(service).splitlines())

    def start(self):
        if not os.path.exists(os.path.join(self.data, "holdfast.conf")):
            self.prepare()
        for service in self.services():
            self.launch(service)
        for service in self.services():
            self.ready(service)

    def note_peak(self, service):
        process = self.running.get(service)
        if process:
            self.peaks[service] = max(self.peaks.get(service, 0), peak_mib(process.pid))

    def kill(self, service):
        """SIGKILL to the one process, as the kernel or a power cut would."""
        self.note_peak(service)
        process = self.running.pop(service)
        process.kill()
        process.wait()

    def end(self, service):
        self.note_peak(service)
        process = self.running.pop(service)
        process.terminate()
        try:
            code = process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("%s did not stop on SIGTERM" % service)
        if code != 0:
            raise AssertionError("%s ended with %d on SIGTERM:\n%s" % (service, code, self.log(service)[-3000:]))

    def stop(self):
        for service in list(self.running):
            self.end(service)

    def cut(self):
        """The end of a test whose archives are compared next: nothing that stopping records may be half way."""
        for service in list(self.running):
            self.kill(service)

    def workers(self):
        """Process ids of adapter workers below our processes."""
        found = []
        for service, process in self.running.items():
            try:
                with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
                    pass
            except OSError:
                continue
            for pid in os.listdir("/proc"):
                if not pid.isdigit():
                    continue
                try:
                    with open("/proc/%s/stat" % pid) as f:
                        parent = int(f.read().rsplit(")", 1)[1].split()[1])
                    with open("/proc/%s/cmdline" % pid, "rb") as f:
                        words = f.read().split(b"\0")
                except (OSError, IndexError):
                    continue
                if parent == process.pid and b"worker" in words:
                    found.append(int(pid))
        return found

    # ---- commands ----

    def command(self, *words):
        return [self.program, "--data", self.data, *words]

    def second_person(self, name="second"):
        """The first words of a command typed by somebody else: a database role of its own. Services only."""
        folder = os.path.join(self.dir, "data-" + name)
        os.makedirs(folder, mode=0o700)
        with open(os.path.join(self.data, "holdfast.conf")) as f:
            conf = f.read()
        with open(os.path.join(folder, "holdfast.conf"), "w") as f:
            f.write(conf.replace(self.data + "/", folder + "/"))
        for section in ("store", "mgccomp"):
            with open(os.path.join(self.data, section + ".url")) as f:
                url = f.read()
            with open(os.path.join(folder, section + ".url"), "w") as f:
                f.write(url.replace("user=holdfast", "user=" + name))
        with open(os.path.join(self.part_dir("postgres"), "url")) as f:
            subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", f.read().strip(), "-c",
                            "CREATE ROLE %s LOGIN IN ROLE holdfast" % name], check=True)
        return [self.program, "--data", folder]

    def holdfast(self, *words, ok=(0,), input=None, timeout=300):
        done = subprocess.run(self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, input=input, timeout=timeout, stdin=None if input else subprocess.DEVNULL)
        if ok is not None and done.returncode not in ok:
            raise AssertionError("holdfast %s: exit %d\n%s%s" % (" ".join(words), done.returncode,
                                                                done.stdout, done.stderr))
        return done

    def status(self):
        return json.loads(self.holdfast("status", "--json", ok=None).stdout)

    def drain(self, seconds=120):
        self.holdfast("drain", "--timeout", "%ds" % seconds, timeout=seconds + 60)

    def mails(self):
        return os.path.join(self.part_dir(self.mail_part), "mail", "new")

    # ---- the end ----

    def __enter__(self):
        if not os.environ.get("HOLDFAST_TEST_KEEP"):
            subprocess.run(["setsid", "-f", os.path.join(PARTS, "guard"), str(os.getpid()), self.dir],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return self

    def __exit__(self, kind, value, trace):
        for process in self.running.values():
            process.kill()
            process.wait()
        if kind:
            for service in self.services():
                path = os.path.join(self.dir, service + ".log")
                if os.path.exists(path):
                    sys.stderr.write("---- %s\n%s\n" % (service, self.log(service)[-4000:]))
        for name in reversed(self.neighbours):
            subprocess.run([SMTP if name == "smtp" else os.path.join(PARTS, name), "stop", self.part_dir(name)],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.keep and os.path.isdir(self.part_dir(self.mail_part)):
            shutil.copytree(self.mails(), os.path.join(self.out, "mail"), dirs_exist_ok=True)
        if kind and os.environ.get("HOLDFAST_TEST_KEEP"):
            sys.stderr.write("kept: %s\n" % self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
