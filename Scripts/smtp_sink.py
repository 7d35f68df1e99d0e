#!/usr/bin/env python3
"""A mail server and a webhook receiver that take everything, for tests that must count deliveries.

Listens on loopback, and writes one line for each delivery, before it answers the sender:

    mail <notification id> <envelope recipient> <message id>
    hook <notification id> <path>

    smtp_sink.py --smtp PORT --http PORT --output FILE

Prints "sink: ready" once both ports are open. Ends with SIGTERM. Needs aiosmtpd (python3-aiosmtpd).
"""

import argparse
import asyncio
import os
import signal

from aiosmtpd.smtp import SMTP


class Sink:
    """Takes mails and webhooks; a line is in the file before the sender hears that it was taken."""

    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *words):
        os.write(self.file, (" ".join(words) + "\n").encode())

    async def handle_DATA(self, server, session, envelope):  # noqa: N802, aiosmtpd's name
        fields = {}
        for line in envelope.content.split(b"\r\n"):
            if not line:
                break
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        for recipient in envelope.rcpt_tos:
            self.note(
                "mail",
                fields.get("x-pulse-notification-id", "-"),
                recipient,
                fields.get("message-id", "-"),
            )
        return "250 2.0.0 taken"

    async def serve_hook(self, reader, writer):
        """HTTP/1.1 with keep-alive, as much of it as a webhook sender needs."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                path = head[0].split(" ")[1]
                fields = {}
                for line in head[1:]:
                    name, _, value = line.partition(":")
                    fields[name.lower()] = value.strip()
                await reader.readexactly(int(fields.get("content-length", "0")))
                self.note("hook", fields.get("webhook-id", "-"), path)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smtp", type=int, required=True)
    parser.add_argument("--http", type=int, required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()

    loop = asyncio.get_running_loop()
    sink = Sink(arguments.output)
    mail = await loop.create_server(
        lambda: SMTP(sink, hostname="sink.test", enable_SMTPUTF8=True, timeout=60),
        "127.0.0.1",
        arguments.smtp,
        backlog=512,
    )
    hooks = await asyncio.start_server(sink.serve_hook, "127.0.0.1", arguments.http, backlog=512)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    print("sink: ready", flush=True)
    await stop.wait()
    mail.close()
    hooks.close()


if __name__ == "__main__":
    asyncio.run(main())
