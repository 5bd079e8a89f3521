"""The programs that `headrace up` starts beside Headrace on one machine, and the settings that lead there. It may be missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.project import Beside


def beside(data: Path, free_port: Callable[[], int]) -> Beside:
    """A mail server that writes what it takes to a file, and a database in a file.

    data: the folder of this system. free_port: finds a port of this machine that no program listens on.
    """
    mails, port = data / "mails.jsonl", str(free_port())
    mails.touch()
    return Beside(
        settings={
            "HEADRACE_DATABASE": f"sqlite:///{data}/points.db",
            "HEADRACE_DATABASE_FILE": "",  # the environment's is for another server, and a URL may be given once
            "HEADRACE_SMTP_PORT": port,
        },
        programs={"mail": ("-m", "app.local.smtp_sink", "--port", port, "--file", str(mails))},
        shown={"mails": mails},
    )
