#!/usr/bin/env python3
"""Lets much traffic go by a message that is due in a year, and measures the disk.

The real program runs on a temporary directory with a limit on the size of its log. One notification is
scheduled a year ahead; then pulse-bench sends as much as --traffic says, and every second all files of
the data directory are counted. In the end the broker is killed and started again, and:

    - log and state never took more than the limit and a tenth of it;
    - the notification is still there, scheduled, as it was handed in, after a restart too;
    - its idempotency key still finds it;
    - it can be cancelled, twice with the same answer, and is cancelled after another restart;
    - the ledger balances;
    - what is on the disk then is what spec/03-storage.md says, by the reader in Tests.

    retention-test.py [--traffic 2GiB] [--limit 256MiB] [--segment 16MiB] [--rate N]
                      [--bin .build/release]

Exit code 0 when all holds, 1 when something does not, 2 when the test itself could not run.
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from broker import Broker, Failed

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
    """What the files take, by their blocks, in log and state store; and the ballast, which is for a full
    disk and no part of what the limit is about."""
    taken = {"log": 0, "state": 0, "ballast": 0}
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                status = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            part = "ballast" if name == "ballast" else "state" if "/state" in folder else "log"
            taken[part] += status.st_blocks * 512
    return taken


def backlog(broker):
    counts = broker.ask("GET", "/v1/status")[1]["counts"]
    return sum(value for name, value in counts.items() if name.endswith((".ready", ".leased")))


def log_end(broker):
    return broker.metrics()["pulse_log_end_bytes"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--traffic", type=size, default=2 << 30)
    parser.add_argument("--limit", type=size, default=256 << 20)
    parser.add_argument("--segment", type=size, default=16 << 20)
    parser.add_argument("--rate", type=int, default=40000, help="notifications a second")
    parser.add_argument("--bin", default=".build/release")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="pulse-retention-"))
    configuration = root / "pulse.yaml"
    configuration.write_text(
        f"storage:\n  segment_bytes: {options.segment}\n  retention_bytes: {options.limit}\n"
    )
    broker = Broker(f"{options.bin}/pulse", root / "data", ["--dev", "--config", configuration])
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
            raise Failed(f"the notification was refused: {status} {answer}")
        name = answer["id"]
        before = broker.ask("GET", f"/v1/notifications/{name}")[1]
        began, start = time.monotonic(), log_end(broker)
        samples = []
        while log_end(broker) - start < options.traffic:
            bench = subprocess.Popen(
                [f"{options.bin}/pulse-bench", "accept", "--native", "--url", "%s:%d" % broker.native,
                 "--rate", str(options.rate), "--batch", "16", "--seconds", "4"],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
            while bench.poll() is None:
                taken = disk_bytes(broker.data)
                taken["by reason"] = broker.ask("GET", "/v1/disk")[1]
                samples.append((time.monotonic() - began, log_end(broker) - start, taken))
                if samples[-1][1] >= options.traffic:
                    bench.terminate()
                time.sleep(0.5)
            if bench.returncode in (1, 2, 75):
                raise Failed(bench.stderr.read().decode())
            # A backlog is never dropped, so there must be none: deliveries catch up.
            while backlog(broker) > 20_000:
                time.sleep(0.1)
        for _ in range(10):
            taken = disk_bytes(broker.data)
            taken["by reason"] = broker.ask("GET", "/v1/disk")[1]
            samples.append((time.monotonic() - began, log_end(broker) - start, taken))
            time.sleep(0.5)
        seconds, written, _ = samples[-1]
        most = max(taken["log"] + taken["state"] for _, _, taken in samples)
        bound = options.limit + options.limit // 10
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
        broker.kill()
        reader = pathlib.Path(__file__).resolve().parent.parent / "Tests/reader.py"
        read = subprocess.run([sys.executable, reader, broker.data], capture_output=True, text=True)
        expect(read.returncode == 0, f"the reader of Tests finds {read.stdout} {read.stderr}")
        print(read.stdout.rstrip())
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
            f" most on the disk {mib(most)} and {mib(samples[-1][2]['ballast'])} of ballast,"
            f" the limit {mib(options.limit)}, allowed {mib(bound)}"
        )
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 2
    finally:
        broker.kill()
        shutil.rmtree(root, ignore_errors=True)
    for sentence in failures:
        print(f"FAILED: {sentence}")
    print("failed" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
