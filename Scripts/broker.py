"""The real program in a process of its own, as the scripts need it that test it from outside.

    broker = Broker(binary, data, ["--dev"])
    broker.start()                               launch() and wait_until_ready(), for who needs them apart
    status, answer = broker.ask("GET", "/v1/status")
    broker.kill()                                or stop(), which is SIGTERM
    broker.start()                               on the same ports again

    (none) --launch--> coming up --"pulse: ready ..."--> up
                        ^   |                            |
                 launch |   | by itself, kill            | stop, kill, by itself
                        |   v                            |
                        ended <--------------------------'

Each script adds what is its own: what it hands in, what it breaks, and what must hold then.
Standard library only.
"""

import collections
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time

# So long may a start, a stop or an answer take before it counts as none. What measures them is stricter.
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 60
# What a broker says is kept for the one who must find out why; no test makes it say as much as this.
OUTPUT_LINES_MAX = 10_000

# A crash is told by its exit code; the backtrace would take longer than the test.
ENVIRONMENT = dict(os.environ, SWIFT_BACKTRACE="enable=no")

READY = re.compile(r"pulse: ready http=(\S+):(\d+) native=(\S+):(\d+)")
METRIC = re.compile(r"(\w+)(?:\{(.*)\})? (\d+)$")


class Failed(Exception):
    """The program did not do what it must, or could not be asked; the sentence says what."""


class Connection(http.client.HTTPConnection):
    """One connection to the HTTP interface, kept open between questions."""

    # Of the last answer.
    answer_headers = None

    def ask(self, method, path, body=None):
        """Status and document, a JSON one parsed; a body is sent as JSON."""
        text = None if body is None else json.dumps(body)
        self.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = self.getresponse()
        answer = response.read()
        self.answer_headers = response.headers
        return response.status, json.loads(answer) if answer[:1] in (b"{", b"[") else answer.decode()


class Broker:
    """`pulse serve` on a data directory, as often as it is started.

    `http` and `native` are its addresses: of the system's choice at the first start, and the same again at
    every later one, as an operator has it.
    """

    def __init__(self, binary, data, options=(), wrapper=()):
        self.data = data
        self.wrapper = wrapper
        self.command = [*wrapper, os.path.abspath(binary), "serve", "--data", data, *options]
        self.http = self.native = ("127.0.0.1", 0)
        self.process = None
        # Set while it serves: what runs beside the test waits for it.
        self.is_up = threading.Event()
        self.output = collections.deque(maxlen=OUTPUT_LINES_MAX)
        self.start_seconds = None

    # --- From the start to the end ---

    def launch(self):
        """Starts the process without waiting for it."""
        self.start_seconds = None
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self.command + ["--http", "%s:%d" % self.http, "--listen", "%s:%d" % self.native],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
            # One group, so that what is wrapped can be killed with what wraps it.
            start_new_session=bool(self.wrapper),
        )
        self.is_decided = threading.Event()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        """Runs beside the test until the process has closed its output."""
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.output.append(text)
            found = READY.match(text)
            if found:
                self.start_seconds = time.monotonic() - self.began
                self.http = (found[1], int(found[2]))
                self.native = (found[3], int(found[4]))
                self.is_decided.set()
        self.is_decided.set()

    def wait_until_ready(self, seconds=START_SECONDS_MAX):
        """False when it ended by itself instead. Throws when it does neither in time, and kills it."""
        if not self.is_decided.wait(seconds):
            self.kill()
            raise Failed(f"the broker was neither ready nor ended after {seconds} s")
        if self.start_seconds is None:
            self.wait(seconds)
            return False
        self.is_up.set()
        return True

    def try_to_start(self):
        """False when it ended by itself instead of being ready."""
        self.launch()
        return self.wait_until_ready()

    def start(self, seconds=START_SECONDS_MAX):
        """The seconds from exec to the ready line. Throws when it is not ready in time."""
        self.launch()
        if not self.wait_until_ready(seconds):
            raise Failed(f"the broker ended with code {self.process.returncode}:\n{self.said(10)}")
        return self.start_seconds

    def wait(self, seconds):
        """Its exit code, when all it said is in `output`; None when it still runs after that time."""
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        self.reader.join(timeout=5)
        return code

    def stop(self, seconds=STOP_SECONDS_MAX):
        """SIGTERM; the exit code, or None when it did not end in time and had to be killed."""
        self.is_up.clear()
        self.process.send_signal(signal.SIGTERM)
        code = self.wait(seconds)
        if code is None:
            self.kill()
        return code

    def kill(self):
        """SIGKILL. One that ended already, or was never started, is left as it is."""
        self.is_up.clear()
        if not self.process:
            return
        if self.process.poll() is None:
            if self.wrapper:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        self.reader.join(timeout=5)

    # --- What it says ---

    def said(self, count):
        """The last lines of its output."""
        return "\n".join(list(self.output)[-count:])

    def connect(self):
        return Connection(*self.http, timeout=ANSWER_SECONDS_MAX)

    def ask(self, method, path, body=None):
        """One question on a connection of its own."""
        connection = self.connect()
        try:
            return connection.ask(method, path, body)
        finally:
            connection.close()

    def metrics(self):
        """Each family's sum over its lines, and (family, state) to the sum of that state.

        A plain dictionary: who asks for what the program does not count is told, and does not see 0.
        """
        sums = collections.Counter()
        for line in self.ask("GET", "/metrics")[1].splitlines():
            found = METRIC.match(line)
            if not found:
                continue
            name, labels, value = found.groups()
            sums[name] += int(value)
            state = re.search(r'state="(\w+)"', labels or "")
            if state:
                sums[name, state.group(1)] += int(value)
        return dict(sums)
