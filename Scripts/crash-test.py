#!/usr/bin/env python3
"""Kills the real program again and again while it works, and checks the promises it made.

Sixteen producers hand in notifications, over HTTP (/v1 and system 000's paths) and over the native
protocol, each with a key of its own; what is not answered is sent again with the same key. Mail goes to
a real mail server on loopback and webhooks to a small receiver; text messages and pushes go to the
built-in catcher. The broker is killed with SIGKILL at random moments, some of them during start-up.

Then the producers stop, and when the broker has come to rest:

    - every acknowledged notification was delivered (and is at the receiver), or is dead with a cause;
    - nothing waits for ever, and nothing that was acknowledged is unknown;
    - a key has one identifier, and the broker accepted exactly as many as there are keys;
    - the log on disk, read by Tests/reader.py, verifies; at the place that an identifier names lies what
      was handed in with its key, byte for byte: nothing was altered, no offset was used twice;
    - the ledger balances: accepted is the sum of all states;
    - what arrived more than once is no more than the intents that a kill left open;
    - every start took at most two seconds, from exec to the ready line.

    crash-test.py [--kills 50] [--binary .build/release/pulse] [--seed N] [--full-segment]

With --full-segment a second broker fills a segment of 64 MiB nearly to its end, and is killed and started
ten times: how long recovery takes when there is most to recover.

Exit code 0 when all holds, 1 when something does not, 2 when the test itself could not run. Needs
nothing but the standard library, and aiosmtpd for the mail server.
"""

import argparse
import collections
import hashlib
import http.client
import importlib.util
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

START_SECONDS_MAX = 2.0
KILLING_SECONDS_MAX = 240
# How full the active segment is when its recovery is measured, of 64 MiB.
FULL_BYTES = 61 << 20
# For each kill, when there are many of them.
KILL_SECONDS_MAX = 5
RESTING_SECONDS_MAX = 90
# Deliveries that may be outstanding before producers slow down: the receivers are not the point.
BACKLOG_MAX = 1500


class NotStarted(Exception):
    """The program under test does not come up at all."""


# --- CRC32C, and the native protocol as spec/02-wire.md tells it ---------------------------------


def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value):
    return varint((value << 1) ^ (value >> 63) if value < 0 else value << 1)


