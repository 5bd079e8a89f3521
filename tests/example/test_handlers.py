"""The shipped handlers on real servers: a mail server, SQLite, PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from sqlalchemy import select
from sqlalchemy.engine import Engine

from app.contracts.order_settled import OrderSettled
from app.contracts.user_registered import UserRegistered
from app.handlers.email import send_welcome
from app.handlers.payouts import Payout, fee_of, settle
from app.handlers.points import Points, credit
from app.resources.database import create_tables, open_engine
from app.resources.mail import Mailer
from app.settings import MailSettings
from consumer import Permanent
from consumer.testing import context
from core.errors import InvalidPayload
from core.payload import read
from tests.servers import free_port
from tests.servers.postgres import Postgres


def user(email: str = "ada@example.com") -> UserRegistered:
    return UserRegistered.model_validate(
        {"user_id": 7, "email": email, "name": "Ada\r\nBcc: x@example.com", "registered_at": "2026-01-31T09:30:00Z"}
    )


def test_a_time_without_an_offset_is_refused() -> None:
    given = b'{"user_id": 42, "email": "ada@example.com", "name": "Ada", "registered_at": "2026-01-31T09:30:00Z"}'
    assert read(UserRegistered, given).registered_at.utcoffset() is not None
    with pytest.raises(InvalidPayload, match=r"/registered_at: .*timezone"):
        read(UserRegistered, given.replace(b"00Z", b"00"))


class Sink:
    def __init__(self, port: int, file: Path) -> None:
        self.port, self.file = port, file

    def mails(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    sink = Sink(free_port(), tmp_path / "mails.jsonl")
    command = [sys.executable, "-m", "app.local.smtp_sink", "--port", str(sink.port), "--file", str(sink.file), "--refusals", "1"]
    process = await asyncio.create_subprocess_exec(*command)
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            await writer.wait_closed()
            break
    yield sink
    process.terminate()
    assert await process.wait() == 0


@pytest.fixture
async def mailer(sink: Sink) -> AsyncIterator[Mailer]:
    mailer = Mailer(MailSettings(smtp_port=sink.port))
    yield mailer
    await mailer.close()


async def test_a_repeat_sends_the_same_message_id(sink: Sink, mailer: Mailer) -> None:
    ctx = context("email")
    await send_welcome(user(), ctx, mailer)
    await send_welcome(user(), ctx, mailer)
    first, second = sink.mails()
    assert first["message_id"] == second["message_id"]
    assert first["to"] == ["ada@example.com"], "a line break in a name adds no header"


async def test_refused_for_good_is_permanent(sink: Sink, mailer: Mailer) -> None:
    with pytest.raises(Permanent, match="550"):
        await send_welcome(user("gone-1@example.com"), context("email"), mailer)
    assert sink.mails() == []


async def test_refused_for_a_while_is_tried_again(sink: Sink, mailer: Mailer) -> None:
    with pytest.raises(aiosmtplib.SMTPException):
        await send_welcome(user("later-1@example.com"), context("email"), mailer)
    await send_welcome(user("later-1@example.com"), context("email"), mailer)
    assert len(sink.mails()) == 1


async def test_no_mail_server_is_tried_again() -> None:
    mailer = Mailer(MailSettings(smtp_port=free_port()))
    with pytest.raises(aiosmtplib.SMTPException):
        await send_welcome(user(), context("email"), mailer)
    await mailer.close()


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HEADRACE_DATABASE", url)
        yield from open_engine()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/new/points.db"
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.url
    with _engine(url) as engine:
        create_tables(engine)  # a second process starting: harmless
        yield engine


def test_points_are_credited_once(engine: Engine) -> None:
    ctx = context("points")
    assert credit(user(), ctx, engine)["credited"] is True
    assert credit(user(), ctx, engine)["credited"] is False
    with engine.connect() as connection:
        rows = connection.execute(select(Points.points).where(Points.idempotency_key == ctx.idempotency_key)).all()
    assert rows == [(100,)]


def test_a_postgres_that_vanishes_is_noticed_soon_unless_the_url_says_otherwise(postgres_server: Postgres) -> None:
    with _engine(f"{postgres_server.url}?keepalives_idle=7&application_name=me") as engine, engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        given = driver.info.get_parameters()
    assert given["keepalives_idle"] == "7"
    assert given["application_name"] == "me"
    assert (given["tcp_user_timeout"], given["keepalives_interval"]) == ("25000", "5")


async def test_a_settlement_is_stored_once(engine: Engine) -> None:
    ctx = context("payouts")
    order = OrderSettled(order_id=1, user_id=2, amount=Decimal("129.90"), currency="EUR")
    first, second = await settle(order, ctx, engine), await settle(order, ctx, engine)
    assert first == second == {"fee": "3.77", "payout": "126.13", "currency": "EUR"}
    with engine.connect() as connection:
        rows = connection.execute(select(Payout.payout).where(Payout.idempotency_key == ctx.idempotency_key)).all()
    assert rows == [(Decimal("126.13"),)]


def test_fees_round_half_to_even() -> None:
    assert fee_of(Decimal("50.00")) == Decimal("1.45")
    assert fee_of(Decimal("0.01")) == Decimal("0.00")
