#!/usr/bin/env python3
"""Loads millions of notifications into one data directory and measures how the real program starts on it.

Every notification has an idempotency key and is delivered to the built-in catcher. Then the broker is
stopped cleanly and started, killed with SIGKILL and started, and each time is measured:

    - from exec to the line that says it is ready, and the processor time of that;
    - resident memory (VmRSS) at that line and after a minute of load, and the highest (VmHWM);
    - that minute's rate, each with a key that was never used;
    - that a notification of before is still known by its identifier and by its key.

    ten-million.py [--count 10000000] [--binary .build/release/pulse] [--folder DIR] [--load-seconds 60]
                   [--start-limit 2.0] [--memory-limit 400] [--disk-limit 15] [--keep]

Prints what it measured. Exit code 0 when start and memory are within the limits, 1 when not, 2 when it
could not run. Needs nothing but the standard library, and pulse-bench beside the binary.
"""

import argparse
import http.client
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

READY = re.compile(r"pulse: ready http=\S+ native=\S+")
METRIC = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$')


class Failed(Exception):
    """It could not be measured."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def memory(process):
    """VmRSS and VmHWM of a process, in MiB."""
    with open(f"/proc/{process.pid}/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def processor_seconds(process):
    """What the process has used so far: on a busy machine the fairer measure of a start."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def folder_bytes(folder):
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


class Broker:
    def __init__(self, arguments, folder):
        self.binary = arguments.binary
        self.bench = os.path.join(os.path.dirname(arguments.binary), "pulse-bench")
        self.data = os.path.join(folder, "data")
        self.http, self.native = free_port(), free_port()
        self.process = None

    def start(self):
        """Starts it and returns the seconds from exec to ready."""
        environment = dict(os.environ, SWIFT_BACKTRACE="enable=no")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "serve", "--dev", "--data", self.data]
            + ["--http", f"127.0.0.1:{self.http}", "--listen", f"127.0.0.1:{self.native}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment,
        )
        said = []
        for line in self.process.stdout:
            said.append(line.rstrip())
            if READY.match(line):
                return time.monotonic() - began
        raise Failed("the broker did not start:\n" + "\n".join(said[-10:]))

    def end(self, number):
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.stdout.read()
        self.process.wait(120)
        return time.monotonic() - began

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=60)
        try:
            text = json.dumps(body) if body is not None else None
            connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        """The sums over all channels, and of notifications by state."""
        sums = {}
        for line in self.ask("GET", "/metrics")[1].splitlines():
            found = METRIC.match(line)
            if not found:
                continue
            name, labels, value = found.groups()
            state = re.search(r'state="(\w+)"', labels or "")
            key = name + ("." + state.group(1) if state else "")
            sums[key] = sums.get(key, 0) + float(value)
        return sums

    def accepted(self):
        return int(self.metrics()["pulse_notifications_accepted_total"])

    def load(self, seconds):
        """As many as it takes for so long; how many it took a second."""
        before = self.accepted()
        began = time.monotonic()
        bench = subprocess.run(
            [self.bench, "accept", "--native", "--max", "--url", f"127.0.0.1:{self.native}"]
            + ["--connections", "4", "--depth", "16", "--batch", "16"]
            + ["--seconds", str(seconds), "--warmup", "0", "--json"],
            capture_output=True, text=True,
        )
        if bench.returncode not in (0, 3):
            raise Failed(f"pulse-bench: {bench.stdout[-500:]} {bench.stderr[-500:]}")
        return (self.accepted() - before) / (time.monotonic() - began)

    def rest(self, seconds=3600):
        """Waits until everything was delivered."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            sums = self.metrics()
            if sum(sums.get(f"pulse_notifications.{s}", 0) for s in ("ready", "leased")) == 0:
                return
            time.sleep(1)
        raise Failed("the broker did not come to rest")


def submission():
    return {
        "to": {"user": "the-first", "email": "the-first@bench.local"}, "channel": "email",
        "template": "welcome", "data": {"name": "First", "code": "1"},
        "idempotency_key": "the-first-key",
    }


def submit(broker):
    status, text = broker.ask("POST", "/v1/notifications", submission())
    if status not in (200, 202):
        raise Failed(f"the first notification: {status} {text}")
    return status, json.loads(text)["id"]


def measure(arguments, folder):
    broker = Broker(arguments, folder)
    rows = []
    try:
        seconds = broker.start()
        used = processor_seconds(broker.process)
        resident, highest = memory(broker.process)
        rows.append(("empty directory", seconds, used, resident, resident, highest, None))
        _, first = submit(broker)
        began = time.monotonic()
        while broker.accepted() < arguments.count:
            rate = broker.load(10)
            size = folder_bytes(broker.data) / 1e9
            print(f"  {broker.accepted():>11,} accepted, {rate:,.0f}/s, {size:.1f} GB", flush=True)
            if size > arguments.disk_limit:
                raise Failed(f"{size:.1f} GB of disk are more than --disk-limit")
        broker.rest()
        total = broker.accepted()
        print(
            f"  loaded and delivered in {time.monotonic() - began:.0f} s;"
            f" memory {memory(broker.process)[0]:.0f} MiB, highest {memory(broker.process)[1]:.0f}"
        )
        for label, number in (("a clean stop", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
            stopping = broker.end(number)
            size = folder_bytes(broker.data) / 1e9
            print(f"  ended by {label} in {stopping:.2f} s; {size:.1f} GB on disk", flush=True)
            seconds = broker.start()
            used = processor_seconds(broker.process)
            resident, _ = memory(broker.process)
            status, _ = broker.ask("GET", f"/v1/notifications/{first}")
            again, same = submit(broker)
            if status != 200 or same != first:
                raise Failed(f"the first notification is not known: {status}, {again} {same}")
            if broker.accepted() < total:
                raise Failed(f"{broker.accepted()} notifications are counted, {total} before")
            rate = broker.load(arguments.load_seconds)
            rows.append((f"after {label}", seconds, used, resident, *memory(broker.process), rate))
            broker.rest()
            total = broker.accepted()
        return rows, broker.accepted()
    finally:
        if broker.process and broker.process.poll() is None:
            broker.process.kill()
            broker.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000_000)
    parser.add_argument("--binary", default=".build/release/pulse")
    parser.add_argument("--folder")
    parser.add_argument("--load-seconds", type=int, default=60)
    parser.add_argument("--start-limit", type=float, default=2.0)
    parser.add_argument("--memory-limit", type=float, default=400)
    parser.add_argument("--disk-limit", type=float, default=15)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    arguments.binary = os.path.abspath(arguments.binary)
    folder = arguments.folder or tempfile.mkdtemp(prefix="ten-million-")
    print(f"{arguments.count:,} notifications in {folder}; load average {os.getloadavg()[0]:.1f}")
    try:
        rows, count = measure(arguments, folder)
    except Failed as failure:
        print(f"not measured: {failure}", file=sys.stderr)
        return 2
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{count:,} notifications; load average {os.getloadavg()[0]:.1f}")
    print(f"{'start':18}{'ready':>10}{'processor':>11}{'at ready':>12}{'after load':>12}{'highest':>12}{'load':>13}")
    good = True
    for label, seconds, used, resident, loaded, highest, rate in rows:
        line = f"{label:18}{seconds:>8.2f} s{used:>9.2f} s"
        line += "".join(f"{size:>8.0f} MiB" for size in (resident, loaded, highest))
        print(line + (f"{rate:>11,.0f}/s" if rate else ""))
        good = good and seconds <= arguments.start_limit and highest <= arguments.memory_limit
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
