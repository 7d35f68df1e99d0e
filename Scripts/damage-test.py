#!/usr/bin/env python3
"""Damages a real data directory in a thousand ways, and checks what the real program makes of it.

A broker writes ten segments with their indexes, a generation, checkpoints and a floor, answers for every
notification, and stops. Then, for each damage, in a copy of the directory:

    flip        one bit, at a random place of a random file
    truncate    a file, to nothing, a random length, all but its last byte, or its first block
    delete      a file
    swap        two files: each has the other's name

`pulse inspect --verify` must tell of it, exit code 65, unless a rule of `unneeded` says that nothing
depends on those bytes; those are counted and printed. Then `pulse serve` either refuses with 65 and a
message, or serves: every acknowledged identifier is answered as it was or with an explicit error, never
otherwise and never "not found"; the lists show the same, page by page, all of it or as far as they come
before they refuse; a key is answered with its identifier or an error, never accepted anew;
a new notification has an identifier of its own; no process ends by a signal. After every eighth damage of
the log `pulse repair --accept-loss` comes before the start.

    damage-test.py [--flips 60] [--all-files] [--binary .build/release/pulse] [--seed N]
                   [--only N] [--from N] [--minutes M] [--keep]

--all-files: truncates (each way) and deletes every file there is, and swaps each with three others; without
it one in four. --only does the damage of one number, --from those from a number on, --minutes stops. The
same seed draws the same damages of directories with the same files. Exit code 0 when all holds, 1 when
something does not, 2 when the test could not run.
"""

import argparse
import base64
import collections
import filecmp
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from broker import ENVIRONMENT, Broker, Failed

BLOCK = 4096
BIG, SMALL, LATER = 310, 120, 40
DAMAGED = 65
SETTLED = ("delivered", "scheduled")
# What is true of a notification even when its outcome is in doubt.
LASTING = ("id", "user", "channel", "to", "created_at")
# The lists: path, where the rows are, what names one.
LISTS = (
    ("/v1/notifications", "notifications", "id"),
    ("/api/notifications/list/", "results", "notification_id"),
)
# What the paths of system 000 say instead of a code.
REFUSALS = ("Stored data is corrupt", "The notification is lost", "The server's disk does not answer")
SPAN = re.compile(r"^(\d{20})\.seg$")


class Server(Broker):
    """The program on a directory of this test, started at once; `is_up` tells whether it came so far."""

    def __init__(self, binary, home):
        super().__init__(binary, home / "data", ["--dev", "--config", home / "pulse.yaml"])
        self.connection = None
        self.try_to_start()

    def ask(self, method, path, body=None):
        """Status and document; None and None when the broker is gone."""
        for _ in range(2):
            self.connection = self.connection or self.connect()
            try:
                return self.connection.ask(method, path, body)
            except (OSError, http.client.HTTPException):
                self.connection = None
                if self.process.poll() is not None:
                    return None, None
        return None, None


def pages(broker, path):
    """The pages of a list, newest first, until one is the last or no page."""
    cursor = ""
    while cursor is not None:
        status, answer = broker.ask("GET", f"{path}?limit=100{cursor and '&cursor=' + cursor}")
        yield status, answer
        cursor = answer["next_cursor"] if status == 200 else None


