"""The command line against a system that it started itself."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.command_line import run
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer


@dataclass
class Up:
    url: str
    data: Path
    process: asyncio.subprocess.Process


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    port, data = free_port(), tmp_path / "data"
    command = [sys.executable, "-m", "cli", "up", "--data", str(data), "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        while b"Headrace is up" not in await process.stdout.readline():
            assert process.returncode is None
    yield Up(f"http://127.0.0.1:{port}", data, process)
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0


def user(number: int, email: str | None = None) -> str:
    address = email or f"user{number}@example.com"
    return json.dumps({"user_id": number, "email": address, "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"})


async def test_submit_status_and_dead_letters(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "users.ndjson"
    file.write_text("\n".join([user(1), user(2, "gone-2@example.com"), '{"user_id": 3}', "{", user(5)]))
    code, _, err = await run("submit", "user.registered", str(file), "--url", up.url)
    assert code == 1
    assert "3 accepted, 2 refused" in err
    assert "line 3: /email: Field required" in err
    async with asyncio.timeout(20):
        while not (items := json.loads((await run("dead", "list", "--json", "--url", up.url))[1])["items"]):
            await asyncio.sleep(0.1)
    (dead,) = items
    code, out, err = await run("dead", "list", "--url", up.url, "--queue", "email", COLUMNS="40")
    assert (code, dead["dead_id"] in out, err) == (0, True, "")
    code, _, err = await run("dead", "list", "--url", up.url, "--queue", "emial")
    assert (code, "no contract names queue 'emial'" in err) == (0, True)
    code, out, _ = await run("dead", "show", dead["dead_id"], "--url", up.url)
    assert json.loads(out)["payload"]["user_id"] == 2
    code, out, _ = await run("status", dead["job_id"], "--watch", "--json", "--url", up.url)
    assert {d["queue"]: d["state"] for d in json.loads(out)["deliveries"]} == {"email": "dead", "points": "succeeded"}
    assert (await run("dead", "replay", dead["dead_id"], "--url", up.url))[0] == 0
    async with asyncio.timeout(20):
        while len(json.loads((await run("dead", "list", "--json", "--url", up.url))[1])["items"]) != 2:
            await asyncio.sleep(0.1)  # the replay died too, as its own dead letter
    assert (await run("dead", "drop", dead["dead_id"], "--url", up.url))[0] == 0
    code, _, err = await run("dead", "show", dead["dead_id"], "--url", up.url)
    assert (code, "Not found" in err) == (2, True)


async def test_try_follows_one_job_to_its_end(up: Up) -> None:
    code, out, _ = await run("try", "user.registered", user(901), "--url", up.url)
    assert (code, out.count("succeeded")) == (0, 2)
    code, out, _ = await run("try", "user.registered", user(902, "gone-902@example.com"), "--url", up.url)
    assert (code, "dead" in out) == (1, True)
    code, _, err = await run("try", "user.registered", '{"user_id": 3}', "--url", up.url)
    assert (code, "Field required" in err) == (2, True)
    code, _, err = await run("try", "user.registred", user(903), "--url", up.url)
    assert (code, "Unknown job type: no job type is called 'user.registred'" in " ".join(err.split())) == (2, True), err
    code, _, err = await run("try", "user.registered", "{", "--url", up.url)
    assert (code, "not JSON" in err) == (2, True)


async def test_try_gives_up_where_nobody_answers() -> None:
    code, _, err = await run("try", "user.registered", user(1), "--url", "http://127.0.0.1:9", "--timeout", "2")
    assert code == 1
    told, end = err.splitlines()
    assert told.startswith("not accepted yet, trying again: no answer from http://127.0.0.1:9")
    assert end == "not accepted within 2 s"


async def test_a_submit_that_was_killed_goes_on_without_a_second_job(up: Up, tmp_path: Path) -> None:
    file, note = tmp_path / "users.ndjson", tmp_path / "note"
    file.write_text("".join(user(n) + "\n" for n in range(1, 1501)))
    command = [sys.executable, "-m", "cli", "submit", "user.registered", str(file), "--url", up.url, "--checkpoint", str(note)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(30):
        while not note.exists() or json.loads(note.read_bytes())["upto"] < 50:
            await asyncio.sleep(0.01)
    process.kill()
    await process.wait()
    code, _, err = await run("submit", "user.registered", str(file), "--url", up.url, "--checkpoint", str(note))
    assert code == 0, err
    async with asyncio.timeout(60):
        while _credits(up) != (1500, 1500):  # rows, users: counted from the effects
            assert _credits(up)[0] <= 1500
            await asyncio.sleep(0.1)
    file.write_text(user(1))
    code, _, err = await run("submit", "user.registered", str(file), "--url", up.url, "--checkpoint", str(note))
    assert (code, "another file" in err) == (2, True)


def _credits(up: Up) -> tuple[int, int]:
    with sqlite3.connect(up.data / "points.db") as database:
        rows, users = database.execute("SELECT count(*), count(DISTINCT user_id) FROM points").fetchone()
    return rows, users


async def test_an_unreachable_gateway(tmp_path: Path) -> None:
    code, _, err = await run("status", "01a20c57-040c-7584-a42e-6f91a24065d8", "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 2
    assert "headrace up" in err


async def test_check_says_what_to_mend(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=url)
    assert (code, "nothing to mend" in out) == (0, True)
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=f"redis://127.0.0.1:{free_port()}/0")
    assert (code, "outcome store: Redis" in out, "mend HEADRACE_OUTCOMES" in out.replace("\n", " ")) == (1, True, True)
    code, out, _ = await run("check", HEADRACE_BROKER=f"amqp://127.0.0.1:{free_port()}/", HEADRACE_OUTCOMES=url)
    assert (code, "✗ broker: " in out, "mend HEADRACE_BROKER" in out) == (1, True, True), out
    code, out, _ = await run("check", HEADRACE_CLAIM_LEASE="-1")
    assert (code, "HEADRACE_CLAIM_LEASE='-1'" in out) == (1, True)
    code, out, _ = await run("check", HEADRACE_DATABASE="foo")
    assert (code, "HEADRACE_DATABASE='foo'" in out) == (1, True)
    code, out, _ = await run("check", HEADRACE_WORKLOADS='[{"name": "c", "queues": ["typo"]}]')
    assert (code, "queue 'typo'" in out) == (1, True)


async def test_a_queue_without_a_contract_is_a_warning_of_check_and_the_end_of_its_consumer(tmp_path: Path) -> None:
    """The controller goes on with the rest; a consumer that was asked for it has nothing to do, and says so."""
    url = f"sqlite:///{tmp_path}/headrace.db"
    workloads = '[{"name": "gone", "queues": ["old"]}, {"name": "mail", "queues": ["email"]}]'
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=url, HEADRACE_WORKLOADS=workloads)
    assert (code, "! HEADRACE_WORKLOADS: gone names queue 'old'" in out, "'email'" in out) == (0, True, False)
    pipe = asyncio.subprocess.PIPE
    consumer = await asyncio.create_subprocess_exec(sys.executable, "-m", "consumer", "--queues", "email,old", stderr=pipe)
    _, err = await asyncio.wait_for(consumer.communicate(), 30)
    assert (consumer.returncode, "names 'old'; the contracts have: " in err.decode()) == (2, True)


async def test_check_warns_of_runs_that_a_rollout_would_break_off(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=url, HEADRACE_DRAIN_SECONDS="19")
    assert code == 0
    told = " ".join(out.split())
    assert "! queue email: user.registered may run for 20 s, HEADRACE_DRAIN_SECONDS is 19" in told
    assert "drainSeconds" in told
    workloads = '[{"name": "job/email", "queues": ["email"]}, {"name": "rest", "queues": ["points", "payouts"]}]'
    own = {"HEADRACE_BROKER": url, "HEADRACE_OUTCOMES": url, "HEADRACE_DRAIN_SECONDS": "19", "HEADRACE_WORKLOADS": workloads}
    code, out, _ = await run("check", **own)
    assert (code, "queue email: user.registered may" in " ".join(out.split())) == (0, False)
    assert "queue points: user.registered may" in " ".join(out.split())


async def test_check_warns_of_names_that_nobody_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/headrace.db"
    given = {
        "HEADRACE_PORTT": "1",
        "HEADRACE_NOPE": "1",
        "HEADRACE_ZZZZZZZZ": "1",
        "HEADRACE_API_KEY": "x",
        "HEADRACE_TEST_HIDE": "none",
    }
    code, out, _ = await run("check", HEADRACE_BROKER=url, HEADRACE_OUTCOMES=url, **given)
    assert code == 0
    assert "HEADRACE_PORTT is not a setting, and nobody reads it; did you mean HEADRACE_PORT?" in " ".join(out.split())
    told = ["HEADRACE_NOPE", "HEADRACE_PORTT", "HEADRACE_ZZZZZZZZ"]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("!")] == told
    assert out.count("did you mean") == 1, "only where a name is near"


async def test_no_process_is_left_behind(up: Up) -> None:
    async with asyncio.timeout(30):
        while len(children := _children(up.process.pid)) < 2:  # one may be being started again
            await asyncio.sleep(0.1)
    up.process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(up.process.wait(), 40)
    assert up.process.returncode == 0
    assert not [pid for pid in children if _alive(pid)]


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.needs("rabbitmq")
async def test_check_tells_a_feature_flag_that_is_off(tmp_path: Path) -> None:
    server = RabbitMQServer(tmp_path / "rabbitmq", feature_flags="quorum_queue")
    await asyncio.to_thread(server.start)
    try:
        settings = {"HEADRACE_BROKER": server.url, "HEADRACE_OUTCOMES": "none:", "HEADRACE_CONNECT_TIMEOUT": "20"}
        code, out, _ = await run("check", **settings)
        assert (code, "enable_feature_flag stream_queue" in " ".join(out.split())) == (1, True), out
        await asyncio.to_thread(server.ctl, "enable_feature_flag", "stream_queue")
        code, out, _ = await run("check", **settings)
        assert (code, "nothing to mend" in out) == (0, True), out
        assert "headrace.check" not in await asyncio.to_thread(server.ctl, "list_queues", "--silent", "name")
    finally:
        server.end()
