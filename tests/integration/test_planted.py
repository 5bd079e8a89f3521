"""Secrets and addresses that are planted in every program: no secret in any log line, no address in any answer of a probe."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.keys import line_of, new_key
from tests.servers import free_port

SECRETS = {name: f"planted{name}5ecret" for name in ("broker", "redis", "dsn", "payload", "management", "alert")}
# A name that resolves to nothing (RFC 6761), and an address where no server listens.
HOST = "planted-host.invalid"
CONTRACT = '''"""A validator with a mistake, which meets what it does not expect."""
from pydantic import BaseModel, field_validator
from core.model import Contract

class Card(BaseModel):
    number: str

    @field_validator("number")
    @classmethod
    def known(cls, number: str) -> str:
        table = {"other": number}
        return table[number[:1] and "missing"]

PAY = Contract(name="card.paid", payload=Card, queues=("pay",))
'''
OPENER = f'''"""A resource that cannot be opened, and says why in its error."""
from collections.abc import Iterator
from consumer import Context, handler, resource
from app.contracts.card import Card

class Safe: ...

@resource
def open_safe() -> Iterator[Safe]:
    dsn = "postgresql://user:{SECRETS["dsn"]}@{HOST}/db"
    raise RuntimeError("cannot connect to " + dsn)
    yield Safe()

@handler("card.paid", queue="pay")
async def pay(card: Card, ctx: Context, safe: Safe) -> None: ...
'''


@dataclass
class Program:
    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        async with aiohttp.ClientSession() as client, client.request(method, self.url + path, **more) as answer:
            return answer.status, await answer.text()

    async def until_listening(self) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.ask("GET", "/livez")
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def until_logged(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text not in self.log.read_text():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def program(folder: Path, *arguments: str, expected: int = 0, form: str = "json", **settings: str) -> AsyncIterator[Program]:
    for package in ("app", "app/contracts", "app/handlers"):
        (folder / package).mkdir(exist_ok=True)
        (folder / package / "__init__.py").touch()
    (folder / "app/contracts/card.py").write_text(CONTRACT)
    port, log = str(free_port()), folder / "log"
    environment = os.environ | {
        "HEADRACE_BROKER": f"amqp://user:{SECRETS['broker']}@{HOST}:5672/v",
        "HEADRACE_OUTCOMES": f"redis://user:{SECRETS['redis']}@{HOST}:6379/0",
        "HEADRACE_APP": "app",  # of this folder
        "HEADRACE_PORT": port,
        "HEADRACE_PROBE_PORT": port,
        "HEADRACE_CONTROLLER_PORT": port,
        "HEADRACE_CONNECT_TIMEOUT": "1",
        "HEADRACE_STORE_TIMEOUT": "0.5",
        "HEADRACE_LOG_FORMAT": form,
        "HEADRACE_LOG_LEVEL": "debug",
    }
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=folder, env=environment | settings, stderr=file, stdout=file
        )
    yield Program(process, f"http://127.0.0.1:{port}", log)
    if process.returncode is None:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == expected
    found = [name for name, secret in SECRETS.items() if secret in log.read_text()]
    assert found == []


async def shows_no_address(one: Program) -> None:
    for path in ("/livez", "/readyz"):
        _, shown = await one.ask("GET", path)
        assert "planted" not in shown
        assert ":5672" not in shown
        assert ":6379" not in shown
    assert "planted-host" in one.log.read_text(), "the log says where"


@pytest.mark.parametrize("form", ["json", "console"])
async def test_the_gateway(tmp_path: Path, form: str) -> None:
    key, unknown = new_key(), new_key()
    (tmp_path / "keys").write_text(line_of("shop", "submit,read", key) + "\n")
    async with program(tmp_path, "-m", "service", form=form, HEADRACE_API_KEYS=str(tmp_path / "keys")) as gateway:
        await gateway.until_listening()
        await gateway.until_logged("the outcome store is away")
        for given in (key, unknown):
            status, _ = await gateway.ask(
                "POST", "/v1/jobs/card.paid", json={"number": SECRETS["payload"]}, headers={"authorization": f"Bearer {given}"}
            )
            assert status == (500 if given == key else 401)
        await gateway.until_logged("KeyError")
        status, shown = await gateway.ask("GET", "/v1/jobs/01a20c57-040c-7584-a42e-6f91a24065d8", headers={"x-api-key": key})
        assert status == 503
        assert "planted" not in shown
        await shows_no_address(gateway)
        text = gateway.log.read_text()
        assert key not in text
        assert unknown not in text
        if form == "json":
            assert all(json.loads(line) for line in text.splitlines())


@pytest.mark.parametrize("form", ["json", "console"])
async def test_the_consumer(tmp_path: Path, form: str) -> None:
    """Its resource cannot be opened: that ends the program, with a line of the log as its last words."""
    (tmp_path / "app/handlers").mkdir(parents=True)
    (tmp_path / "app/handlers/pay.py").write_text(OPENER)
    async with program(tmp_path, "-m", "consumer", expected=1, form=form) as consumer:
        await asyncio.wait_for(consumer.process.wait(), 30)
        assert "cannot connect to postgresql://user:***@" in consumer.log.read_text()


async def test_a_consumer_whose_servers_are_away(tmp_path: Path) -> None:
    (tmp_path / "app/handlers").mkdir(parents=True)
    (tmp_path / "app/handlers/pay.py").write_text(OPENER.replace("    raise RuntimeError", "    str"))
    async with program(tmp_path, "-m", "consumer", HEADRACE_LOG_LEVEL="info") as consumer:
        await consumer.until_listening()
        await consumer.until_logged("planted-host")
        await shows_no_address(consumer)


async def test_the_controller(tmp_path: Path) -> None:
    async with program(
        tmp_path,
        "-m",
        "autoscaler",
        HEADRACE_MANAGEMENT_URL=f"http://user:{SECRETS['management']}@{HOST}:15672/",
        HEADRACE_ALERT_URL=f"http://user:{SECRETS['alert']}@{HOST}:9093/",
        HEADRACE_ACTUATOR="processes",
        HEADRACE_REGISTRY=str(tmp_path / "registry"),
        HEADRACE_DRY_RUN="true",
    ) as controller:
        await controller.until_listening()
        await controller.until_logged("planted-host")
        await shows_no_address(controller)