class Original:
    """The undamaged directory, and what was acknowledged for it."""

    def __init__(self, binary, home, draw):
        self.home, self.bodies, self.answers, self.ids, self.lists = home, {}, {}, {}, {}
        home.mkdir()
        # Nothing but what the test asks for reads the log: scrubbing rests.
        (home / "pulse.yaml").write_text("storage:\n  segment_bytes: 16MiB\n  scrub_rate: 0B\n")
        broker = Server(binary, home)
        try:
            self.write(broker, draw)
            if broker.stop() != 0:
                raise Failed("the clean stop fails:\n" + broker.said(100))
            # Once more, so that there is a checkpoint of before and rows that were merged.
            broker = Server(binary, home)
            self.wait_for_files()
            for key, id in self.ids.items():
                status, self.answers[key] = broker.ask("GET", f"/v1/notifications/{id}")
                if status != 200:
                    raise Failed(f"{id} was acknowledged and is answered {status}")
            for path, rows, name in LISTS:
                self.lists[path] = {row[name]: row for page in pages(broker, path) for row in page[1][rows]}
                if set(self.lists[path]) != set(self.ids.values()):
                    raise Failed(f"{path} does not show what was acknowledged")
            if broker.stop() != 0:
                raise Failed("the clean stop fails:\n" + broker.said(100))
        finally:
            broker.kill()
        self.files = sorted(
            str(path.relative_to(home / "data")) for path in (home / "data").rglob("*") if path.is_file()
        )
        self.ends = self.segment_ends(binary)

    def write(self, broker, draw):
        far = int(time.time() * 1000) + 365 * 86_400_000
        kinds = ["big"] * BIG + ["small"] * SMALL + ["later"] * LATER
        draw.shuffle(kinds)
        template = {"channel": "email", "subject": "s", "text": "Grüße {{name}}"}
        broker.ask("PUT", "/v1/templates/greeting", template)
        for number, kind in enumerate(kinds):
            key = f"key-{number}"
            to = {"user": f"u{number % 7}", "email": f"a{number}@example.org"}
            body = {"to": to, "idempotency_key": key}
            if number % 5 == 0 and kind != "big":
                body |= {"template": "greeting", "data": {"name": str(number)}}
            else:
                # Text that no compression makes small.
                size = 360_000 if kind == "big" else draw.randrange(3_000)
                text = base64.b64encode(draw.randbytes(size + 1)).decode()
                body["content"] = {"subject": "s", "text": text}
            if kind == "later":
                body["deliver_at"] = far + number
            self.bodies[key] = body
            status, answer = broker.ask("POST", "/v1/notifications", self.bodies[key])
            while status == 503 and answer["code"] == "disk_stalled":
                time.sleep(1)
                status, answer = broker.ask("POST", "/v1/notifications", self.bodies[key])
            if status not in (200, 202):
                raise Failed(f"a submission is answered {status} {answer}")
            self.ids[key] = answer["id"]
        for key, id in self.ids.items():
            until = time.monotonic() + 60
            while broker.ask("GET", f"/v1/notifications/{id}")[1]["status"] not in SETTLED:
                if time.monotonic() > until:
                    raise Failed(f"{id} is not delivered")
                time.sleep(0.01)

    def wait_for_files(self):
        """Indexes and the generation are made in the background."""
        until = time.monotonic() + 60
        while not list((self.home / "data").glob("shard-0/log/gen-*.keys")):
            if time.monotonic() > until:
                raise Failed("no generation is made")
            time.sleep(0.05)

    def segment_ends(self, binary):
        """For each segment, the byte behind its last entry."""
        done = subprocess.run(
            [binary, "inspect", "--verify", "-o", "json", self.home / "data"],
            capture_output=True,
            check=False,
        )
        document = json.loads(done.stdout)
        if done.returncode != 0 or not document["clean"]:
            raise Failed(f"the undamaged directory is not clean: {done.stdout.decode()}")
        lines = document["logs"][0]["segments"]
        return {"shard-0/log/" + line["name"]: line["end"] - line["base"] for line in lines}


class Copy:
    """A copy of the directory that can be put right again: only what changed is copied anew."""

    def __init__(self, original, home):
        self.original, self.home, self.stamps = original, home, {}
        (home / "data").mkdir(parents=True)
        shutil.copyfile(original.home / "pulse.yaml", home / "pulse.yaml")

    @staticmethod
    def stamp(path):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def restore(self):
        for path in sorted((self.home / "data").rglob("*"), reverse=True):
            name = str(path.relative_to(self.home / "data"))
            if path.is_file() and self.stamps.get(name) != self.stamp(path):
                path.unlink()
            elif path.is_dir() and not (self.original.home / "data" / name).is_dir():
                path.rmdir()
        for name in self.original.files:
            path = self.home / "data" / name
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.original.home / "data" / name, path)
                self.stamps[name] = self.stamp(path)

    def path(self, name):
        return self.home / "data" / name


