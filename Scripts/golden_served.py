#!/usr/bin/env python3
"""Lets the real program write a data directory worth keeping: golden_served.py PULSE DIR.

Notifications over both HTTP interfaces, on every channel and lane; templates with revisions; scheduled
ones, retries against a port where nobody listens, dead letters; a kill -9 in between and a clean stop.
"""
import os
import sys
import tempfile
import time

from broker import Broker


def main():
    binary, target = sys.argv[1:]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(
            "storage:\n  segment_bytes: 16MiB\n"
            "providers:\n  webhook:\n    kind: http\n    allow_private: true\n"
            "retry:\n  base: 50ms\n  factor: 2\n  cap: 200ms\n  attempts: 3\n"
        )
        config.flush()
        for run, end in (("SIGKILL", Broker.kill), ("SIGTERM", Broker.stop)):
            serve(Broker(binary, target, ["--dev", "--config", config.name]), run, end)
    os.remove(os.path.join(target, "LOCK"))
    return 0


def serve(broker, run, end):
    try:
        broker.start()
        load(broker.connect(), run)
        end(broker)
    finally:
        broker.kill()


def load(connection, run):
    def ask(method, path, body):
        status, answer = connection.ask(method, path, body)
        if status not in (200, 201, 202):
            raise SystemExit(f"{method} {path} was answered {status} {answer!r}")

    for revision in range(3):
        template = {"channel": "email", "subject": "Nr. {{n}}", "text": f"{revision}: für {{{{n}}}}"}
        ask("PUT", "/v1/templates/golden", template)
        for number in range(40):
            user = f"user-{number % 7}"
            key = f"{run}-{revision}-{number}"
            context = {"name": user, "n": str(number)}
            body = {"template_name": "golden", "user_id": user, "to": f"{user}@example.org"}
            ask("POST", "/api/notifications/send/", body | {"context": context, "idempotency_key": key})
            channel, field, address = [
                ("email", "email", f"{user}@example.org"),
                ("sms", "phone", "+4915112345678"),
                ("push", "push_token", f"token-{user}"),
                ("webhook", "url", "http://127.0.0.1:9/nobody"),
            ][number % 4]
            content = {"text": f"Hallo {user}, " + "lorem ipsum " * (number % 11)}
            body = {"to": {"user": user, field: address}, "channel": channel, "content": content}
            if channel == "email":
                content["subject"] = "Grüße"
            if number % 5 == 0:
                body["deliver_at"] = "2040-01-01T00:00:00Z" if number % 2 else None
            body = {name: value for name, value in body.items() if value is not None}
            ask("POST", "/v1/notifications", body)
    time.sleep(1.5)


if __name__ == "__main__":
    sys.exit(main())
