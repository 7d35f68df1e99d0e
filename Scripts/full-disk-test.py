#!/usr/bin/env python3
"""Fills a small disk under the real program, and checks what it does until there is room again.

A 200 MB file system of its own (ext4 in a file; tmpfs where there are no loop devices) is mounted in a
private mount namespace. Producers over HTTP hand in large mail and small pushes, each with a key, and one
over the native protocol small pushes; a native consumer takes the pushes and acknowledges them, slowly, so
that there is always something left to acknowledge. Then, one after the other:

    - the log fills the disk: new work is refused, over HTTP with 503 disk_full and Retry-After, over the
      native protocol with the same code and the word that it may be tried again;
    - a file that is not ours takes every byte that is left; acknowledgements are still answered;
    - the broker is stopped, and killed, and started on the full disk each time; acknowledgements are
      still answered;
    - every byte is taken again, so that the start's own reserve is gone too, and the broker is killed:
      it starts, or refuses with exit code 75 and a sentence; nothing ends by a signal;
    - the file goes: new work is taken again within five seconds;
    - the broker stops cleanly and starts: every acknowledged notification is there, and what the
      consumer acknowledged is not delivered to it again.

    full-disk-test.py [--binary .build/release/pulse] [--megabytes 200]

Exit code 0 when all holds, 1 when something does not, 2 when the test could not run (needs root). Needs
nothing but the standard library.
"""

import argparse
import base64
import collections
import http.client
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

from broker import Broker, Failed
from wire import (
    ACKNOWLEDGE, CREDIT, DELIVERY, DISK_FULL, DRAINING, SUBSCRIBE,
    Native, Refused, notification, string16,
)

RESUME_SECONDS_MAX = 5.0
# How often the broker looks at the disk: spec/03-storage.md, "Little room".
LOOK_SECONDS = 1.0
# Acknowledgements that must be answered in each stage of the full disk.
ACKNOWLEDGED_MIN = 50

# --- The disk ------------------------------------------------------------------------------------


class Disk:
    """A small file system, and a file on it that takes what is left."""

    def __init__(self, folder, megabytes):
        self.place = os.path.join(folder, "disk")
        self.image = os.path.join(folder, "image")
        os.mkdir(self.place)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        self.kind = "ext4"
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        made = subprocess.run(["mkfs.ext4", "-q", self.image], **quiet).returncode == 0
        if not made or subprocess.run(
            ["mount", "-o", "loop", self.image, self.place], **quiet
        ).returncode:
            self.kind = "tmpfs"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", self.place], check=True
            )
        self.eater = os.path.join(self.place, "not-ours")

    def free(self):
        status = os.statvfs(self.place)
        return status.f_bavail * status.f_frsize

    def take(self, size=None):
        """Writes the file longer by `size` bytes, or until nothing is left."""
        with open(self.eater, "ab", buffering=0) as file:
            left = size if size is not None else 1 << 40
            for piece in (1 << 20, 4096, 512):
                block = b"\xa5" * piece
                while left > 0:
                    try:
                        written = file.write(block[: min(piece, left)])
                    except OSError:
                        break
                    left -= written
                    if written < min(piece, left + written):
                        break

    def give_back(self):
        os.unlink(self.eater)

    def unmount(self):
        subprocess.run(["umount", "-l", self.place], check=False)


# --- The load ------------------------------------------------------------------------------------


class Load:
    """What the producers and the consumer know together. The lock guards everything."""

    def __init__(self, broker):
        self.broker = broker
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.accepted = {}
        self.refusals = collections.Counter()
        self.without_retry_after = 0
        self.last_accepted = 0.0
        self.acknowledged = set()
        self.delivered_again = set()
        # (code, whether it may be tried again) of what was refused over the native protocol.
        self.native_refusals = collections.Counter()
        self.mistakes = []

    def note_accepted(self, key, id):
        with self.lock:
            self.accepted[key] = id
            self.last_accepted = time.monotonic()

    def note_native(self, refusal):
        with self.lock:
            self.native_refusals[refusal.code, refusal.is_retryable] += 1

    def note_mistake(self, failure):
        with self.lock:
            self.mistakes.append(str(failure))


