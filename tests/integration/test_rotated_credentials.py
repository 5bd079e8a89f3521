"""Passwords that change on real servers while the programs run: the file is written again, and no program is restarted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio as aioredis

from adapters import choose
from adapters.rabbitmq import RabbitMQ
from core.clock import SystemClock
from core.errors import StoreUnavailable
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, message, publish, until
from tests.servers import free_port
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import RedisServer

FIRST, SECOND = "first/p@ss:wörd", "second#p?ss"
_QUOTED = {FIRST: "first%2Fp%40ss%3Aw%C3%B6rd", SECOND: "second%23p%3Fss"}


def with_login(url: str, user: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}:{_QUOTED[password]}@{rest.rpartition('@')[2]}"


@pytest.fixture
async def vhost(rabbitmq: RabbitMQServer) -> str:
    """The URL of one in which a user `rotated`, and no other user's password, is changed."""
    url = await asyncio.to_thread(rabbitmq.vhost)
    listed = await asyncio.to_thread(rabbitmq.ctl, "list_users", "--silent")
    if "rotated" not in listed:
        await asyncio.to_thread(rabbitmq.ctl, "add_user", "rotated", FIRST)
    await asyncio.to_thread(rabbitmq.ctl, "change_password", "rotated", FIRST)
    await asyncio.to_thread(rabbitmq.ctl, "set_permissions", "-p", url.rpartition("/")[2], "rotated", ".*", ".*", ".*")
    return url


async def test_rabbitmq_takes_a_changed_password_with_the_next_connection(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(with_login(vhost, "rotated", FIRST))
    settings = Settings(broker_file=str(file), connect_timeout=20, publish_timeout=20)
    broker = choose.broker(settings, TOPOLOGY, SystemClock())
    assert isinstance(broker, RabbitMQ)
    await broker.open()
    await publish(broker, message("before"))
    await asyncio.to_thread(rabbitmq.ctl, "change_password", "rotated", SECOND)
    await publish(broker, message("the open connection stays"))
    await asyncio.to_thread(rabbitmq.ctl, "close_all_connections", "-p", vhost.rpartition("/")[2], "test")
    await until(lambda: "refuses the user or the password" in (broker.unready() or ""), within=30)
    assert FIRST not in (broker.unready() or "")
    file.write_text(with_login(vhost, "rotated", SECOND))
    await until(lambda: broker.unready() is None, within=30)
    await publish(broker, message("after"))
    await broker.close()


@asynccontextmanager
async def gateway(log: Path, **settings: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    environment = os.environ | {"HEADRACE_OUTCOMES": "none:", "HEADRACE_PORT": str(port)} | settings
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "service", env=environment, stderr=file)
    yield f"http://127.0.0.1:{port}/readyz", process
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def reason(url: str, status: int, part: str = "") -> str:
    """Wait for /readyz to answer `status` with a reason that has `part` in it."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as client:
        while True:
            try:
                async with client.get(url) as answer:
                    said = str((await answer.json())["broker"])
                    if answer.status == status and part in said:
                        return said
            except aiohttp.ClientError:
                pass  # not listening yet
            await asyncio.sleep(0.05)


async def test_a_wrong_password_at_start_is_told_and_mended_without_a_restart(
    rabbitmq: RabbitMQServer, vhost: str, tmp_path: Path
) -> None:
    file, log = tmp_path / "url", tmp_path / "log"
    file.write_text(with_login(vhost, "rotated", SECOND))
    async with gateway(log, HEADRACE_BROKER_FILE=str(file), HEADRACE_CONNECT_TIMEOUT="20") as (url, process):
        said = await reason(url, 503, "refuses the user or the password of HEADRACE_BROKER")
        checked = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            "check",
            env=os.environ | {"HEADRACE_BROKER_FILE": str(file), "HEADRACE_OUTCOMES": "none:"},
            stdout=asyncio.subprocess.PIPE,
        )
        out = " ".join((await asyncio.wait_for(checked.communicate(), 40))[0].decode().split())
        assert (checked.returncode, "refuses the user or the password of HEADRACE_BROKER" in out) == (1, True)
        assert process.returncode is None, "it tries again, and stays up"
        file.write_text("no url at all")
        await asyncio.sleep(0)
        file.write_text(with_login(vhost, "rotated", FIRST))
        await reason(url, 200)
    for shown in (said, out, log.read_text()):
        assert not [word for word in (*_QUOTED, *_QUOTED.values()) if word in shown]
    assert log.read_text().count("refuses the user or the password") == 2, "by the link and by readiness, not by each attempt"


async def test_a_missing_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    await refuses_a_missing_file(tmp_path, ("service", "BROKER"), ("consumer", "OUTCOMES"), ("autoscaler", "MANAGEMENT_URL"))


async def refuses_a_missing_file(tmp_path: Path, *programs: tuple[str, str]) -> None:
    """programs: their modules, each with a setting that has a file."""
    for module, setting in programs:
        database = f"sqlite:///{tmp_path}/headrace.db"
        environment = {"HEADRACE_BROKER": database, "HEADRACE_OUTCOMES": database, "HEADRACE_PROBE_PORT": "0"}
        environment[f"HEADRACE_{setting}"] = ""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env=os.environ | environment | {f"HEADRACE_{setting}_FILE": str(tmp_path / "none")},
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 2, err.decode()
        assert f"HEADRACE_{setting}_FILE={tmp_path}/none: No such file" in err.decode()
        assert "Traceback" not in err.decode()


async def test_redis_takes_a_changed_password_with_the_next_connection(own_redis: RedisServer, tmp_path: Path) -> None:
    admin = aioredis.Redis.from_url(own_redis.url)
    file = tmp_path / "url"
    address = own_redis.url.partition("://")[2]
    file.write_text(own_redis.url)
    settings = Settings(outcomes_file=str(file))
    store, journal = choose.outcomes(settings), choose.journal(settings)
    assert store is not None
    assert journal is not None
    await store.open()
    await journal.open()
    await admin.config_set("requirepass", "s3cret-one")
    await admin.execute_command("ACL", "SETUSER", "ada", "on", ">s3cret-two", "~*", "+@all")  # type: ignore[no-untyped-call]  # redis-py has no types there
    await store.ping()  # the open connection stays
    await admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StoreUnavailable):
        await _until_it_answers(store.ping, tries=3)
    file.write_text(f"redis://:s3cret-one@{address}")
    await _until_it_answers(store.ping)
    await _until_it_answers(journal.open)
    await admin.client_kill_filter(_type="normal", skipme=True)
    file.write_text(f"redis://ada:s3cret-wrong@{address}")
    with pytest.raises(StoreUnavailable, match="refuses the user or the password of HEADRACE_OUTCOMES") as raised:
        await _until_it_answers(store.ping, tries=3)
    assert "s3cret" not in str(raised.value)
    file.write_text(f"redis://ada:s3cret-two@{address}")
    await _until_it_answers(store.ping)
    await _until_it_answers(journal.open)
    for opened in (store, journal):
        await opened.close()
    await admin.aclose()


async def _until_it_answers(ask: Callable[[], Awaitable[None]], tries: int = 10) -> None:
    """A connection that was killed is found out by the next command: that one fails."""
    for left in reversed(range(tries)):
        try:
            await ask()
        except StoreUnavailable:
            if not left:
                raise
        else:
            return
