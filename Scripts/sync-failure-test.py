#!/usr/bin/env python3
"""Lets fdatasync fail under the real program, at a random time under load, and checks what it does.

After a failed sync the kernel has marked the pages clean: a second sync would report success for what is
not on the disk. So the broker must end at once with code 70, without answering anybody, and without a
second sync of that file; the next start trusts only what it reads back from the disk.

Each run starts the broker under libfiu (Debian: fiu-utils), which makes each fdatasync fail with a small
probability, and hands in notifications until the process ends. A start without faults then has to know
every one that was acknowledged. One more run, where strace is installed, makes one chosen fdatasync of the
kernel's fail and reads in the trace that its descriptor is never synced again.

    sync-failure-test.py [--runs 100] [--binary .build/release/pulse] [--seed N]

Exit code 0 when all holds, 1 when something does not, 2 when the test could not run. Needs nothing but
the standard library and fiu-run.
"""

import argparse
import http.client
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time

from broker import Broker, Failed

PRODUCERS = 4
# Longer than any run should need: with one sync in a hundred failing, a second is enough.
SECONDS_MAX = 20
# Of what the broker said, told when something is wrong.
LINES = 100


def produce(broker, number, accepted, lock):
    """Hands in one notification after the other until the broker is gone."""
    connection = broker.connect()
    count = 0
    while True:
        count += 1
        body = {
            "to": {"user": f"u{number}", "email": "a@example.org"},
            "content": {"subject": "s", "text": "x" * (count * 37 % 3000)},
        }
        try:
            status, answer = connection.ask("POST", "/v1/notifications", body)
        except (OSError, http.client.HTTPException):
            return
        if status == 202:
            with lock:
                accepted.append(answer["id"])


def load_until_the_end(broker):
    """What was acknowledged before the process ended, and how it ended."""
    accepted = []
    lock = threading.Lock()
    if broker.try_to_start():
        workers = [
            threading.Thread(target=produce, args=(broker, number, accepted, lock), daemon=True)
            for number in range(PRODUCERS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=SECONDS_MAX)
    code = broker.wait(SECONDS_MAX)
    if code is None:
        raise Failed("the broker did not end although its syncs fail")
    return accepted, code


def check_after(binary, data, accepted):
    """Starts without faults; the number of acknowledged notifications that are gone."""
    broker = Broker(binary, data)
    try:
        if not broker.try_to_start():
            raise Failed(f"the start after it does not succeed:\n{broker.said(LINES)}")
        connection = broker.connect()
        lost = sum(connection.ask("GET", f"/v1/notifications/{id}")[0] != 200 for id in accepted)
        if broker.stop() != 0:
            raise Failed(f"the clean stop after it fails:\n{broker.said(LINES)}")
        return lost
    finally:
        broker.kill()


def run_once(binary, folder, number, draw):
    """One broker, one failure. Answers how many were acknowledged, and whether it got ready at all."""
    data = os.path.join(folder, f"data-{number}")
    probability = draw.choice([0.002, 0.005, 0.01, 0.03])
    fault = f"enable_random name=posix/io/sync/fdatasync,probability={probability},failinfo=5"
    broker = Broker(binary, data, wrapper=["fiu-run", "-x", "-c", fault])
    try:
        accepted, code = load_until_the_end(broker)
        if code != 70:
            raise Failed(f"exit code {code}, not 70:\n{broker.said(LINES)}")
        was_ready = broker.start_seconds is not None
        reason = next((line for line in reversed(broker.output) if line), "")
        if "sync" not in broker.said(LINES) and "I/O error" not in reason:
            raise Failed(f"it does not say why:\n{broker.said(LINES)}")
    finally:
        broker.kill()
    lost = check_after(binary, data, accepted)
    if lost:
        raise Failed(f"{lost} of {len(accepted)} acknowledged notifications are gone")
    shutil.rmtree(data)
    return len(accepted), was_ready


def check_trace(trace):
    """Reads what strace wrote: how many syncs failed. Throws when a failed descriptor is synced again.

    A call that another thread's interrupts is told in two lines, of which only the first has its
    descriptor and only the second its end:

        71 fdatasync(9 <unfinished ...>
        70 close(12) = 0
        71 <... fdatasync resumed>) = -1 EIO (Input/output error) (INJECTED)
    """
    failures = 0
    failed = set()
    begun = {}
    with open(trace, encoding="utf-8", errors="replace") as file:
        for line in file:
            thread = line.split(maxsplit=1)[0]
            call = re.search(r"fdatasync\((\d+)", line)
            if call:
                begun[thread] = call.group(1)
                if call.group(1) in failed:
                    raise Failed(f"descriptor {call.group(1)} was synced again: {line.strip()}")
            if "INJECTED" in line and thread in begun:
                failed.add(begun[thread])
                failures += 1
            closed = re.search(r"close\((\d+)", line)
            if closed:
                failed.discard(closed.group(1))
    return failures


def run_traced(binary, folder, when):
    """One fdatasync of the kernel's fails; its descriptor must not be synced again."""
    data = os.path.join(folder, f"data-traced-{when}")
    trace = os.path.join(folder, "trace")
    fault = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=fdatasync,openat,close,exit_group"]
    fault += ["-e", f"inject=fdatasync:error=EIO:when={when}+"]
    broker = Broker(binary, data, wrapper=fault)
    try:
        accepted, code = load_until_the_end(broker)
    finally:
        broker.kill()
    if code != 70:
        raise Failed(f"traced: exit code {code}, not 70:\n{broker.said(LINES)}")
    failures = check_trace(trace)
    if failures == 0:
        raise Failed(f"traced: no sync failed:\n{broker.said(LINES)}")
    lost = check_after(binary, data, accepted)
    if lost:
        raise Failed(f"traced: {lost} of {len(accepted)} acknowledged notifications are gone")
    return len(accepted)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=".build/release/pulse")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.binary)
    if not os.access(binary, os.X_OK):
        print(f"sync-failure-test: there is no {binary}: make release", file=sys.stderr)
        return 2
    if not shutil.which("fiu-run"):
        print("sync-failure-test: needs fiu-run (Debian: fiu-utils)", file=sys.stderr)
        return 2
    draw = random.Random(arguments.seed)
    folder = tempfile.mkdtemp(prefix="pulse-sync-")
    began = time.monotonic()
    runs = total = ready = 0
    try:
        while runs < arguments.runs:
            accepted, was_ready = run_once(binary, folder, runs, draw)
            runs += 1
            total += accepted
            ready += was_ready
        print(
            f"{arguments.runs} runs (seed {arguments.seed}): exit 70 each time, {ready} of them after "
            f"it had served; {total} acknowledged, 0 lost; {time.monotonic() - began:.0f} s"
        )
        if not shutil.which("strace"):
            print("sync-failure-test: the traced run is left out: needs strace", file=sys.stderr)
        else:
            accepted = run_traced(binary, folder, 300)
            print(f"traced: the failed descriptor is not synced again; {accepted} acknowledged, 0 lost")
        return 0
    except Failed as failure:
        print(f"FAILED after {runs} runs (seed {arguments.seed}): {failure}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
