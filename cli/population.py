"""The users of a demo: who they are, and what must have become of each."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class User:
    """kind: `good`, `later` (refused for a while) or `gone` (refused for good)."""

    user_id: int
    email: str
    kind: str

    @property
    def payload(self) -> dict[str, object]:
        return {
            "user_id": self.user_id,
            "email": self.email,
            "name": f"User {self.user_id}",
            "registered_at": "2026-01-31T09:30:00Z",
        }


def population(count: int, first: int) -> list[User]:
    """`count` users from number `first` on: every 50th is gone, every 20th of the others comes later."""
    users = []
    for number in range(first, first + count):
        kind = "gone" if number % 50 == 7 else "later" if number % 20 == 3 else "good"
        prefix = "" if kind == "good" else f"{kind}-"
        users.append(User(number, f"{prefix}user{number}@example.com", kind))
    return users


@dataclass(frozen=True, slots=True)
class Effects:
    """The true numbers: counted from mails and rows, not from the system's own books."""

    lost: int
    duplicated: int
    resent: int


def count_effects(users: Iterable[User], mails: Path, database: Path) -> Effects:
    """Hold the mails and the rows against what must be: one mail for each user who can have one, one credit for each.

    A second mail with the same Message-ID is a repeat of the same mail, which only a kill can cause.
    """
    ids: dict[str, Counter[str]] = {}
    for line in mails.read_text().splitlines():
        mail = json.loads(line)
        for address in mail["to"]:
            ids.setdefault(address, Counter())[mail["message_id"]] += 1
    with sqlite3.connect(database) as connection:
        rows = Counter(user for (user,) in connection.execute("SELECT user_id FROM points"))
    lost = duplicated = resent = 0
    for user in users:
        sent = ids.get(user.email, Counter())
        lost += (user.kind != "gone" and not sent) + (not rows[user.user_id])
        duplicated += max(0, len(sent) - 1) + max(0, rows[user.user_id] - 1)
        resent += sum(times - 1 for times in sent.values())
    return Effects(lost, duplicated, resent)