class Producer(threading.Thread):
    """Hands in one thing after the other over HTTP, each until it is taken."""

    def __init__(self, number, load):
        super().__init__(daemon=True)
        self.number = number
        self.load = load
        self.connection = None

    def run(self):
        count = 0
        while not self.load.stopping.is_set():
            if not self.load.broker.is_up.wait(0.1):
                continue
            count += 1
            key = f"p{self.number}-{count}"
            while not self.load.stopping.is_set():
                try:
                    if self.hand_in(key, is_large=count % 8 == 0):
                        break
                    time.sleep(0.1)
                except (OSError, http.client.HTTPException):
                    self.connection = None
                    time.sleep(0.05)
                except Failed as failure:
                    self.load.note_mistake(failure)
                    return

    def hand_in(self, key, is_large):
        if not self.connection:
            self.connection = self.load.broker.connect()
        if is_large:
            # What cannot be compressed fills a disk.
            text = base64.b64encode(os.urandom(300_000)).decode()
            content = {"subject": "large", "text": text}
            body = {"to": {"user": key, "email": "a@example.org"}, "content": content}
        else:
            body = {"to": {"user": key, "push_token": "t" * 40}, "channel": "push"}
            body["content"] = {"text": "small"}
        body["idempotency_key"] = key
        status, answer = self.connection.ask("POST", "/v1/notifications", body)
        if status in (200, 202):
            self.load.note_accepted(key, answer["id"])
            return True
        with self.load.lock:
            self.load.refusals[status, answer.get("code")] += 1
            if status == 503 and "Retry-After" not in self.connection.answer_headers:
                self.load.without_retry_after += 1
        return False


class NativeProducer(Producer):
    """Hands in small pushes over the native protocol."""

    def hand_in(self, key, is_large):
        try:
            if not self.connection:
                self.connection = Native(self.load.broker.native, "full-disk-test")
            [id] = self.connection.produce("notify.push", [notification(key, "t" * 40, "small", key)])
        except Refused as refusal:
            self.load.note_native(refusal)
            return False
        self.load.note_accepted(key, id)
        return True


class Consumer(threading.Thread):
    """Takes pushes over the native protocol and acknowledges one after the other."""

    def __init__(self, load):
        super().__init__(daemon=True)
        self.load = load
        self.pause = 0.004

    def run(self):
        while not self.load.stopping.is_set():
            if not self.load.broker.is_up.wait(0.1):
                continue
            try:
                self.consume(Native(self.load.broker.native, "full-disk-test"))
            except OSError:
                time.sleep(0.05)
            except Refused as refusal:
                self.load.note_native(refusal)
                time.sleep(0.05)
            except Failed as failure:
                self.load.note_mistake(failure)
                return

    def consume(self, native):
        body = struct.pack("<I", 1) + string16("notify.push") + string16("full-disk")
        native.ask(SUBSCRIBE, body + struct.pack("<BIIB", 0, 20, 5000, 31))
        native.socket.settimeout(1)
        while not self.load.stopping.is_set():
            try:
                operation, frame = native.next()
            except TimeoutError:
                continue
            if operation != DELIVERY:
                continue
            for id, token in deliveries(frame):
                with self.load.lock:
                    if id in self.load.acknowledged:
                        self.load.delivered_again.add(id)
                self.acknowledge(native, token)
                with self.load.lock:
                    self.load.acknowledged.add(id)
                native.send(CREDIT, struct.pack("<II", 1, 1))
                time.sleep(self.pause)

    def acknowledge(self, native, token):
        stream, offset, attempt, lease = token
        run = struct.pack("<IqHQBH", stream, offset, attempt, lease, 0, 1)
        native.socket.settimeout(10)
        answer = native.ask(ACKNOWLEDGE, struct.pack("<IH", 1, 1) + run)
        native.socket.settimeout(1)
        settled, stale = struct.unpack_from("<II", answer)
        if settled != 1 or stale:
            raise ConnectionError("the lease was over")


