#!/usr/bin/env python3
"""Lets much traffic go by a message that is due in a year, and measures the disk.

The real program runs on a temporary directory with a limit on the size of its log. One notification is
scheduled a year ahead; then pulse-bench sends as much as --traffic says, and every second all files of
the data directory are counted. In the end the broker is killed and started again, and:

    - the disk never took more than the limit, a tenth of it, and one segment;
    - the notification is still there, scheduled, as it was handed in, after a restart too;
    - its idempotency key still finds it;
    - it can be cancelled, twice with the same answer, and is cancelled after another restart;
    - the ledger balances.

    retention-test.py [--traffic 2GiB] [--limit 256MiB] [--segment 16MiB] [--rate N]
                      [--bin .build/release]

Exit code 0 when all holds, 1 when something does not, 2 when the test itself could not run.
"""

import argparse
import datetime
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
STATES = ("scheduled", "ready", "held", "leased", "delivered", "dead", "cancelled")


def size(text):
    match = re.fullmatch(r"(\d+)(KiB|MiB|GiB)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is no size, as 256MiB is one")
    return int(match[1]) * UNITS[match[2]]


def mib(count):
    return f"{count / (1 << 20):.1f} MiB"


def disk_bytes(root):
    """What the files take, by their blocks, in log and state store."""
    taken = {"log": 0, "state": 0}
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            taken["state" if "/state" in folder else "log"] += status.st_blocks * 512
    return taken


