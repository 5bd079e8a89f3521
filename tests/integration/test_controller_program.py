"""The controller as a process, with real consumers as its processes, on one SQLite file."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rich.console import Console

from adapters.sqlite import SqliteBroker, SqliteJournal
from cli.api import Address
from cli.watch import changes, panel, watch
from core import project
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.journal import ScalingRecord
from core.ports import Message
from core.settings import Settings
from tests.servers import free_port

BODY = b'{"order_id": 1, "user_id": 2, "amount": "10.00", "currency": "EUR"}'
# A replica is taken for one job a second, so that a few hundred jobs are work for three; windows are short, so that tests are.
POLICY = {
    "min_replicas": 1,
    "max_replicas": 3,
    "concurrency": 1,
    "service_seconds": 1.0,
    "drain_target": 2.0,
    "down_window": 1.0,
    "down_cooldown": 0.2,
}


@dataclass
class Program:
    """One process of ours. pids: of every consumer that was ever noted."""

    process: asyncio.subprocess.Process
    url: str
    registry: Path
    database: Path
    pids: set[int] = field(default_factory=set)

    def consumers(self) -> dict[str, int]:
        """Process ids by name, of those that run now."""
        notes = {}
        for file in self.registry.glob("*.json"):
            try:
                note = json.loads(file.read_bytes())
            except (OSError, json.JSONDecodeError):
                continue  # it is being written, or just went
            notes[note["name"]] = note["pid"]
        self.pids |= set(notes.values())
        return notes

    async def until(self, true: Callable[[], object], within: float = 60) -> None:
        """A condition in other processes, with a bound for a busy machine."""
        async with asyncio.timeout(within):
            while not true():
                assert self.process.returncode is None, "it ended"
                await asyncio.sleep(0.05)

    async def ready(self) -> None:
        async with asyncio.timeout(60), aiohttp.ClientSession() as client:
            while True:
                try:
                    async with client.get(self.url + "/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not listening yet
                await asyncio.sleep(0.05)


def environment(folder: Path, **more: str) -> dict[str, str]:
    embedded = f"sqlite:///{folder}/headrace.db"
    return (
        os.environ
        | {"HEADRACE_BROKER": embedded, "HEADRACE_OUTCOMES": embedded, "HEADRACE_DATABASE": f"sqlite:///{folder}/p.db"}
        | more
    )


@asynccontextmanager
async def program(module: str, folder: Path, port_setting: str, **more: str) -> AsyncIterator[Program]:
    port, registry = free_port(), folder / "consumers"
    settings = {port_setting: str(port), "HEADRACE_REGISTRY": str(registry), "HEADRACE_INTERVAL": "0.3", **more}
    with (folder / f"{module}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=environment(folder, **settings), stdout=log, stderr=log
        )
    found = Program(process, f"http://127.0.0.1:{port}", registry, folder / "headrace.db")
    try:
        yield found
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 60)
        assert code == 0, (folder / f"{module}.log").read_text()[-3000:]


def controller(folder: Path, **more: str) -> Any:
    workloads = json.dumps([{"name": "consumer", "queues": ["payouts"], "policy": POLICY}])
    return program("autoscaler", folder, "HEADRACE_CONTROLLER_PORT", HEADRACE_WORKLOADS=workloads, **more)


async def submit(database: Path, count: int) -> None:
    broker = SqliteBroker(str(database), project.catalogue().topology(), Settings(), SystemClock())
    await broker.open()
    for _ in range(count):
        envelope = Envelope(new_job_id(), "order.settled", SystemClock().wall())
        broker.publish([Message(envelope.job_id, "order.settled", envelope.headers(), BODY)])
    await broker.close()


async def scaling(database: Path) -> list[ScalingRecord]:
    journal = SqliteJournal(str(database), Settings(), SystemClock())
    await journal.open()
    records = await journal.tail("payouts", 2000)
    await journal.close()
    return records


def waiting(database: Path) -> int:
    """Jobs that are not settled yet."""
    with closing(sqlite3.connect(database)) as reader:
        return int(reader.execute("SELECT count(*) FROM messages WHERE queue = 'payouts'").fetchone()[0])


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and is not waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_burst_brings_consumers_and_its_end_takes_them_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    async with controller(tmp_path) as control:
        await control.ready()
        assert set(control.consumers()) == {"consumer-1"}
        await submit(control.database, 400)
        await control.until(lambda: len(control.consumers()) == 3)
        await control.until(lambda: len(control.consumers()) == 1)

        ((name, pid),) = control.consumers().items()
        os.kill(pid, signal.SIGKILL)
        await control.until(lambda: control.consumers().get(name, pid) != pid)
        await control.ready()
        await submit(control.database, 1)
        await control.until(lambda: waiting(control.database) == 0)
        control.consumers()
    reasons = [record.reason for record in await scaling(control.database) if record.scaled is not None]
    assert reasons[0] in ("at-min", "backlog")
    assert "surplus" in reasons
    assert len(control.pids) >= 4
    assert not [pid for pid in control.pids if alive(pid)], "no process is left behind"
    assert not list(control.registry.glob("*.json"))


async def test_where_each_job_has_a_process_of_its_own_each_ends_and_none_is_stopped(tmp_path: Path) -> None:
    workloads = json.dumps([{"name": "job/payouts", "queues": ["payouts"], "policy": {"max_replicas": 3}}])
    async with program("autoscaler", tmp_path, "HEADRACE_CONTROLLER_PORT", HEADRACE_WORKLOADS=workloads) as control:
        await control.ready()
        assert control.consumers() == {}
        await submit(control.database, 7)
        await control.until(lambda: not control.consumers() and waiting(control.database) == 0)
    records = await scaling(control.database)
    assert [record for record in records if record.scaled is not None and record.scaled < record.asked] == []
    assert 7 <= len(control.pids) <= 10, "one for each, and few in vain"
    assert {alert.kind for record in records for alert in record.alerts} <= {"at-max"}
    assert not [pid for pid in control.pids if alive(pid)]


async def test_a_dry_run_starts_no_process(tmp_path: Path) -> None:
    async with controller(tmp_path, HEADRACE_DRY_RUN="true") as control:
        await submit(control.database, 100)
        async with asyncio.timeout(60):
            while not (records := await scaling(control.database)) or records[-1].wanted != 3:
                await asyncio.sleep(0.1)
        assert control.consumers() == {}
    assert {(record.dry_run, record.scaled) for record in await scaling(control.database)} == {(True, None)}


async def test_the_gateway_tells_and_watch_draws_what_was_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with program("service", tmp_path, "HEADRACE_PORT") as gateway, aiohttp.ClientSession() as client:
        await gateway.ready()

        async def ask(path: str) -> tuple[int, Any]:
            async with client.get(gateway.url + path) as answer:
                return answer.status, await answer.json(content_type=None)

        assert await ask("/v1/scaling") == (200, {"items": []})
        await watch(Address(gateway.url), None, rounds=1)
        assert "No decision yet" in capsys.readouterr().out
        async with controller(tmp_path) as control:
            await control.ready()
            await submit(control.database, 400)
            await control.until(lambda: len(control.consumers()) == 3)
            async with asyncio.timeout(60):
                while [item["asked"] for item in (await ask("/v1/scaling"))[1]["items"]] != [3]:
                    await asyncio.sleep(0.1)
        status, found = await ask("/v1/scaling")
        assert status == 200
        assert [(item["queue"], item["workload"]) for item in found["items"]] == [("payouts", "consumer")]
        status, found = await ask("/v1/scaling/payouts?limit=2000")
        history = found["items"]
        assert status == 200
        assert [item["at"] for item in history] == sorted(item["at"] for item in history)
        assert any(item["scaled"] == 3 for item in history)
        assert (await ask("/v1/scaling/payouts?limit=1"))[1]["items"] == history[-1:]
        assert (await ask("/v1/scaling/email"))[1] == {"items": []}
        for path, expected in (("/v1/scaling/nothing", 404), ("/v1/scaling/email?limit=0", 422)):
            assert (await ask(path))[0] == expected
        console = Console(width=140, record=True, file=io.StringIO())
        console.print(panel(history))
        drawn = console.export_text()
        assert "payouts · consumer" in drawn
        assert any(item["text"][:40] in drawn for item in history)
        await watch(Address(gateway.url), "payouts", rounds=2)
        (line,) = capsys.readouterr().out.splitlines()  # in no terminal: the last change, once
        last = changes(history)[-1]
        assert line == f"{last['at']} payouts (consumer): {last['text']}"
        # A queue that no contract names any more is in the journal still.
        journal = SqliteJournal(str(gateway.database), Settings(), SystemClock())
        await journal.open()
        await journal.append([ScalingRecord("renamed", "consumer", SystemClock().wall(), 1, 1, "steady", "")])
        await journal.close()
        await watch(Address(gateway.url), None, rounds=1)
        assert "payouts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"HEADRACE_WORKLOADS": '[{"name": "c", "queues": ["email"], "policy": {"min_replicas": 5, "max_replicas": 2}}]'},
            "min_replicas=5",
        ),
        ({"HEADRACE_WORKLOADS": '[{"name": "c", "queues": ["nothing"]}]'}, "queue 'nothing'"),
        ({"HEADRACE_WORKLOADS": '[{"name": "c", "queues": ["email"], "policy": {"replicas": 2}}]'}, "no field 'replicas'"),
        ({"HEADRACE_WORKLOADS": '[{"name": "c", "queues": []}]'}, "HEADRACE_WORKLOADS_0_QUEUES"),
        ({"HEADRACE_WORKLOADS": "[{"}, "HEADRACE_WORKLOADS is not JSON"),
        ({"HEADRACE_TRACE_URL": "https://tempo.example/trace"}, "HEADRACE_TRACE_URL"),
        ({"HEADRACE_INTERVAL": "0"}, "HEADRACE_INTERVAL='0'"),
        ({"HEADRACE_OUTCOMES": "mysql://x"}, "HEADRACE_OUTCOMES"),
    ],
)
async def test_a_bad_setting_stops_the_start_with_its_name(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "autoscaler", env=environment(tmp_path, **settings), stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert said in err.decode()
    assert "Traceback" not in err.decode()


@pytest.mark.parametrize(
    ("module", "setting"),
    [("service", "HEADRACE_PORT"), ("consumer", "HEADRACE_PROBE_PORT"), ("autoscaler", "HEADRACE_CONTROLLER_PORT")],
)
async def test_a_signal_that_comes_several_times_at_once_is_one(module: str, setting: str, tmp_path: Path) -> None:
    """As Linux repeats the parent-death signal: the drain goes on, and the exit code is 0 (which `program` asserts)."""
    async with program(module, tmp_path, setting, HEADRACE_LINGER_SECONDS="0") as one:
        await one.ready()
        for _ in range(5):
            one.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.003)
        await asyncio.wait_for(one.process.wait(), 60)


async def test_a_second_controller_of_the_same_consumers_is_refused(tmp_path: Path) -> None:
    async with controller(tmp_path) as first:
        await first.ready()
        settings = {"HEADRACE_REGISTRY": str(first.registry), "HEADRACE_CONTROLLER_PORT": "0"}
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "autoscaler", env=environment(tmp_path, **settings), stderr=asyncio.subprocess.PIPE
        )
        _, err = await asyncio.wait_for(second.communicate(), 60)
        assert second.returncode == 2
        said = (
            f"HEADRACE_REGISTRY={first.registry}: a controller has this folder already, process {first.process.pid}; stop that one"
        )
        assert said in err.decode()
        assert set(first.consumers()) == {"consumer-1"}, "it is as it was"
    async with controller(tmp_path) as third:
        await third.ready()


async def test_consumers_drain_for_as_long_as_their_controller_waits_for_them(tmp_path: Path) -> None:
    async with controller(tmp_path, HEADRACE_DRAIN_SECONDS="47") as control:
        await control.ready()
    (line,) = [line for line in (control.registry / "consumer-1.log").read_text().splitlines() if "draining" in line]
    assert "47.0" in line


async def test_consumers_of_a_controller_that_is_killed_drain_once(tmp_path: Path) -> None:
    workloads = json.dumps([{"name": "consumer", "queues": ["payouts"], "policy": POLICY}])
    settings = {"HEADRACE_WORKLOADS": workloads, "HEADRACE_REGISTRY": str(tmp_path / "consumers"), "HEADRACE_CONTROLLER_PORT": "0"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "autoscaler", env=environment(tmp_path, **settings))
    control = Program(process, "", tmp_path / "consumers", tmp_path / "headrace.db")
    await control.until(lambda: "consuming" in _text(control.registry / "consumer-1.log"))
    (pid,) = control.consumers().values()
    process.kill()
    await process.wait()
    async with asyncio.timeout(30):
        while alive(pid):
            await asyncio.sleep(0.05)
    text = _text(control.registry / "consumer-1.log")
    assert text.count("draining") == 1
    assert "stopped" in text


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