def unneeded(original, kind, name, byte):
    """Why a damage need not be noticed; None when it must be. `byte` is the first that changed."""
    short = name.rsplit("/", 1)[-1]
    size = original.home.joinpath("data", name).stat().st_size
    if short.startswith("spare-") or short == "ballast":
        return "a file that only keeps room"
    if short in ("LOCK", "WRITERS"):
        return "a file nobody depends on"
    if "/state/" in name and (short.startswith(("LOG", "OPTIONS-")) or short == "IDENTITY"):
        return "RocksDB's own notes"
    if "/state/" in name and short.endswith(".log"):
        return "the store's journal: what it ends with is folded from the log again"
    is_in_no_row = {"flip": short.endswith(".sst"), "truncate": short.startswith("MANIFEST-")}
    if "/state/" in name and is_in_no_row.get(kind):
        return "no row of the store: all of them were read, and are what the log makes of itself"
    if kind == "delete" and short.endswith((".idx", ".keys")):
        return "a file that is made again"
    if kind == "delete" and short == "floor":
        return "a missing floor is noted, and a warning at the start: a young log has none"
    if kind == "truncate" and short == "FORMAT" and byte == size - 1:
        return "the line end of FORMAT"
    if kind == "flip" and name in original.ends:
        is_last = name == max(original.ends)
        if original.ends[name] <= byte < (size if is_last else size - BLOCK):
            return "behind a segment's last entry"
    return None


class Damage:
    def __init__(self, kind, name, other=None, byte=0, bit=0):
        self.kind, self.name, self.other, self.byte, self.bit = kind, name, other, byte, bit

    def __str__(self):
        return {
            "flip": f"bit {self.bit} of byte {self.byte} of {self.name} flipped",
            "truncate": f"{self.name} cut to {self.byte} bytes",
            "delete": f"{self.name} deleted",
            "swap": f"{self.name} and {self.other} swapped",
        }[self.kind]

    def perform(self, copy):
        path = copy.path(self.name)
        if self.kind == "flip":
            with open(path, "r+b") as file:
                file.seek(self.byte)
                old = file.read(1)[0]
                file.seek(self.byte)
                file.write(bytes([old ^ 1 << self.bit]))
        elif self.kind == "truncate":
            os.truncate(path, self.byte)
        elif self.kind == "delete":
            path.unlink()
        else:
            aside = copy.home / "aside"
            path.rename(aside)
            copy.path(self.other).rename(path)
            aside.rename(copy.path(self.other))

    def unneeded(self, original):
        if self.kind != "swap":
            return unneeded(original, self.kind, self.name, self.byte)
        files = [original.home / "data" / name for name in (self.name, self.other)]
        if filecmp.cmp(*files, shallow=False):
            return "the two hold the same"
        both = [unneeded(original, self.kind, name, 0) for name in (self.name, self.other)]
        return both[0] if all(both) else None

    def touches_log(self):
        return "/log/" in self.name


def drawn(original, flips, all_files, draw):
    """The damages, in order."""
    sizes = {name: (original.home / "data" / name).stat().st_size for name in original.files}
    some = [name for name in original.files if sizes[name]]
    damages = []
    for _ in range(flips):
        name = draw.choice(some)
        damages.append(Damage("flip", name, byte=draw.randrange(sizes[name]), bit=draw.randrange(8)))
    for name in original.files:
        chosen = all_files or draw.randrange(4) == 0
        size = sizes[name]
        cuts = sorted({0, draw.randrange(size + 1), max(0, size - 1), min(size, BLOCK)} - {size})
        if chosen:
            for byte in cuts if all_files else [draw.choice(cuts)] if cuts else []:
                damages.append(Damage("truncate", name, byte=byte))
            damages.append(Damage("delete", name))
        others = draw.sample(original.files, 3) if all_files else [draw.choice(original.files)][:chosen]
        for other in others:
            if other != name:
                damages.append(Damage("swap", name, other))
    return damages