def string16(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def envelope(fields):
    return b"".join(bytes([tag]) + varint(len(value)) + value for tag, value in fields)


def record_batch(records):
    """Kafka's record batch v2, big-endian, of (key, value) pairs."""
    now = int(time.time() * 1000)
    body = b""
    for index, (key, value) in enumerate(records):
        record = b"\0" + zigzag(0) + zigzag(index)
        record += zigzag(len(key)) + key + zigzag(len(value)) + value + zigzag(0)
        body += zigzag(len(record)) + record
    checked = struct.pack(
        ">hiqqqhii", 0, len(records) - 1, now, now, -1, -1, -1, len(records)
    ) + body
    inner = struct.pack(">ibI", 0, 2, crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(inner)) + inner


def fields_of(data):
    """Tag to value of a notification envelope, spec/02-wire.md; of the repeated ones the last."""
    place, found = 0, {}
    while place < len(data):
        tag, length, shift = data[place], 0, 0
        place += 1
        while True:
            length |= (data[place] & 127) << shift
            place, shift = place + 1, shift + 7
            if data[place - 1] < 128:
                break
        found[tag] = data[place : place + length]
        place += length
    return found


def place_of(id):
    """The stream and the offset that an identifier names."""
    number = int(id.replace("-", ""), 16)
    high, low = number >> 64, number & (1 << 64) - 1
    return (high & 0xFFF) << 16 | (low >> 48 & 0x3FF) << 4 | low >> 58 & 0xF, high >> 16


def text_for(key):
    """What is said under a key: of any length up to 1.6 kB, and never the same twice."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"hello {key}: " + digest * (1 + int(digest[:2], 16) % 25)


class Native:
    """One native connection: hello, then one produce at a time."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0
        operation, _ = self.ask(0x01, string16("crash-test") + string16("1") + b"\x01")
        if operation != 0x81:
            raise ConnectionError(f"hello was answered by {operation:#x}")

    def close(self):
        self.socket.close()

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the connection ended")
            data += piece
        return data

    def ask(self, operation, body):
        self.correlation += 1
        checked = struct.pack("<BBHI", 1, operation, 0, self.correlation) + body
        self.socket.sendall(struct.pack("<II", len(checked) + 4, crc32c(checked)) + checked)
        while True:
            (length,) = struct.unpack("<I", self.receive(4))
            frame = self.receive(length)
            (stated,) = struct.unpack_from("<I", frame)
            if stated != crc32c(frame[4:]):
                raise AssertionError("a frame of the broker has a wrong checksum")
            _, operation, _, correlation = struct.unpack_from("<BBHI", frame, 4)
            # Goodbye and deliveries come unasked, with correlation 0.
            if correlation == self.correlation:
                return operation, frame[12:]
            if operation == 0xFF:
                raise ConnectionError("the broker refused the connection")

    def produce(self, topic, records):
        """A list of identifiers, one a record; raises for anything that is not an acceptance."""
        operation, body = self.ask(0x02, string16(topic) + b"\xff" + record_batch(records))
        if operation == 0xFF:
            code, retryable = struct.unpack_from("<HB", body)
            if retryable:
                raise ConnectionError(f"refused for now: {code}")
            raise AssertionError(f"a batch was refused for good: {code} {body[3:]!r}")
        (count,) = struct.unpack_from("<H", body)
        place = 2
        ids = []
        for _ in range(count):
            status, code = struct.unpack_from("<BH", body, place)
            text = body[place + 3 : place + 19].hex()
            place += 19
            if status == 2:
                (length,) = struct.unpack_from("<H", body, place)
                raise AssertionError(f"refused: {code} {body[place + 2 : place + 2 + length]!r}")
            ids.append("-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]]))
        if len(ids) != len(records):
            raise AssertionError("a reply has not one verdict for each record")
        return ids


# --- The program under test ----------------------------------------------------------------------


class Broker:
    """The process, its ports, and how long its starts took."""

    def __init__(self, binary, folder, smtp, hook, random):
        self.binary = os.path.abspath(binary)
        self.folder = folder
        self.random = random
        self.http = ("127.0.0.1", free_port())
        self.native = ("127.0.0.1", free_port())
        self.is_up = threading.Event()
        self.process = None
        self.start_seconds = []
        self.output = collections.deque(maxlen=200)
        self.config = os.path.join(folder, "pulse.yaml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f"""http:
  listen: 127.0.0.1:{self.http[1]}
native:
  listen: 127.0.0.1:{self.native[1]}
providers:
  email:
    kind: smtp
    host: 127.0.0.1
    port: {smtp}
    from: Pulse <pulse@example.org>
    tls: none
    timeout: 20s
  webhook:
    kind: http
    allow_private: true
    timeout: 20s
retry:
  base: 50ms
  factor: 2
  cap: 1s
  attempts: 60
delivery:
  email:
    concurrency: 16
  webhook:
    concurrency: 16
"""
            )

    def launch(self):
        """Starts the process without waiting for it."""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "serve", "--dev", "--config", self.config]
            + ["--data", os.path.join(self.folder, "data")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.ready = threading.Event()
        threading.Thread(target=self.read, args=(self.process, self.ready), daemon=True).start()

    def read(self, process, ready):
        for line in process.stdout:
            text = line.decode(errors="replace").rstrip()
            if re.match(r"pulse: ready http=\S+ native=\S+", text):
                self.ready_at = time.monotonic()
                ready.set()
            self.output.append(text)

    def wait_until_ready(self):
        """Takes part in the measurement: this start was not cut short."""
        deadline = self.began + 30
        while not self.ready.wait(0.01):
            if self.process.poll() is not None:
                raise NotStarted(f"the broker ended with code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise NotStarted("the broker was not ready after 30 s")
        self.start_seconds.append(self.ready_at - self.began)
        self.is_up.set()

    def kill(self):
        self.is_up.clear()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; the exit code."""
        self.is_up.clear()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def metrics(self):
        """Family to sum over channels, and (family, state) to sum."""
        connection = http.client.HTTPConnection(*self.http, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        sums = collections.Counter()
        for line in text.splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\d+)$", line)
            if not match:
                continue
            name, labels, value = match.groups()
            sums[name] += int(value)
            state = re.search(r'state="(\w+)"', labels or "")
            if state:
                sums[name, state.group(1)] += int(value)
        return sums


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- Producers -----------------------------------------------------------------------------------


class Accepted:
    """What was acknowledged, by key. Shared by all producers; the lock guards everything."""

    def __init__(self):
        self.lock = threading.Lock()
        # key -> (id, channel, address)
        self.by_key = {}
        self.answers = collections.Counter()
        self.mistakes = []
        self.outside = 0

    def note(self, key, id, channel, address, how):
        with self.lock:
            self.answers[how] += 1
            earlier = self.by_key.get(key)
            if earlier and earlier[0] != id:
                self.mistakes.append(f"key {key} has two identifiers: {earlier[0]} and {id}")
            if not earlier:
                self.by_key[key] = (id, channel, address)
                if channel in ("email", "webhook"):
                    self.outside += 1

    def mistake(self, text):
        with self.lock:
            self.mistakes.append(text)


class Producer(threading.Thread):
    """Hands in one thing after the other until told to stop, and never gives up on one."""

    def __init__(self, number, kind, test):
        super().__init__(name=f"{kind}-{number}", daemon=True)
        self.kind = kind
        self.test = test
        self.random = random.Random(test.seed * 1000 + number)
        self.connection = None
        self.count = 0

    def run(self):
        while not self.test.stopping.is_set():
            size = self.random.randint(1, 6) if self.kind == "native" else 1
            channel = self.random.choice(
                ["email"] * 5 + ["webhook"] * 2 + (["sms", "push"] if self.kind != "000" else [])
            )
            work = []
            for _ in range(size):
                self.count += 1
                key = f"{self.name}-{self.count}"
                work.append((key, self.test.address(channel, key)))
            self.hand_in(channel, work)
            pause = self.random.uniform(0.005, 0.03)
            if self.test.outstanding() > BACKLOG_MAX:
                pause = 0.3
            time.sleep(pause)
        self.drop()

    def hand_in(self, channel, work):
        while not self.test.giving_up.is_set():
            if not self.test.broker.is_up.wait(0.2):
                continue
            try:
                for (key, address), (id, how) in zip(work, self.ask(channel, work)):
                    self.test.accepted.note(key, id, channel, address, how)
                return
            except AssertionError as error:
                self.test.accepted.mistake(f"{self.name}: {error}")
                return
            except (OSError, http.client.HTTPException, ValueError):
                # Not answered: the same again, with the same keys.
                self.test.accepted.answers["unanswered"] += 1
                self.drop()
                time.sleep(self.random.uniform(0.005, 0.05))

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, channel, work):
        if self.kind == "native":
            if not self.connection:
                self.connection = Native(self.test.broker.native)
            records = []
            for key, address in work:
                user = f"user-{key}".encode()
                fields = [(1, user), (2, address.encode()), (5, b"crash")]
                fields.append((6, text_for(key).encode()))
                records.append((user, envelope(fields + [(10, key.encode())])))
            ids = self.connection.produce(f"notify.{channel}", records)
            return [(id, "native") for id in ids]
        (key, address) = work[0]
        if not self.connection:
            self.connection = http.client.HTTPConnection(*self.test.broker.http, timeout=10)
        if self.kind == "v1":
            path = "/v1/notifications"
            name = {"email": "email", "webhook": "url", "sms": "phone", "push": "push_token"}
            body = {
                "to": {"user": f"user-{key}", name[channel]: address},
                "channel": channel,
                "content": {"text": text_for(key)},
                "idempotency_key": key,
            }
            if channel == "email":
                body["content"]["subject"] = "crash"
        else:
            path = "/api/notifications/send/"
            body = {
                "template_name": f"crash-{channel}",
                "user_id": f"user-{key}",
                "to": address,
                "channel": channel,
                "context": {"name": text_for(key)},
                "idempotency_key": key,
            }
        self.connection.request(
            "POST", path, json.dumps(body), {"Content-Type": "application/json"}
        )
        response = self.connection.getresponse()
        text = response.read()
        if response.status in (200, 202):
            answer = json.loads(text)
            how = "accepted" if response.status == 202 else "duplicate"
            return [(answer.get("id") or answer["notification_id"], how)]
        if response.status == 503:
            raise ConnectionError("refused for now")
        raise AssertionError(f"answered {response.status}: {text[:300]!r}")


# --- The test ------------------------------------------------------------------------------------


class Test:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.seed = arguments.seed
        self.random = random.Random(self.seed)
        self.folder = folder
        self.stopping = threading.Event()
        self.giving_up = threading.Event()
        self.accepted = Accepted()
        self.sink = None
        self.broker = None
        self.verdicts = []
        self.lines = os.path.join(folder, "sink.txt")
        self.line_count = 0
        self.early_kills = 0

    def address(self, channel, key):
        return {
            "email": f"{key}@sink.test",
            "webhook": f"http://127.0.0.1:{self.hook_port}/{key}",
            "sms": "+4915112345678",
            "push": f"token-{key}",
        }[channel]

    def outstanding(self):
        return self.accepted.outside - self.line_count

    def start_sink(self):
        smtp, self.hook_port = free_port(), free_port()
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "smtp_sink.py")
        for python in [sys.executable, "/usr/bin/python3"]:
            probe = subprocess.run([python, "-c", "import aiosmtpd"], capture_output=True)
            if probe.returncode == 0:
                break
        else:
            raise NotStarted("aiosmtpd is missing: apt-get install python3-aiosmtpd")
        self.sink = subprocess.Popen(
            [python, script, "--smtp", str(smtp), "--http", str(self.hook_port)]
            + ["--output", self.lines],
            stdout=subprocess.PIPE,
        )
        if b"ready" not in self.sink.stdout.readline():
            raise NotStarted("the mail server did not start")
        threading.Thread(target=self.count_lines, daemon=True).start()
        return smtp

    def count_lines(self):
        seen = 0
        while not self.giving_up.is_set():
            try:
                with open(self.lines, "rb") as file:
                    file.seek(seen)
                    piece = file.read()
                seen += len(piece)
                self.line_count += piece.count(b"\n")
            except FileNotFoundError:
                pass
            time.sleep(0.1)

    def put_templates(self):
        connection = http.client.HTTPConnection(*self.broker.http, timeout=10)
        for channel in ["email", "webhook"]:
            body = {"channel": channel, "subject": "crash", "text": "hello {{name}}"}
            connection.request(
                "PUT",
                f"/v1/templates/crash-{channel}",
                json.dumps(body),
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read()
            if response.status not in (200, 201):
                raise NotStarted(f"a template was refused: {response.status} {text!r}")
        connection.close()

    def run(self):
        smtp = self.start_sink()
        self.broker = Broker(self.arguments.binary, self.folder, smtp, self.hook_port, self.random)
        self.broker.launch()
        self.broker.wait_until_ready()
        self.put_templates()
        kinds = ["v1"] * 6 + ["000"] * 6 + ["native"] * 4
        producers = [Producer(number, kind, self) for number, kind in enumerate(kinds)]
        for producer in producers:
            producer.start()
        self.kill_again_and_again()
        self.stopping.set()
        for producer in producers:
            producer.join(timeout=30)
        self.check(
            "every request was answered in the end",
            not any(producer.is_alive() for producer in producers),
        )
        self.wait_for_rest()
        # Once more with a clean stop in between: what rests must still be there.
        code = self.broker.stop()
        self.check("SIGTERM ends the broker cleanly", code == 0, f"exit code {code}")
        self.broker.launch()
        self.broker.wait_until_ready()
        self.look()
        self.broker.stop()
        self.read_log()
        if self.arguments.full_segment:
            self.recover_full_segment(smtp)

    def kill_again_and_again(self):
        began = time.monotonic()
        kills = 0
        while kills < self.arguments.kills:
            limit = max(KILLING_SECONDS_MAX, KILL_SECONDS_MAX * self.arguments.kills)
            if time.monotonic() - began > limit:
                self.check("the kills fit into their time", False, f"{kills} were done")
                break
            time.sleep(self.random.uniform(0.2, 3.0 if kills % 2 else 1.5))
            self.broker.kill()
            kills += 1
            # Some kills meet the broker while it recovers from the one before.
            while kills < self.arguments.kills and self.random.random() < 0.15:
                self.broker.launch()
                time.sleep(self.random.uniform(0.0, 0.15))
                self.broker.kill()
                kills += 1
                self.early_kills += 1
            self.broker.launch()
            self.broker.wait_until_ready()
        self.kills = kills
        self.killing_seconds = time.monotonic() - began

    def wait_for_rest(self):
        began = time.monotonic()
        states = ["scheduled", "ready", "held", "leased"]
        waiting = None
        while time.monotonic() - began < RESTING_SECONDS_MAX:
            sums = self.broker.metrics()
            waiting = {s: sums["pulse_notifications", s] for s in states}
            if not any(waiting.values()):
                break
            time.sleep(0.3)
        self.resting_seconds = time.monotonic() - began
        self.check("nothing waits for ever", not any(waiting.values()), f"{waiting}")
        time.sleep(0.5)

    # --- What must hold ---

    def check(self, what, holds, detail=""):
        self.verdicts.append((what, bool(holds), detail))

    def look(self):
        sums = self.broker.metrics()
        by_key = self.accepted.by_key
        ids = {id: (channel, address) for id, channel, address in by_key.values()}
        with open(self.lines, encoding="utf-8") as file:
            arrived = [line.split() for line in file]
        times = collections.Counter(words[1] for words in arrived)
        where = collections.defaultdict(set)
        for words in arrived:
            place = words[2] if words[0] == "mail" else f"http://127.0.0.1:{self.hook_port}{words[2]}"
            where[words[1]].add(place)

        mistakes = self.accepted.mistakes
        self.check("no request was answered wrongly", not mistakes, "; ".join(mistakes[:3]))
        self.check("a key has one identifier", len(ids) == len(by_key))
        accepted = sums["pulse_notifications_accepted_total"]
        self.check(
            "accepted are exactly the acknowledged",
            accepted == len(ids),
            f"{accepted} accepted, {len(ids)} acknowledged",
        )
        parts = [
            sums["pulse_notifications", s] for s in ["scheduled", "ready", "held", "leased"]
        ] + [sums["pulse_notifications_finished_total", s] for s in ["delivered", "dead"]]
        self.check("the ledger balances", accepted == sum(parts), f"{accepted} and {parts}")

        states, lost, stuck, missing, causeless = self.ask_for_all(ids, times)
        self.check("none is lost", not lost, f"{len(lost)}: {lost[:3]}")
        self.check("none is stuck", not stuck, f"{len(stuck)}: {stuck[:3]}")
        self.check(
            "what is delivered is at the receiver", not missing, f"{len(missing)}: {missing[:3]}"
        )
        self.check("the dead have a cause", not causeless, f"{causeless[:3]}")
        strangers = [id for id in times if id not in ids]
        self.check("nothing arrived that nobody sent", not strangers, f"{strangers[:3]}")
        astray = [id for id in where if id in ids and where[id] != {ids[id][1]}]
        self.check("all went to their own address", not astray, f"{astray[:3]}")
        extra = sum(count - 1 for count in times.values())
        unknown = sums["pulse_delivery_unknown_outcomes_total"]
        self.check(
            "repeats are no more than open intents", extra <= unknown, f"{extra} and {unknown}"
        )
        starts = sorted(self.broker.start_seconds)
        self.check(
            f"every start took at most {START_SECONDS_MAX:.0f} s",
            starts[-1] <= START_SECONDS_MAX,
            f"{starts[-1]:.2f} s",
        )
        answers = self.accepted.answers
        self.summary = [
            ("seed", self.seed),
            ("kills", f"{self.kills}, of them {self.early_kills} during start-up"),
            ("killing, coming to rest", f"{self.killing_seconds:.0f} s, {self.resting_seconds:.0f} s"),
            ("start, median and longest", f"{starts[len(starts) // 2]:.3f} s, {starts[-1]:.3f} s"),
            ("acknowledged", f"{len(ids)}"),
            ("requests without an answer", answers["unanswered"]),
            ("repeats recognised on HTTP", answers["duplicate"]),
            ("states", ", ".join(f"{state} {count}" for state, count in sorted(states.items()))),
            ("arrived, of them again", f"{len(arrived)}, {extra}"),
            ("intents cut off", unknown),
        ]

    def ask_for_all(self, ids, times):
        """Asks the broker for each acknowledged notification, eight at a time."""
        states = collections.Counter()
        lost, stuck, missing, causeless = [], [], [], []
        lock = threading.Lock()
        todo = list(ids.items())

        def work():
            connection = http.client.HTTPConnection(*self.broker.http, timeout=20)
            while True:
                with lock:
                    if not todo:
                        return
                    id, (channel, _) = todo.pop()
                connection.request("GET", f"/v1/notifications/{id}")
                response = connection.getresponse()
                text = response.read()
                with lock:
                    if response.status != 200:
                        lost.append(id)
                        continue
                    view = json.loads(text)
                    states[view["status"]] += 1
                    if view["status"] == "delivered":
                        if channel in ("email", "webhook") and not times[id]:
                            missing.append(id)
                    elif view["status"] == "dead":
                        if not view["error"]:
                            causeless.append(id)
                    else:
                        stuck.append(f"{id} {view['status']}")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return states, lost, stuck, missing, causeless

    def read_log(self):
        """Compares what was acknowledged with what lies in the log, read without the broker."""
        path = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "reader.py"
        sys.dont_write_bytecode = True
        specification = importlib.util.spec_from_file_location("reader", path)
        reader = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(reader)
        found = {}

        def note(one):
            if "value" in one:
                found[one["stream"], one["offset"]] = one["value"]

        log = reader.Log(pathlib.Path(self.folder) / "data" / "shard-0" / "log", note)
        self.check("the log verifies, read by a stranger", not log.problems, "; ".join(log.problems[:3]))
        altered, places = [], collections.Counter()
        for key, (id, channel, address) in self.accepted.by_key.items():
            place = place_of(id)
            places[place] += 1
            fields = fields_of(found.get(place, b""))
            expected = {1: f"user-{key}", 2: address, 10: key}
            if fields.get(4):
                data = b"\x04name" + text_for(key).encode()
                right = fields.get(11) == data
            else:
                right = fields.get(6) == text_for(key).encode()
            if not right or any(fields.get(tag) != text.encode() for tag, text in expected.items()):
                altered.append(f"{key} at {place}: {fields}")
        self.check("none is altered", not altered, f"{len(altered)}: {altered[:2]}")
        twice = [place for place, count in places.items() if count > 1]
        self.check("no offset is used twice", not twice, f"{twice[:3]}")
        self.summary.append(("entries in the log", f"{len(log.positions)} up to {log.end}"))

    def recover_full_segment(self, smtp):
        folder = os.path.join(self.folder, "full")
        os.mkdir(folder)
        self.broker = Broker(self.arguments.binary, folder, smtp, self.hook_port, self.random)
        self.broker.launch()
        self.broker.wait_until_ready()
        native, count = Native(self.broker.native), 0
        while (end := self.broker.metrics()["pulse_log_end_bytes"]) < FULL_BYTES:
            for _ in range(10 if end < FULL_BYTES - (1 << 20) else 1):
                records = []
                for _ in range(100):
                    user = f"user-{count % 5000}".encode()
                    fields = [(1, user), (2, b"+4915112345678"), (6, b"hello " * 12)]
                    records.append((user, envelope(fields + [(10, f"full-{count}".encode())])))
                    count += 1
                native.produce("notify.sms", records)
        self.broker.start_seconds.clear()
        for _ in range(10):
            self.broker.kill()
            self.broker.launch()
            self.broker.wait_until_ready()
        end = self.broker.metrics()["pulse_log_end_bytes"]
        names = os.listdir(os.path.join(folder, "data", "shard-0", "log"))
        segments = sum(name.endswith(".seg") for name in names)
        self.check("the active segment was nearly full", segments == 1 and end >= FULL_BYTES, f"{end}")
        starts = sorted(self.broker.start_seconds)
        self.check(
            f"a full segment is recovered in {START_SECONDS_MAX:.0f} s",
            starts[-1] <= START_SECONDS_MAX,
            f"{starts[-1]:.2f} s",
        )
        self.broker.stop()
        self.summary.append(("full segment", f"{end / (1 << 20):.1f} MiB, {count} notifications"))
        middle, longest = starts[len(starts) // 2], starts[-1]
        self.summary.append(("its recovery, median and longest", f"{middle:.3f} s, {longest:.3f} s"))

    def end(self):
        """Ends every process that was started here, each by its own number."""
        self.giving_up.set()
        for process in [self.broker.process if self.broker else None, self.sink]:
            if process and process.poll() is None:
                process.kill()
                process.wait()

    def report(self):
        width = max(len(name) for name, _ in self.summary)
        for name, value in self.summary:
            print(f"  {name:<{width}}  {value}")
        print()
        for what, holds, detail in self.verdicts:
            mark = "ok  " if holds else "FAIL"
            print(f"  {mark}  {what}" + (f": {detail}" if detail and not holds else ""))
        failed = sum(not holds for _, holds, _ in self.verdicts)
        print(f"\n{len(self.verdicts) - failed} passed, {failed} failed")
        return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--binary", default=".build/release/pulse")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--full-segment", action="store_true", help="measure that recovery too")
    parser.add_argument("--keep", action="store_true", help="leave the data directory behind")
    arguments = parser.parse_args()
    if not os.access(arguments.binary, os.X_OK):
        print(f"crash-test: there is no program {arguments.binary}; run make release")
        return 2
    folder = tempfile.mkdtemp(prefix="pulse-crash-")
    print(f"crash-test: seed {arguments.seed}, {arguments.kills} kills, in {folder}", flush=True)
    test = Test(arguments, folder)
    code = 2
    try:
        test.run()
        code = test.report()
    except NotStarted as problem:
        print(f"crash-test: {problem}")
        code = 1 if test.broker and test.broker.start_seconds else 2
    finally:
        test.end()
        if code != 0 and test.broker:
            print("\nthe broker's last lines:")
            for line in list(test.broker.output)[-40:]:
                print("  " + line)
        if arguments.keep or code != 0:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
