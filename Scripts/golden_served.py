#!/usr/bin/env python3
"""Lets the real program write a data directory worth keeping: golden_served.py PULSE DIR.

Notifications over both HTTP interfaces, on every channel and lane; templates with revisions; scheduled
ones, retries against a port where nobody listens, dead letters; a kill -9 in between and a clean stop.
"""
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time


def main():
    binary, target = sys.argv[1:]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(
            "storage:\n  segment_bytes: 16MiB\n"
            "providers:\n  webhook:\n    kind: http\n    allow_private: true\n"
            "retry:\n  base: 50ms\n  factor: 2\n  cap: 200ms\n  attempts: 3\n"
        )
        config.flush()
        for ending in (signal.SIGKILL, signal.SIGTERM):
            serve(binary, target, config.name, ending)
    os.remove(os.path.join(target, "LOCK"))
    return 0


def serve(binary, target, config, ending):
    process = subprocess.Popen(
        [binary, "serve", "--dev", "--config", config, "--data", target]
        + ["--http", "127.0.0.1:0", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for line in process.stdout:
            match = re.match(r"pulse: ready http=(\S+):(\d+) ", line)
            if match:
                break
        load(http.client.HTTPConnection(match[1], int(match[2]), timeout=10), ending.name)
    finally:
        process.send_signal(ending)
        process.communicate()


def load(connection, run):
    def ask(method, path, body):
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status not in (200, 201, 202):
            raise SystemExit(f"{method} {path} was answered {response.status} {text!r}")

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
