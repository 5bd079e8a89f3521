"""The whole system on this machine: mail sink, gateway, consumers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cli.supervisor import Program, free_port
from jobs.settings import EMBEDDED


@dataclass(frozen=True)
class System:
    """Where everything is. consumers: the URLs of their probes."""

    url: str
    mails: Path
    database: str
    consumers: tuple[str, ...]
    programs: list[Program]


def local_system(data: Path, *, broker: str | None, outcomes: str | None, consumers: int, port: int) -> System:
    """Plan the processes. data: their folder. broker, outcomes: URLs; None is an SQLite file in `data`."""
    data = data.absolute()
    data.mkdir(parents=True, exist_ok=True)
    embedded = EMBEDDED.partition("///")[0] + f"///{data}/headrace.db"
    database = f"sqlite:///{data}/points.db"
    smtp, gateway = free_port(2525), free_port(port)
    probes = [free_port() for _ in range(consumers)]
    shared = {
        "HEADRACE_BROKER": broker or embedded,
        "HEADRACE_OUTCOMES": outcomes or embedded,
        "HEADRACE_DATABASE": database,
        "HEADRACE_SMTP_PORT": str(smtp),
        "HEADRACE_PORT": str(gateway),
        "HEADRACE_LOG_FORMAT": "json",
    }
    mails = data / "mails.jsonl"
    mails.touch()
    sink = ["-m", "cli.smtp_sink", "--port", str(smtp), "--file", str(mails)]
    programs = [
        Program("mail", sink, {}, data / "mail.log"),
        Program("gateway", ["-m", "service"], shared, data / "gateway.log", f"http://127.0.0.1:{gateway}/readyz"),
    ]
    for number, probe in enumerate(probes, 1):
        environment = shared | {"HEADRACE_PROBE_PORT": str(probe)}
        log, ready = data / f"consumer-{number}.log", f"http://127.0.0.1:{probe}/readyz"
        programs.append(Program(f"consumer-{number}", ["-m", "consumer"], environment, log, ready))
    return System(f"http://127.0.0.1:{gateway}", mails, database, tuple(f"http://127.0.0.1:{probe}" for probe in probes), programs)
