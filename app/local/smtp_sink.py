"""A local mail server that keeps what it is sent in a file, so that the mail of `headrace up` can be seen.

    python -m app.local.smtp_sink --port 2525 --file mails.jsonl

By the local part of the address it refuses: `gone-…` for good (550), `later-…` the first `--refusals` times (451).
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.policy
import signal
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from aiosmtpd.smtp import SMTP, Envelope, Session

from core.clock import SystemClock, rfc3339


class Sink:
    """aiosmtpd's handler: writes each mail as one line of JSON before it answers 250."""

    def __init__(self, file: BinaryIO, refusals: int) -> None:
        self._file = file
        self._refusals = refusals
        self._refused: Counter[str] = Counter()
        self._clock = SystemClock()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("gone-"):
            return "550 5.1.1 No such user"
        if address.startswith("later-") and self._refused[address] < self._refusals:
            self._refused[address] += 1
            return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content: Any = envelope.content
        mail = email.message_from_bytes(content, policy=email.policy.default)
        line = {
            "at": rfc3339(self._clock.wall()),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "message_id": str(mail["Message-ID"]),
            "subject": str(mail["Subject"]),
        }
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()
        return "250 OK"


async def serve(host: str, port: int, path: Path, refusals: int) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with path.open("ab") as file:
        sink = Sink(file, refusals)
        server = await loop.create_server(lambda: SMTP(sink, loop=loop, timeout=60.0), host, port)
        async with server:
            await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.local.smtp_sink", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--refusals", type=int, default=2)
    asked = parser.parse_args()
    asyncio.run(serve(asked.host, asked.port, asked.file, asked.refusals))


if __name__ == "__main__":
    main()
