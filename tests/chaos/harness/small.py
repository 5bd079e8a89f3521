"""A file system so small that it can be filled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from tests.servers import looked_for, missing

_BLOCK = bytes(65_536)


def mountable() -> bool:
    """Root may, but for some containers."""
    return os.geteuid() == 0 and looked_for("tmpfs", "mount") is not None


class SmallDisk:
    """A tmpfs. Where none can be mounted, `mount` leaves a plain folder, and `fill` skips the test."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self.folder, self._megabytes = folder, megabytes
        self._mounted = False

    def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not mountable():
            return
        command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m,mode=0755", "tmpfs", self.folder]
        self._mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def unmount(self) -> None:
        if self._mounted:
            # Lazily: a process that is just ending may still have a file open.
            subprocess.run(["umount", "--lazy", self.folder], capture_output=True, check=False)
            self._mounted = False

    def fill(self) -> None:
        """Leave not one byte."""
        if not self._mounted:
            missing("tmpfs", "it could not be mounted, and no other disk is small enough to be filled")
        with (self.folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_BLOCK)

    def clear(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)
