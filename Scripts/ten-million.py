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
import os
import shutil
import subprocess
import sys
import tempfile
import time

from broker import Broker, Failed


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


class Subject(Broker):
    """A broker that is loaded by pulse-bench, and may take an hour to start."""

    def __init__(self, binary, folder):
        super().__init__(binary, os.path.join(folder, "data"), ["--dev"])
        self.bench = os.path.join(os.path.dirname(binary), "pulse-bench")

    def start(self):
        return super().start(seconds=3600)

    def stop(self):
        if super().stop(120) is None:
            raise Failed("the broker did not end within 120 s")

    def accepted(self):
        return self.metrics()["pulse_notifications_accepted_total"]

    def load(self, seconds):
        """As many as it takes for so long; how many it took a second."""
        before = self.accepted()
        began = time.monotonic()
        bench = subprocess.run(
            [self.bench, "accept", "--native", "--max", "--url", "%s:%d" % self.native]
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
            if sum(sums["pulse_notifications", state] for state in ("ready", "leased")) == 0:
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
    status, answer = broker.ask("POST", "/v1/notifications", submission())
    if status not in (200, 202):
        raise Failed(f"the first notification: {status} {answer}")
    return status, answer["id"]


def measure(arguments, folder):
    broker = Subject(arguments.binary, folder)
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
        for label, end in (("a clean stop", broker.stop), ("kill -9", broker.kill)):
            ending = time.monotonic()
            end()
            stopping = time.monotonic() - ending
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
        broker.kill()


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
    print(
        f"{'start':18}{'ready':>10}{'processor':>11}{'at ready':>12}"
        f"{'after load':>12}{'highest':>12}{'load':>13}"
    )
    good = True
    for label, seconds, used, resident, loaded, highest, rate in rows:
        line = f"{label:18}{seconds:>8.2f} s{used:>9.2f} s"
        line += "".join(f"{size:>8.0f} MiB" for size in (resident, loaded, highest))
        print(line + (f"{rate:>11,.0f}/s" if rate else ""))
        good = good and seconds <= arguments.start_limit and highest <= arguments.memory_limit
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
