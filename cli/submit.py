"""`headrace submit TYPE FILE|-`: one job a line, with a checkpoint from which a broken-off run goes on."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
import uuid
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.api import Address, Gateway, GatewayError, NoAnswer, said

MOST_TRIES = 30
MOST_SHOWN = 20  # refused lines that are listed
# Refused lines that a checkpoint remembers, so that the next run sends them again. A file of more is not of this job type.
MOST_REFUSED = 100_000
# Not the line's fault: it came too late, or there were too many.
_LATER = frozenset({408, 425, 429})


@dataclass
class Checkpoint:
    """The lines that are accepted: all below `upto` but those in `refused`, and those in `ahead`. run: names this run in the
    idempotency keys. aim: job type and gateway.

    Lines that were sent and not noted when the process died are sent again with the same key: the same job.
    """

    path: Path | None
    fingerprint: str
    aim: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    upto: int = 0
    ahead: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)

    @classmethod
    def load(cls, path: Path | None, fingerprint: str, aim: str) -> Checkpoint:
        """Raises GatewayError for the checkpoint of another file, job type or gateway, and for what is none."""
        fresh = cls(path, fingerprint, aim)
        try:
            if path is None or not path.exists():
                fresh.save()
                return fresh
            found = orjson.loads(path.read_bytes())
            known = cls(
                path,
                found["fingerprint"],
                found["aim"],
                found["run"],
                int(found["upto"]),
                set(found["ahead"]),
                set(found["refused"]),
            )
        except OSError as error:
            raise GatewayError(f"--checkpoint {path}: {error.strerror}; name a file that can be read and written") from None
        except (ValueError, KeyError, TypeError):
            raise GatewayError(f"--checkpoint {path} is none of this release; remove it, or name another file") from None
        if known.fingerprint != fingerprint:
            raise GatewayError(f"{path} is the checkpoint of another file; remove it, or name another one")
        if known.aim != aim:
            raise GatewayError(f"{path} is the checkpoint of a run of {known.aim}, not of {aim}; name another one")
        return known

    def refuse(self, line: int) -> None:
        """Raises GatewayError when these are too many."""
        self.refused.add(line)
        if self.path is not None and len(self.refused) >= MOST_REFUSED:
            raise GatewayError(f"{MOST_REFUSED:,} lines were refused; is the file one of this job type?")

    def done(self, line: int) -> None:
        if line < self.upto:  # one that was refused before
            return
        self.ahead.add(line)
        while self.upto in self.ahead:
            self.ahead.discard(self.upto)
            self.upto += 1

    def has(self, line: int) -> bool:
        return line not in self.refused and (line < self.upto or line in self.ahead)

    def save(self) -> None:
        """Written beside, synced, and moved into place: a crash leaves the old one or the new one."""
        if self.path is None:
            return
        beside = self.path.with_name(self.path.name + ".new")
        lines = {"upto": self.upto, "ahead": sorted(self.ahead), "refused": sorted(self.refused)}
        state = {"fingerprint": self.fingerprint, "aim": self.aim, "run": self.run, **lines}
        with beside.open("wb") as file:
            file.write(orjson.dumps(state))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


@dataclass
class _Run:
    job_type: str
    gateway: Gateway
    checkpoint: Checkpoint
    progress: Progress
    refused: list[str] = field(default_factory=list)
    refusals: int = 0
    accepted: int = 0
    troubled: str = ""  # why nothing is accepted now, in the gateway's words

    def tell(self, why: str) -> None:
        """Once, until something is accepted again."""
        if not self.troubled:
            self.troubled = why
            self.progress.console.print(f"{why}; trying again", style="yellow", markup=False, highlight=False, soft_wrap=True)


async def submit(job_type: str, source: str, address: Address, concurrency: int, checkpoint: Path | None) -> int:
    """Send every line; the exit code: 1 when a line was refused. source: a path, or `-` for standard input."""
    if source == "-" and checkpoint is not None:
        raise GatewayError("standard input cannot be read again: a checkpoint needs a file")
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with _opened(source) as (file, fingerprint, total), Progress(*columns, console=console) as progress:
        note = Checkpoint.load(checkpoint, fingerprint, f"{job_type} at {address.base()}")
        async with Gateway(address) as gateway:
            run = _Run(job_type, gateway, note, progress)
            task = progress.add_task("submitted", total=total)
            lines = enumerate(_lines(file))
            saver = asyncio.create_task(_save_forever(note))
            try:
                await asyncio.gather(*(_work(run, lines, task) for _ in range(concurrency)))
            finally:
                saver.cancel()
                note.save()
    for line in run.refused:
        console.print(line, style="red", markup=False, highlight=False)
    if run.refusals > len(run.refused):
        console.print(f"… and {run.refusals - len(run.refused)} more")
    console.print(f"{run.accepted:,} accepted, {run.refusals:,} refused")
    return 1 if run.refusals else 0


async def _work(run: _Run, lines: Iterator[tuple[int, bytes]], task: object) -> None:
    for number, line in lines:
        if not run.checkpoint.has(number) and line.strip():
            await _send(run, number, line)
        run.checkpoint.done(number)
        run.progress.advance(task)  # type: ignore[arg-type]  # rich's own TaskID


async def _send(run: _Run, number: int, line: bytes) -> None:
    headers = {"content-type": "application/json", "Idempotency-Key": f"{run.checkpoint.run}-{number}"}
    pause = 0.2
    for _ in range(MOST_TRIES):
        try:
            status, asked, body = await run.gateway.raw("POST", f"/v1/jobs/{run.job_type}", data=line, headers=headers)
        except NoAnswer as error:
            status, asked, body = 503, 0.0, {"detail": str(error)}
        if status == 202:
            run.accepted += 1
            run.troubled = ""
            run.checkpoint.refused.discard(number)
            return
        if status < 500 and status not in _LATER:
            _refuse(run, number, body)
            return
        run.tell(said(status, body))
        await asyncio.sleep(max(asked, pause) * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 5.0)
    raise GatewayError(
        f"line {number + 1}: not confirmed after {MOST_TRIES} tries; run it again with the same --checkpoint to go on"
    )


def _refuse(run: _Run, number: int, body: dict[str, object] | None) -> None:
    run.refusals += 1
    run.checkpoint.refuse(number)
    if len(run.refused) < MOST_SHOWN:
        run.refused.append(f"line {number + 1}: {(body or {}).get('detail', 'refused')}")


async def _save_forever(note: Checkpoint) -> None:
    while True:
        await asyncio.sleep(0.2)
        note.save()


class _opened:  # noqa: N801 - used as a function
    """The file with its fingerprint (size and first and last 64 KiB) and its number of lines; None where it cannot be known."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._file: BinaryIO | None = None

    def __enter__(self) -> tuple[BinaryIO, str, int | None]:
        if self._source == "-":
            return sys.stdin.buffer, "", None
        try:
            self._file = Path(self._source).open("rb")
        except OSError as error:
            raise GatewayError(f"{self._source}: {error.strerror}") from None
        total = sum(1 for _ in self._file)
        size = self._file.tell()
        self._file.seek(0)
        digest = hashlib.sha256(str(size).encode() + self._file.read(65_536))
        self._file.seek(max(0, size - 65_536))
        digest.update(self._file.read())
        self._file.seek(0)
        return self._file, digest.hexdigest(), total

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Without the byte order mark that some programs put before UTF-8, and that is no JSON."""
    for number, line in enumerate(file):
        yield line.removeprefix(BOM_UTF8) if number == 0 else line
