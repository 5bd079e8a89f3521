"""A coroutine, a plain function with a resource, and a coroutine of another job type."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

from consumer import Context, Permanent, handler, resource
from core.settings import load
from tests.team.contracts.order_settled import OrderSettled
from tests.team.contracts.user_registered import UserRegistered
from tests.team.settings import BookSettings


class Book:
    """Credits, each once, in a file that other processes write to as well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as file:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("CREATE TABLE IF NOT EXISTS points (idempotency_key TEXT PRIMARY KEY, user_id INTEGER)")

    def credit(self, key: str, user_id: int) -> bool:
        with closing(self._open()) as file, file:
            return file.execute("INSERT OR IGNORE INTO points VALUES (?, ?)", (key, user_id)).rowcount > 0

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=10.0)


@resource
def open_book() -> Iterator[Book]:
    yield Book(Path(load(BookSettings).database.removeprefix("sqlite:///")))


@handler("user.registered", queue="email")
async def welcome(user: UserRegistered, ctx: Context) -> dict[str, str]:
    if user.email.startswith("gone-"):
        raise Permanent("the mail server refused for good: 550 no such mailbox")
    return {"message_id": ctx.idempotency_key}


@handler("user.registered", queue="points")
def credit(user: UserRegistered, ctx: Context, book: Book) -> dict[str, object]:
    return {"points": 100, "credited": book.credit(ctx.idempotency_key, user.user_id)}


@handler("order.settled", queue="payouts")
async def settle(order: OrderSettled, ctx: Context) -> dict[str, str]:
    fee = (order.amount * Decimal("0.029")).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
    return {"fee": str(fee), "payout": str(order.amount - fee), "currency": order.currency}