class Broker:
    def __init__(self, binary, data, options):
        self.binary, self.data, self.options = binary, data, options
        self.process = None

    def start(self):
        configuration = self.data.parent / "pulse.yaml"
        configuration.write_text(
            "storage:\n"
            f"  segment_bytes: {self.options.segment}\n"
            f"  retention_bytes: {self.options.limit}\n"
        )
        self.process = subprocess.Popen(
            [self.binary, "serve", "--dev", "--config", configuration, "--data", self.data,
             "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"],
            stdout=subprocess.DEVNULL,
            stderr=open(self.data.parent / "log", "w"),
            env=dict(os.environ, SWIFT_BACKTRACE="enable=no"),
        )
        deadline = time.monotonic() + 30
        while True:
            text = (self.data.parent / "log").read_text()
            found = re.search(r"ready http=(\S+):(\d+) native=(\S+)", text)
            if found:
                break
            if self.process.poll() is not None or time.monotonic() > deadline:
                print(text[-2000:], file=sys.stderr)
                raise SystemExit(2)
            time.sleep(0.02)
        self.host, self.port, self.native = found[1], int(found[2]), found[3]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, json.loads(text) if text.startswith("{") else text

    def backlog(self):
        counts = self.ask("GET", "/v1/status")[1]["counts"]
        return sum(value for name, value in counts.items() if name.endswith((".ready", ".leased")))

    def log_end(self):
        found = re.search(r"^pulse_log_end_bytes (\d+)", self.ask("GET", "/metrics")[1], re.M)
        return int(found[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--traffic", type=size, default=2 << 30)
    parser.add_argument("--limit", type=size, default=256 << 20)
    parser.add_argument("--segment", type=size, default=16 << 20)
    parser.add_argument("--rate", type=int, default=40000, help="notifications a second")
    parser.add_argument("--bin", default=".build/release")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="pulse-retention-"))
    broker = Broker(f"{options.bin}/pulse", root / "data", options)
    failures = []

    def expect(holds, sentence):
        if not holds:
            failures.append(sentence)

    try:
        broker.start()
        due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=365)
        far = {
            "to": {"user": "far", "email": "far@example.org"}, "channel": "email", "lane": "normal",
            "content": {"subject": "In a year", "text": "It was a good year."},
            "idempotency_key": "in-a-year", "deliver_at": due.isoformat(),
        }
        status, answer = broker.ask("POST", "/v1/notifications", far)
        if status != 202:
            print(f"the notification was refused: {status} {answer}", file=sys.stderr)
            raise SystemExit(2)
        name = answer["id"]
        before = broker.ask("GET", f"/v1/notifications/{name}")[1]
        began, start = time.monotonic(), broker.log_end()
        samples = []
        while broker.log_end() - start < options.traffic:
            bench = subprocess.Popen(
                [f"{options.bin}/pulse-bench", "accept", "--native", "--url", broker.native,
                 "--rate", str(options.rate), "--batch", "16", "--seconds", "4"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
            while bench.poll() is None:
                taken = disk_bytes(broker.data)
                taken["by reason"] = broker.ask("GET", "/v1/disk")[1]
                samples.append((time.monotonic() - began, broker.log_end() - start, taken))
                if samples[-1][1] >= options.traffic:
                    bench.terminate()
                time.sleep(0.5)
            if bench.returncode in (1, 2, 75):
                print(bench.stderr.read().decode(), file=sys.stderr)
                raise SystemExit(2)
            # A backlog is never dropped, so there must be none: deliveries catch up.
            while broker.backlog() > 20_000:
                time.sleep(0.1)
        for _ in range(10):
            taken = disk_bytes(broker.data)
            taken["by reason"] = broker.ask("GET", "/v1/disk")[1]
            samples.append((time.monotonic() - began, broker.log_end() - start, taken))
            time.sleep(0.5)
        seconds, written, _ = samples[-1]
        most = max(taken["log"] + taken["state"] for _, _, taken in samples)
        bound = options.limit + options.limit // 10 + options.segment
        expect(most <= bound, f"the disk took {mib(most)}, more than {mib(bound)}")
        for stop in ("as it runs", "after a kill"):
            if stop == "after a kill":
                broker.kill()
                broker.start()
            status, now = broker.ask("GET", f"/v1/notifications/{name}")
            expect(status == 200 and now == before, f"{stop} the notification is {status} {now}")
        status, answer = broker.ask("POST", "/v1/notifications", far)
        expect(status == 200 and answer["id"] == name, f"its key finds {status} {answer}")
        for _ in range(2):
            status, answer = broker.ask("POST", f"/v1/notifications/{name}/cancel")
            expect(
                (status, answer.get("status")) == (200, "cancelled"),
                f"cancelling answered {status} {answer}",
            )
        broker.kill()
        broker.start()
        status, now = broker.ask("GET", f"/v1/notifications/{name}")
        expect(
            status == 200 and now["status"] == "cancelled",
            f"after cancelling it is {status} {now}",
        )
        counts = broker.ask("GET", "/v1/status")[1]["counts"]
        expect(counts["email.cancelled"] == 1, "one is counted as cancelled")
        for channel in ("email", "sms", "push", "webhook"):
            states = sum(counts[f"{channel}.{state}"] for state in STATES)
            expect(counts[f"{channel}.accepted"] == states, f"{channel} does not balance")
        steps = max(1, len(samples) // 12)
        columns = ("seconds", "log written", "log on disk", "state store", "open", "waiting", "behind")
        print(" ".join(f"{column:>12}" for column in columns), " pin")
        for at, end, taken in samples[::steps]:
            reasons, pin = taken["by reason"]["bytes"], taken["by reason"]["pin"]
            waiting = reasons["waiting_for_checkpoint"] + reasons["waiting_for_release"]
            row = (end, taken["log"], taken["state"], reasons["open"], waiting, reasons["behind"])
            what = f"{pin['reason']}, {pin['state']}, {pin['group']}" if pin else "-"
            print(f"{at:12.1f}", " ".join(f"{mib(count):>12}" for count in row), "", what)
        accepted = sum(counts[f"{channel}.accepted"] for channel in ("email", "sms", "push", "webhook"))
        print(
            f"{accepted} notifications, {mib(written)} of log in {seconds:.0f} s;"
            f" most on the disk {mib(most)}, the limit {mib(options.limit)}, allowed {mib(bound)}"
        )
    finally:
        if broker.process and broker.process.poll() is None:
            broker.kill()
        shutil.rmtree(root, ignore_errors=True)
    for sentence in failures:
        print(f"FAILED: {sentence}")
    print("failed" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
