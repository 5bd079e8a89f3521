"""Ports that no other test of this machine is given, in this run or in another."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below what Linux takes for outgoing connections (net.ipv4.ip_local_port_range: 32768 and up), so that a port is still free when
# its server starts, or starts again after a kill. 10,000 ports; one run takes some 300.
_FIRST, _LAST = 20_000, 29_999
_HELD: set[int] = set()
# Of each user of the machine: byte N is locked by the process that has port N, and the kernel lets go of it when that ends.
_LOCKS = os.open(Path(tempfile.gettempdir()) / f"headrace-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
_RANDOM = random.SystemRandom()  # hypothesis and tests seed the other


def free_port() -> int:
    """A port of 127.0.0.1 that no program listens on, and that is this process's until it ends."""
    for _ in range(1000):
        port = _RANDOM.randint(_FIRST, _LAST)
        if port not in _HELD and _locked(port) and _bindable(port):
            _HELD.add(port)
            return port
    raise RuntimeError(f"no port from {_FIRST} to {_LAST} is free")


def _locked(port: int) -> bool:
    try:
        fcntl.lockf(_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: what has ended is no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
