"""Where a test's mail and webhooks go: smtp_sink.py in a process of its own, and what arrived there."""

import os
import socket
import subprocess
import sys

from broker import Failed


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sink:
    def __init__(self, folder):
        self.smtp, self.hook = free_port(), free_port()
        self.path = os.path.join(folder, "sink.txt")
        self.seen_bytes = self.seen_lines = 0
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "smtp_sink.py")
        for python in [sys.executable, "/usr/bin/python3"]:
            probe = subprocess.run([python, "-c", "import aiosmtpd"], capture_output=True, check=False)
            if probe.returncode == 0:
                break
        else:
            raise Failed("aiosmtpd is missing: apt-get install python3-aiosmtpd")
        self.process = subprocess.Popen(
            [python, script, "--smtp", str(self.smtp), "--http", str(self.hook)]
            + ["--output", self.path],
            stdout=subprocess.PIPE,
        )
        if b"ready" not in self.process.stdout.readline():
            raise Failed("the mail server did not start")

    def hook_address(self, path):
        return f"http://127.0.0.1:{self.hook}{path}"

    def count(self):
        """How many have arrived. For one thread."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.seen_bytes)
                piece = file.read()
        except FileNotFoundError:
            return 0
        self.seen_bytes += len(piece)
        self.seen_lines += piece.count(b"\n")
        return self.seen_lines

    def arrivals(self):
        """(identifier, address) of each delivery, in their order."""
        with open(self.path, encoding="utf-8") as file:
            lines = [line.split() for line in file]
        return [
            (words[1], words[2] if words[0] == "mail" else self.hook_address(words[2]))
            for words in lines
        ]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
