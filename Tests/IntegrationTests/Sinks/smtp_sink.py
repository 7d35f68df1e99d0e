#!/usr/bin/python3
"""A mail server for the integration tests: keeps nothing, tells what it does, one line each.

The local part of a recipient decides: "dead..." is refused with 550, "later..." with 451 the first time
and taken the second, all else is taken. Lines: "ready PORT", "refused ADDRESS", "deferred ADDRESS",
"mail JSON" with the envelope and the message as it came.
"""
import asyncio
import json

from aiosmtpd.smtp import SMTP


class Sink:
    def __init__(self):
        self.deferred = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.partition("@")[0]
        if local.startswith("dead"):
            print("refused", address, flush=True)
            return "550 5.1.1 no such mailbox here"
        if local.startswith("later") and address not in self.deferred:
            self.deferred.add(address)
            print("deferred", address, flush=True)
            return "451 4.7.1 greylisted, try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = envelope.content.decode("utf-8", "replace")
        print("mail", json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos,
                                  "message": message}), flush=True)
        return "250 taken"


async def main():
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(sink, enable_SMTPUTF8=True), "127.0.0.1", 0)
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
