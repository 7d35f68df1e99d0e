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
import os
import random
import shutil
import sys
import tempfile
import textwrap
import time

from broker import Broker, Failed
from crash_checks import STATES, Verdicts, check_log, check_promises
from crash_load import Load
from sink import Sink
from wire import Native, notification

START_SECONDS_MAX = 2.0
KILLING_SECONDS_MAX = 240
# For each kill, when there are many of them.
KILL_SECONDS_MAX = 5
RESTING_SECONDS_MAX = 90
# How full the active segment is when its recovery is measured, of 64 MiB.
FULL_BYTES = 61 << 20

CONFIGURATION = """providers:
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


class Victim(Broker):
    """A broker that is killed, and remembers how long those starts took that were not cut short."""

    def __init__(self, binary, folder, sink):
        config = os.path.join(folder, "pulse.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(smtp=sink.smtp))
        super().__init__(binary, os.path.join(folder, "data"), ["--dev", "--config", config])
        self.starts = []

    def start(self):
        self.starts.append(super().start())

    def middle_and_longest(self):
        starts = sorted(self.starts)
        return starts[len(starts) // 2], starts[-1]


class Test:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.random = random.Random(arguments.seed)
        self.folder = folder
        self.verdicts = Verdicts()
        self.summary = []
        self.sink = self.broker = self.load = None

    def run(self):
        self.sink = Sink(self.folder)
        self.broker = Victim(self.arguments.binary, self.folder, self.sink)
        self.broker.start()
        self.put_templates()
        self.load = Load(self.broker, self.sink, self.arguments.seed)
        self.load.start()
        self.kill_again_and_again()
        self.verdicts.check("every request was answered in the end", self.load.stop())
        self.wait_for_rest()
        # Once more with a clean stop in between: what rests must still be there.
        code = self.broker.stop()
        self.verdicts.check("SIGTERM ends the broker cleanly", code == 0, f"exit code {code}")
        self.broker.start()
        rows = check_promises(self.verdicts, self.broker, self.load, self.sink)
        middle, longest = self.broker.middle_and_longest()
        self.verdicts.check(
            f"every start took at most {START_SECONDS_MAX:.0f} s",
            longest <= START_SECONDS_MAX,
            f"{longest:.2f} s",
        )
        self.summary.append(("start, median and longest", f"{middle:.3f} s, {longest:.3f} s"))
        self.summary += rows
        self.broker.stop()
        self.summary += check_log(self.verdicts, self.broker.data, self.load)
        if self.arguments.full_segment:
            self.recover_full_segment()

    def put_templates(self):
        for channel in ["email", "webhook"]:
            body = {"channel": channel, "subject": "crash", "text": "hello {{name}}"}
            status, answer = self.broker.ask("PUT", f"/v1/templates/crash-{channel}", body)
            if status not in (200, 201):
                raise Failed(f"a template was refused: {status} {answer!r}")

    def kill_again_and_again(self):
        began = time.monotonic()
        kills = early_kills = 0
        while kills < self.arguments.kills:
            limit = max(KILLING_SECONDS_MAX, KILL_SECONDS_MAX * self.arguments.kills)
            if time.monotonic() - began > limit:
                self.verdicts.check("the kills fit into their time", False, f"{kills} were done")
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
                early_kills += 1
            self.broker.start()
        self.killing_seconds = time.monotonic() - began
        self.summary = [
            ("seed", self.arguments.seed),
            ("kills", f"{kills}, of them {early_kills} during start-up"),
        ]

    def wait_for_rest(self):
        began = time.monotonic()
        waiting = None
        while time.monotonic() - began < RESTING_SECONDS_MAX:
            sums = self.broker.metrics()
            waiting = {state: sums["pulse_notifications", state] for state in STATES}
            if not any(waiting.values()):
                break
            time.sleep(0.3)
        seconds = f"{self.killing_seconds:.0f} s, {time.monotonic() - began:.0f} s"
        self.summary.append(("killing, coming to rest", seconds))
        self.verdicts.check("nothing waits for ever", not any(waiting.values()), f"{waiting}")
        time.sleep(0.5)

    def recover_full_segment(self):
        folder = os.path.join(self.folder, "full")
        os.mkdir(folder)
        self.broker = Victim(self.arguments.binary, folder, self.sink)
        self.broker.start()
        native, count = Native(self.broker.native, "crash-test"), 0
        while (end := self.broker.metrics()["pulse_log_end_bytes"]) < FULL_BYTES:
            for _ in range(10 if end < FULL_BYTES - (1 << 20) else 1):
                records = []
                for _ in range(100):
                    user = f"user-{count % 5000}"
                    records.append(notification(user, "+4915112345678", "hello " * 12, f"full-{count}"))
                    count += 1
                native.produce("notify.sms", records)
        self.broker.starts.clear()
        for _ in range(10):
            self.broker.kill()
            self.broker.start()
        end = self.broker.metrics()["pulse_log_end_bytes"]
        names = os.listdir(os.path.join(self.broker.data, "shard-0", "log"))
        segments = sum(name.endswith(".seg") for name in names)
        self.verdicts.check(
            "the active segment was nearly full", segments == 1 and end >= FULL_BYTES, f"{end}"
        )
        middle, longest = self.broker.middle_and_longest()
        self.verdicts.check(
            f"a full segment is recovered in {START_SECONDS_MAX:.0f} s",
            longest <= START_SECONDS_MAX,
            f"{longest:.2f} s",
        )
        self.broker.stop()
        self.summary.append(("full segment", f"{end / (1 << 20):.1f} MiB, {count} notifications"))
        self.summary.append(("its recovery, median and longest", f"{middle:.3f} s, {longest:.3f} s"))

    def end(self):
        """Ends every process that was started here."""
        if self.load:
            self.load.giving_up.set()
        for one in (self.broker, self.sink):
            if one:
                one.kill()

    def report(self):
        width = max(len(name) for name, _ in self.summary)
        for name, value in self.summary:
            print(f"  {name:<{width}}  {value}")
        print()
        return self.verdicts.report()


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
        code = 0 if test.report() else 1
    except Failed as problem:
        print(f"crash-test: {problem}")
        code = 1 if test.broker and test.broker.starts else 2
    finally:
        test.end()
        if code != 0 and test.broker:
            print("\nthe broker's last lines:")
            print(textwrap.indent(test.broker.said(40), "  "))
        if arguments.keep or code != 0:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