class Trial:
    """What the program makes of one damage."""

    def __init__(self, binary, original, copy, draw, counts):
        self.binary, self.original, self.copy, self.draw = binary, original, copy, draw
        self.counts, self.notes, self.errors = counts, [], 0

    def run(self, *arguments):
        done = subprocess.run(
            [self.binary, *arguments],
            capture_output=True,
            check=False,
            timeout=120,
            env=ENVIRONMENT,
        )
        text = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode < 0:
            raise Failed(f"{arguments[0]} ends by signal {-done.returncode}: {text[-800:]}")
        return done.returncode, text

    def perform(self, damage, repairs):
        needless = damage.unneeded(self.original)
        data = self.copy.home / "data"
        code, text = self.run("inspect", data, "--verify")
        if code not in (0, 4, DAMAGED):
            raise Failed(f"inspect ends with {code}: {text[-800:]}")
        told = code != 0
        self.counts["told by inspect"] += told
        if repairs:
            code, text = self.run("repair", data, "--accept-loss")
            self.counts["repairs"] += 1
            if code not in (0, DAMAGED, 1) or "recondition" in text:
                raise Failed(f"repair ends with {code}: {text[-800:]}")
            self.counts["repairs refused"] += code != 0
        served = self.serve(damage, repairs)
        self.counts[served] += 1
        if not told and needless is None:
            raise Failed(f"inspect --verify finds nothing; {served}")
        if not told:
            self.counts["needless: " + needless] += 1

    def serve(self, damage, is_repaired):
        broker = Server(self.binary, self.copy.home)
        try:
            for _ in range(2):
                if broker.is_up.is_set():
                    break
                text = broker.said(1000)
                code = broker.process.returncode
                if code == 70 and (self.copy.home / "data/shard-0/state.damaged").exists():
                    # The store was found damaged: the next start makes it again or refuses.
                    self.counts["ended with 70, started again"] += 1
                    broker = Server(self.binary, self.copy.home)
                    continue
                # A FORMAT that says something else may be another program's: 73.
                if code != DAMAGED and not (code == 73 and "FORMAT" in str(damage) + text):
                    raise Failed(f"serve ends with {code}: {text[-800:]}")
                if "pulse:" not in text:
                    raise Failed(f"serve refuses without a word: {text[-800:]}")
                return "refused"
            self.check_answers(broker, is_repaired)
            code = broker.stop()
            if code not in (0, 70):
                raise Failed(f"serve ends with {code}:\n{broker.said(8)}")
            if any("DAMAGED" in line for line in broker.output):
                return "served read-only"
            return "served, some refused" if self.errors else "served whole"
        finally:
            broker.kill()

    def check_answers(self, broker, is_repaired):
        given_up = set()
        for key, id in self.original.ids.items():
            status, answer = broker.ask("GET", f"/v1/notifications/{id}")
            if status == 200:
                if answer.get("uncertain"):
                    self.counts["answered with a doubt that is said"] += 1
                    was = self.original.answers[key]
                    if any(answer[name] != was[name] for name in LASTING):
                        raise Failed(f"{id} is answered {answer}, was {was}")
                    continue
                self.counts["answered rightly"] += 1
                if answer != self.original.answers[key]:
                    raise Failed(f"{id} is answered {answer}, was {self.original.answers[key]}")
            elif not self.is_refusal(status, answer):
                raise Failed(f"{id} is answered {status} {answer}")
            elif status == 410 and is_repaired:
                given_up.add(key)
        for path, rows, name in LISTS:
            self.check_list(broker, path, rows, name, {self.original.ids[key] for key in given_up})
        keys = self.draw.sample(sorted(self.original.ids), 24)
        for key in keys:
            status, answer = broker.ask("POST", "/v1/notifications", self.original.bodies[key])
            if status == 200:
                self.counts["keys found again"] += 1
                if answer["id"] != self.original.ids[key]:
                    raise Failed(f"{key} is answered with {answer}, was {self.original.ids[key]}")
            elif status == 202 and key in given_up and answer["id"] not in self.original.ids.values():
                # What somebody gave up for lost may be handed in once more.
                self.counts["lost, and accepted anew"] += 1
            elif not self.is_refusal(status, answer):
                raise Failed(f"{key} is answered {status} {answer}")
        body = {"to": {"email": "a@b.example"}, "content": {"subject": "s", "text": "t"}}
        status, answer = broker.ask("POST", "/v1/notifications", body)
        if status == 202:
            if answer["id"] in self.original.ids.values():
                raise Failed(f"a new notification has the old identifier {answer['id']}")
        elif not self.is_refusal(status, answer):
            raise Failed(f"a new notification is answered {status} {answer}")

    def check_list(self, broker, path, rows, name, given_up):
        """Rows as they were, or with a doubt that is said; all of them, or a refusal at the end."""
        was, listed = self.original.lists[path], []
        for status, answer in pages(broker, path):
            if status != 200:
                if not self.is_refusal(status, answer):
                    raise Failed(f"{path} is answered {status} {answer}")
                self.counts["lists that end with an error"] += 1
                break
            for row in answer[rows]:
                listed.append(row[name])
                before = was.get(row[name])
                if before is None:
                    raise Failed(f"{path} shows {row}, which nobody accepted")
                if row.get("uncertain"):
                    self.counts["listed with a doubt that is said"] += 1
                    if any(row[field] != before[field] for field in LASTING if field in before):
                        raise Failed(f"{path} shows {row}, was {before}")
                elif row != before:
                    raise Failed(f"{path} shows {row}, was {before}")
        else:
            self.counts["lists that are whole"] += 1
            missing = set(was) - set(listed) - given_up
            if missing:
                raise Failed(f"{path} leaves out {sorted(missing)[:3]} without a word")
        if len(set(listed)) != len(listed):
            raise Failed(f"{path} shows something twice")

    def is_refusal(self, status, answer):
        """An explicit error; a broker that ended at the damage (70) has answered nothing wrong either."""
        self.errors += 1
        self.counts["answered with an error"] += 1
        if status is None:
            return True
        code = answer.get("code", "") if isinstance(answer, dict) else ""
        if isinstance(answer, dict) and answer.get("error", "").startswith(REFUSALS):
            return status in (410, 500, 503)
        # Others use the disk too: a stall is an honest refusal.
        return status in (410, 500, 503) and (code.startswith("data_") or code == "disk_stalled")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=".build/release/pulse")
    parser.add_argument("--flips", type=int, default=60)
    parser.add_argument("--all-files", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", type=int)
    parser.add_argument("--from", dest="begin", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--keep", action="store_true", help="keep the directory of the last damage")
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.binary)
    if not os.access(binary, os.X_OK):
        print(f"damage-test: there is no {binary}: make release", file=sys.stderr)
        return 2
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pulse-damage-"))
    began = time.monotonic()
    counts, kinds, failures = collections.Counter(), collections.Counter(), []
    try:
        original = Original(binary, folder / "original", random.Random(arguments.seed))
        copy = Copy(original, folder / "copy")
        damages = drawn(original, arguments.flips, arguments.all_files, random.Random(arguments.seed))
        logs = 0
        for number, damage in enumerate(damages):
            logs += damage.touches_log()
            if number < arguments.begin or arguments.only not in (None, number):
                continue
            if time.monotonic() - began > arguments.minutes * 60:
                print(f"stopped before damage {number} of {len(damages)}")
                break
            copy.restore()
            damage.perform(copy)
            kinds[damage.kind] += 1
            trial = Trial(binary, original, copy, random.Random(arguments.seed + number), counts)
            try:
                trial.perform(damage, repairs=damage.touches_log() and logs % 8 == 0)
            except (Failed, subprocess.TimeoutExpired) as failure:
                failures.append(number)
                print(f"FAILED at {number} (seed {arguments.seed}): {damage}: {failure}", flush=True)
        print(
            f"{sum(kinds.values())} damages (seed {arguments.seed}), of {len(original.files)} files with "
            f"{len(original.ids)} notifications, in {time.monotonic() - began:.0f} s"
        )
        for name, count in [*sorted(kinds.items()), *sorted(counts.items())]:
            print(f"  {count:7d}  {name}")
        print(f"{len(failures)} failed" if failures else "all kept")
        return 1 if failures else 0
    except Failed as failure:
        print(f"FAILED (seed {arguments.seed}): {failure}")
        return 1
    finally:
        if arguments.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
