"""Which process holds something in the file, and whether it lives: messages of a dead one are free at once."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_BOOT_ID = 36  # characters that name the boot, at the beginning of `host`


class Process(NamedTuple):
    """host: names the machine's boot and the pid namespace; empty where the system does not tell them.
    born: when it started, in clock ticks since the boot, because a pid may be given out again; empty if there is none."""

    host: str
    pid: int
    born: str

    @property
    def dead(self) -> bool | None:
        """Two reads of files of some 10 µs each. None: it cannot be known from here."""
        here = this_process()
        if not self.host or not here.host:
            return None
        if self.host == here.host:
            return _born(self.pid) != self.born
        # The file is for one machine: of another boot nothing lives. Of another container we see no pids.
        return True if self.host[:_BOOT_ID] != here.host[:_BOOT_ID] else None


def this_process() -> Process:
    return _process(os.getpid())


def mark() -> str:
    """This process in some 30 bytes, for rows of which there are many; empty where the system does not tell hosts apart."""
    return _mark(os.getpid())


def known_dead(text: str) -> bool:
    """Whether the process that left this mark was one of this host, and is dead. For any other text it is not known."""
    pid, _, rest = text.partition(" ")
    born, _, host = rest.partition(" ")
    ours = bool(host) and host == _digest(this_process().host)
    return ours and pid.isdecimal() and _born(int(pid)) != born


@lru_cache(maxsize=2)  # a forked child is another process
def _process(pid: int) -> Process:
    return Process(_host(), pid, _born(pid))


@lru_cache(maxsize=2)
def _mark(pid: int) -> str:
    process = _process(pid)
    return f"{pid} {process.born} {_digest(process.host)}" if process.host else ""


@lru_cache(maxsize=2)
def _digest(host: str) -> str:
    return hashlib.blake2b(host.encode(), digest_size=6).hexdigest()


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        # A zombie (Z) has ended; only its parent has not asked for its end yet.
        return "" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return ""
