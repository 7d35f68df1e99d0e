"""What crash-test.py hands in while it kills: sixteen producers, and what was acknowledged to them.

Six speak /v1, six system 000's paths, four the native protocol. Everything has a key of its own; what is
not answered is sent again with the same key, until it is.
"""

import collections
import hashlib
import http.client
import random
import threading
import time

from broker import Failed
from wire import Native, Refused, notification

# Deliveries that may be outstanding before producers slow down: the receivers are not the point.
BACKLOG_MAX = 1500
KINDS = ["v1"] * 6 + ["000"] * 6 + ["native"] * 4


def text_for(key):
    """What is said under a key: of any length up to 1.6 kB, and never the same twice."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"hello {key}: " + digest * (1 + int(digest[:2], 16) % 25)


class Load:
    """What the producers know together; the lock guards what was acknowledged."""

    def __init__(self, broker, sink, seed):
        self.broker, self.sink = broker, sink
        self.stopping = threading.Event()
        self.giving_up = threading.Event()
        self.lock = threading.Lock()
        # key -> (id, channel, address)
        self.by_key = {}
        self.answers = collections.Counter()
        self.mistakes = []
        # How many were acknowledged whose deliveries can be counted, and how many of those arrived.
        self.outside = 0
        self.arrived = 0
        self.producers = [
            Producer(number, kind, seed * 1000 + number, self) for number, kind in enumerate(KINDS)
        ]

    def start(self):
        threading.Thread(target=self.count_arrivals, daemon=True).start()
        for producer in self.producers:
            producer.start()

    def count_arrivals(self):
        while not self.giving_up.is_set():
            self.arrived = self.sink.count()
            time.sleep(0.1)

    def stop(self):
        """Whether every request was answered in the end."""
        self.stopping.set()
        for producer in self.producers:
            producer.join(timeout=30)
        return not any(producer.is_alive() for producer in self.producers)

    def outstanding(self):
        return self.outside - self.arrived

    def address(self, channel, key):
        return {
            "email": f"{key}@sink.test",
            "webhook": self.sink.hook_address(f"/{key}"),
            "sms": "+4915112345678",
            "push": f"token-{key}",
        }[channel]

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

    def note_mistake(self, text):
        with self.lock:
            self.mistakes.append(text)


class Producer(threading.Thread):
    """Hands in one thing after the other until told to stop, and never gives up on one."""

    def __init__(self, number, kind, seed, load):
        super().__init__(name=f"{kind}-{number}", daemon=True)
        self.kind = kind
        self.load = load
        self.random = random.Random(seed)
        self.connection = None
        self.count = 0

    def run(self):
        while not self.load.stopping.is_set():
            size = self.random.randint(1, 6) if self.kind == "native" else 1
            channel = self.random.choice(
                ["email"] * 5 + ["webhook"] * 2 + (["sms", "push"] if self.kind != "000" else [])
            )
            work = []
            for _ in range(size):
                self.count += 1
                key = f"{self.name}-{self.count}"
                work.append((key, self.load.address(channel, key)))
            self.hand_in(channel, work)
            pause = self.random.uniform(0.005, 0.03)
            if self.load.outstanding() > BACKLOG_MAX:
                pause = 0.3
            time.sleep(pause)
        self.drop()

    def hand_in(self, channel, work):
        ask = {"v1": self.ask_v1, "000": self.ask_000, "native": self.ask_native}[self.kind]
        while not self.load.giving_up.is_set():
            if not self.load.broker.is_up.wait(0.2):
                continue
            try:
                for (key, address), (id, how) in zip(work, ask(channel, work)):
                    self.load.note(key, id, channel, address, how)
                return
            except Failed as failure:
                self.load.note_mistake(f"{self.name}: {failure}")
                return
            except Refused as refusal:
                if not refusal.is_retryable:
                    self.load.note_mistake(f"{self.name}: {refusal}")
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            # Not answered, or not taken yet: the same again, with the same keys.
            self.load.answers["unanswered"] += 1
            self.drop()
            time.sleep(self.random.uniform(0.005, 0.05))

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    # Each asks for all of `work` and answers (id, how) for each.

    def ask_native(self, channel, work):
        if not self.connection:
            self.connection = Native(self.load.broker.native, "crash-test")
        records = [
            notification(f"user-{key}", address, text_for(key), key, subject="crash")
            for key, address in work
        ]
        return [(id, "native") for id in self.connection.produce(f"notify.{channel}", records)]

    def ask_v1(self, channel, work):
        [(key, address)] = work
        name = {"email": "email", "webhook": "url", "sms": "phone", "push": "push_token"}
        body = {
            "to": {"user": f"user-{key}", name[channel]: address},
            "channel": channel,
            "content": {"text": text_for(key)},
            "idempotency_key": key,
        }
        if channel == "email":
            body["content"]["subject"] = "crash"
        return self.post("/v1/notifications", body)

    def ask_000(self, channel, work):
        [(key, address)] = work
        body = {
            "template_name": f"crash-{channel}",
            "user_id": f"user-{key}",
            "to": address,
            "channel": channel,
            "context": {"name": text_for(key)},
            "idempotency_key": key,
        }
        return self.post("/api/notifications/send/", body)

    def post(self, path, body):
        if not self.connection:
            self.connection = self.load.broker.connect()
        status, answer = self.connection.ask("POST", path, body)
        if status in (200, 202):
            how = "accepted" if status == 202 else "duplicate"
            return [(answer.get("id") or answer["notification_id"], how)]
        if status == 503:
            raise ConnectionError("refused for now")
        raise Failed(f"answered {status}: {str(answer)[:300]}")