def deliveries(frame):
    """(identifier, token) of each delivery."""
    _, count = struct.unpack_from("<IH", frame)
    place = 6
    for _ in range(count):
        token = struct.unpack_from("<IqHQ", frame, place)
        id = frame[place + 22 : place + 38]
        place += 46
        (length,) = struct.unpack_from("<H", frame, place)
        place += 2 + length
        (length,) = struct.unpack_from("<I", frame, place)
        place += 4 + length
        yield id, token


# --- The story -----------------------------------------------------------------------------------


class Test:
    def __init__(self, arguments, folder):
        self.disk = Disk(folder, arguments.megabytes)
        self.broker = Broker(arguments.binary, os.path.join(self.disk.place, "data"))
        self.load = Load(self.broker)
        self.began = time.monotonic()
        self.full_since = None

    def say(self, text):
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def wait(self, what, seconds, condition):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return
            code = self.broker.process.poll()
            if code is not None:
                raise Failed(f"the broker ended with {code} while waiting for {what}")
            time.sleep(0.02)
        raise Failed(f"{what}: not within {seconds} s")

    def expect_acknowledgements(self, when):
        before = len(self.load.acknowledged)
        self.wait(
            f"{ACKNOWLEDGED_MIN} acknowledgements {when}",
            15,
            lambda: len(self.load.acknowledged) >= before + ACKNOWLEDGED_MIN,
        )
        self.say(f"{len(self.load.acknowledged) - before} acknowledgements answered {when}")

    def is_full_for_good(self):
        """Whether new work was refused for longer than the broker goes without a look at the disk.

        Before that it may say for a moment that there is room: it counts a segment it has just made, and
        also the room that this one took since the last look.
        """
        if self.broker.ask("GET", "/readyz")[0] == 200:
            self.full_since = None
            return False
        self.full_since = self.full_since or time.monotonic()
        return (
            self.load.refusals[503, "disk_full"] > 0
            and time.monotonic() - self.full_since > 1.5 * LOOK_SECONDS
        )

    def expect_refusal(self, when):
        status, text = self.broker.ask("GET", "/readyz")
        if status != 503 or text.strip() != "disk_full":
            raise Failed(f"{when}: /readyz says {status} {text!r}")

    def run(self):
        self.say(f"{self.disk.kind}, {self.disk.free() >> 20} MiB free")
        # What somebody else has on the disk, and will remove one day.
        self.disk.take(self.disk.free() // 3)
        if not self.broker.try_to_start():
            raise Failed("the broker does not start on an empty disk")
        workers = [Producer(number, self.load) for number in range(4)]
        workers += [NativeProducer(4, self.load), Consumer(self.load)]
        for worker in workers:
            worker.start()
        self.wait("a full disk", 120, self.is_full_for_good)
        self.expect_refusal("when the log filled the disk")
        self.say(f"full: {len(self.load.accepted)} accepted, {self.disk.free() >> 20} MiB free")
        self.expect_acknowledgements("while it is full")

        self.disk.take()
        self.say(f"every byte taken: {self.disk.free()} free")
        self.expect_acknowledgements("with no byte left")
        self.expect_refusal("with no byte left")

        if (code := self.broker.stop()) != 0:
            raise Failed(f"a clean stop on the full disk ended with {code}")
        self.disk.take()
        if not self.broker.try_to_start():
            raise Failed("the broker does not start on the full disk, although it has its ballast")
        self.say("stopped and started on the full disk")
        self.expect_acknowledgements("after the stop")
        self.broker.kill()
        if not self.broker.try_to_start():
            raise Failed("the broker does not start on the full disk after a kill")
        self.say("killed, and started on the full disk")
        self.expect_acknowledgements("after the restart")
        self.expect_refusal("after the restart")

        self.disk.take()
        self.expect_acknowledgements("with no byte left, again")
        self.broker.kill()
        started = self.broker.try_to_start()
        code = self.broker.process.returncode
        if not started and code != 75:
            raise Failed(f"started without any room it ended with {code}, not 75")
        self.say("killed, and started without any room: " + ("ready" if started else "exit 75"))

        before = len(self.load.accepted)
        gave_back = time.monotonic()
        self.disk.give_back()
        if not started and not self.broker.try_to_start():
            raise Failed("the broker does not start when there is room again")
        self.wait("new work is taken", 20, lambda: len(self.load.accepted) > before)
        took = self.load.last_accepted - gave_back
        if took > RESUME_SECONDS_MAX:
            raise Failed(f"new work was taken only {took:.1f} s after there was room")
        self.say(f"{took:.1f} s after the file is gone new work is taken")
        self.wait(
            "no rows wait",
            15,
            lambda: self.broker.metrics()["pulse_store_waiting_bytes"] == 0,
        )
        self.wait("ballast again", 10, lambda: os.path.exists(self.broker.data + "/ballast"))
        time.sleep(0.5)
        self.load.stopping.set()
        for worker in workers:
            worker.join(timeout=15)

        if (code := self.broker.stop()) != 0:
            raise Failed(f"a clean stop ended with {code}")
        if not self.broker.try_to_start():
            raise Failed("the broker does not start after a clean stop")
        self.check_ends()
        if (code := self.broker.stop()) != 0:
            raise Failed(f"the last stop ended with {code}")

    def check_ends(self):
        connection = self.broker.connect()
        lost = sum(
            connection.ask("GET", f"/v1/notifications/{id}")[0] != 200
            for id in self.load.accepted.values()
        )
        self.say(f"{len(self.load.accepted)} acknowledged notifications, {lost} lost")
        if lost:
            raise Failed(f"{lost} acknowledged notifications are gone")
        if self.load.without_retry_after:
            raise Failed(f"{self.load.without_retry_after} refusals without Retry-After")
        others = {key: count for key, count in self.load.refusals.items() if key[1] != "disk_full"}
        if others:
            raise Failed(f"refusals other than disk_full: {others}")
        refusals = dict(self.load.native_refusals)
        if not refusals.pop((DISK_FULL, True), 0):
            raise Failed("the native producer was never refused with disk_full")
        # A broker that is stopping takes nothing new, and says so to who asks in its last moment.
        refusals.pop((DRAINING, True), 0)
        if refusals:
            raise Failed(f"native refusals other than disk_full, (code, retryable): {refusals}")
        if self.load.mistakes:
            raise Failed("; ".join(self.load.mistakes[:3]))
        if self.load.delivered_again:
            count = len(self.load.delivered_again)
            raise Failed(f"{count} deliveries came again although their acknowledgement was answered")
        self.say(
            f"{len(self.load.acknowledged)} acknowledgements answered, none of them forgotten; "
            f"{self.load.refusals.total() + self.load.native_refusals.total()} submissions refused"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=".build/release/pulse")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("full-disk-test: needs root, to mount a small file system", file=sys.stderr)
        return 2
    if not os.access(arguments.binary, os.X_OK):
        print(f"full-disk-test: there is no {arguments.binary}: make release", file=sys.stderr)
        return 2
    if not arguments.inside:
        # Whatever is mounted goes with the namespace.
        return subprocess.run(
            ["unshare", "-m", sys.executable, *sys.argv, "--inside"], check=False
        ).returncode
    folder = tempfile.mkdtemp(prefix="pulse-full-disk-")
    test = None
    try:
        test = Test(arguments, folder)
        test.run()
        test.say("the full disk holds no surprise")
        return 0
    except Failed as failure:
        print(f"FAILED: {failure}", flush=True)
        if test:
            print(textwrap.indent(test.broker.said(400), "    "))
        return 1
    finally:
        if test:
            test.broker.kill()
            test.load.stopping.set()
            test.disk.unmount()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
