"""What crash-test.py asks when all has come to rest: of the broker, of the receivers and of the log."""

import collections
import http.client
import importlib.util
import pathlib
import sys
import threading

from crash_load import text_for
from wire import fields_of

STATES = ["scheduled", "ready", "held", "leased"]


class Verdicts:
    """What was checked, in order, and whether it holds."""

    def __init__(self):
        self.all = []

    def check(self, what, holds, detail=""):
        self.all.append((what, bool(holds), detail))

    def report(self):
        """Prints them; whether all hold."""
        for what, holds, detail in self.all:
            mark = "ok  " if holds else "FAIL"
            print(f"  {mark}  {what}" + (f": {detail}" if detail and not holds else ""))
        failed = sum(not holds for _, holds, _ in self.all)
        print(f"\n{len(self.all) - failed} passed, {failed} failed")
        return not failed


def check_promises(verdicts, broker, load, sink):
    """Compares what was acknowledged with what the broker tells and what arrived; rows for the summary."""
    check = verdicts.check
    sums = broker.metrics()
    ids = {id: (channel, address) for id, channel, address in load.by_key.values()}
    arrivals = sink.arrivals()
    times = collections.Counter(id for id, _ in arrivals)
    where = collections.defaultdict(set)
    for id, address in arrivals:
        where[id].add(address)

    check("no request was answered wrongly", not load.mistakes, "; ".join(load.mistakes[:3]))
    check("a key has one identifier", len(ids) == len(load.by_key))
    accepted = sums["pulse_notifications_accepted_total"]
    check(
        "accepted are exactly the acknowledged",
        accepted == len(ids),
        f"{accepted} accepted, {len(ids)} acknowledged",
    )
    parts = [sums["pulse_notifications", state] for state in STATES]
    parts += [sums["pulse_notifications_finished_total", state] for state in ["delivered", "dead"]]
    check("the ledger balances", accepted == sum(parts), f"{accepted} and {parts}")

    states, lost, stuck, missing, causeless = ask_for_all(broker, ids, times)
    check("none is lost", not lost, f"{len(lost)}: {lost[:3]}")
    check("none is stuck", not stuck, f"{len(stuck)}: {stuck[:3]}")
    check("what is delivered is at the receiver", not missing, f"{len(missing)}: {missing[:3]}")
    check("the dead have a cause", not causeless, f"{causeless[:3]}")
    strangers = [id for id in times if id not in ids]
    check("nothing arrived that nobody sent", not strangers, f"{strangers[:3]}")
    astray = [id for id in where if id in ids and where[id] != {ids[id][1]}]
    check("all went to their own address", not astray, f"{astray[:3]}")
    extra = sum(count - 1 for count in times.values())
    unknown = sums["pulse_delivery_unknown_outcomes_total"]
    check("repeats are no more than open intents", extra <= unknown, f"{extra} and {unknown}")
    return [
        ("acknowledged", f"{len(ids)}"),
        ("requests without an answer", load.answers["unanswered"]),
        ("repeats recognised on HTTP", load.answers["duplicate"]),
        ("states", ", ".join(f"{state} {count}" for state, count in sorted(states.items()))),
        ("arrived, of them again", f"{len(arrivals)}, {extra}"),
        ("intents cut off", unknown),
    ]


def ask_for_all(broker, ids, times):
    """Asks the broker for each acknowledged notification, eight at a time."""
    states = collections.Counter()
    lost, stuck, missing, causeless = [], [], [], []
    lock = threading.Lock()
    todo = list(ids.items())

    def work():
        connection = broker.connect()
        while True:
            with lock:
                if not todo:
                    return
                id, (channel, _) = todo.pop()
            try:
                status, view = connection.ask("GET", f"/v1/notifications/{id}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                status, connection = error, broker.connect()
            with lock:
                if status != 200:
                    lost.append(f"{id} {status}")
                    continue
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


def check_log(verdicts, data, load):
    """Compares what was acknowledged with what lies in the log, read without the broker."""
    found = {}

    def note(one):
        if "value" in one:
            found[one["stream"], one["offset"]] = one["value"]

    log = stranger().Log(pathlib.Path(data) / "shard-0" / "log", note)
    verdicts.check("the log verifies, read by a stranger", not log.problems, "; ".join(log.problems[:3]))
    altered, places = [], collections.Counter()
    for key, (id, _, address) in load.by_key.items():
        place = place_of(id)
        places[place] += 1
        fields = fields_of(found.get(place, b""))
        expected = {1: f"user-{key}", 2: address, 10: key}
        if fields.get(4):
            right = fields.get(11) == b"\x04name" + text_for(key).encode()
        else:
            right = fields.get(6) == text_for(key).encode()
        if not right or any(fields.get(tag) != text.encode() for tag, text in expected.items()):
            altered.append(f"{key} at {place}: {fields}")
    verdicts.check("none is altered", not altered, f"{len(altered)}: {altered[:2]}")
    twice = [place for place, count in places.items() if count > 1]
    verdicts.check("no offset is used twice", not twice, f"{twice[:3]}")
    return [("entries in the log", f"{len(log.positions)} up to {log.end}")]


def stranger():
    """Tests/reader.py, which knows the log from its specification alone."""
    path = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "reader.py"
    # Nothing is left beside the tests.
    sys.dont_write_bytecode = True
    specification = importlib.util.spec_from_file_location("reader", path)
    reader = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(reader)
    return reader


def place_of(id):
    """The stream and the offset that an identifier names."""
    number = int(id.replace("-", ""), 16)
    high, low = number >> 64, number & (1 << 64) - 1
    return (high & 0xFFF) << 16 | (low >> 48 & 0x3FF) << 4 | low >> 58 & 0xF, high >> 16
