"""The state diagrams of docs/architecture.md: their names and transitions are those of the code."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.sqlite import deliveries
from adapters.sqlite.moment import Moment
from adapters.sqlite.schema import migrate
from consumer import Context, RetryLater
from consumer.runtime import QueueRuntime
from consumer.taken import Stage, Taken
from core.clock import SystemClock
from core.envelope import Envelope
from core.identity import new_job_id
from core.model import Reason, State
from core.ports import Claim, DeadLetter, Outcome, Queued
from tests.unit.consuming import Payload, consuming

ROOT = Path(__file__).parents[2]
ENDS = "[*]"
LEASE = 10.0
# Operations in a row. Each transition of the table needs four at most: claim, dead, replayed, claimed.
DEPTH = 4


class Diagram(NamedTuple):
    """edges: (from, to), without those to the end."""

    names: frozenset[str]
    edges: frozenset[tuple[str, str]]


def diagram(heading: str) -> Diagram:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition(f"### {heading}\n")[2]
    drawn = text.partition("```mermaid\n")[2].partition("```")[0]
    aliases = dict(re.findall(r'^ +state "([^"]+)" as (\w+)$', drawn, re.MULTILINE))
    named = {alias: name for name, alias in aliases.items()}
    edges = {(named.get(a, a), named.get(b, b)) for a, b in re.findall(r"^ +(\S+) --> ([^\s:]+)", drawn, re.MULTILINE)}
    assert edges
    assert len(edges) == len(re.findall("-->", drawn)), "a transition is drawn twice, or is not understood"
    names = {name for edge in edges for name in edge} - {ENDS}
    return Diagram(frozenset(names), frozenset(edge for edge in edges if edge[1] != ENDS))


def test_the_stages_are_those_of_a_consumer() -> None:
    assert diagram("In a consumer").names == {stage.value for stage in Stage}


async def test_the_transitions_are_those_of_a_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, str]] = set()

    def record(taken: Taken, name: str, value: Any) -> None:
        if name == "stage":
            before = getattr(taken, "stage", None)
            seen.add((before.value if before else ENDS, value.value))
        object.__setattr__(taken, name, value)

    def act(_: Payload, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise RetryLater(0.01)

    monkeypatch.setattr(Taken, "__setattr__", record)
    clock = SystemClock()
    async with consuming(act, clock=clock, time_limit=20.0) as world:
        await world.ended(await world.submit())
        await world.ended(await world.submit(deadline=clock.wall() - 1))
        astray = Envelope(new_job_id(), "thing.done", clock.wall()).headers() | {"cloudEvents_type": "thing.undone"}
        await world.submit(headers=astray)
        held = new_job_id()
        await world.store.claim([Claim("work", held, "thing.done", 1.0, 0, 1, "another", 30.0)])
        await world.submit(job_id=held)
        await world.until(lambda: ("claiming", "putting off") in seen and ("waiting", "putting off") in seen)
        await world.runtime.drain(2.0)
        world.runtime = QueueRuntime("work", world.broker, None, world.tools)
        await world.runtime.start()
        await world.submit()
        await world.submit(deadline=clock.wall() - 1)
        await world.until(lambda: {("waiting", "running"), ("waiting", "settling")} <= seen)
    drawn = diagram("In a consumer").edges
    assert {edge for edge in seen if edge[0] != edge[1]} == drawn


def test_the_states_are_those_that_a_program_writes() -> None:
    programs = (path for folder in ("adapters", "service", "consumer", "cli") for path in (ROOT / folder).rglob("*.py"))
    assert [path for path in programs if "State.CANCELLED" in path.read_text(encoding="utf-8")] == [], "then it is to be drawn"
    assert diagram("In the outcome store").names == {state.value for state in State} - {State.CANCELLED.value}


def test_the_transitions_are_those_of_an_outcome_store() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, SystemClock())
    seen = frozenset((before, after) for before, after in Walk(connection).steps(DEPTH) if before != after)
    assert diagram("In the outcome store").edges == seen


class Walk:
    """Everything that a gateway, consumers and an operator can do to one delivery, in each order."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._tokens = 0

    def steps(self, depth: int, now: float = 1.0, held: Claim | None = None) -> Iterator[tuple[str, str]]:
        """(before, after) of each operation. held: the claim of the run that is under way."""
        if depth == 0:
            return
        before = self._state()
        for act in self._acts(held):
            self._connection.execute(f"SAVEPOINT at_{depth}")
            later = now + 2 * LEASE if act == "the lease ends" else now + 1.0
            still_held = self._done(act, held, Moment(later, "boot", later))
            yield before, self._state()
            yield from self.steps(depth - 1, later, still_held)
            self._connection.execute(f"ROLLBACK TO at_{depth}")

    def _acts(self, held: Claim | None) -> list[str]:
        acts = ["queued", "unconfirmed", "claim 1", "claim 2", "the lease ends"]
        if self._connection.execute("SELECT 1 FROM dead_letters").fetchone():
            acts += ["replayed", "claim the replay"]
        return acts + ([f"settle {state}" for state in _SETTLED] if held else [])

    def _done(self, act: str, held: Claim | None, now: Moment) -> Claim | None:
        match act.split():
            case ["queued"]:
                deliveries.queued(self._connection, _QUEUED, State.QUEUED, State.UNCONFIRMED, now.wall)
            case ["unconfirmed"]:
                deliveries.queued(self._connection, _QUEUED, State.UNCONFIRMED, State.QUEUED, now.wall)
            case ["claim", *which]:
                self._tokens += 1
                replay, attempt = (1, 1) if which == ["the", "replay"] else (0, int(which[0]))
                claim = Claim("work", "id", "thing.done", 0.0, replay, attempt, str(self._tokens), LEASE)
                return claim if deliveries.claim(self._connection, claim, now).verdict.ours else held
            case ["settle", state] if held is not None:
                letter = DeadLetter("dead", "work", Reason.PERMANENT, now.wall, {}, b"", 1, "id", "thing.done")
                ended = Outcome(held, State(state), now.wall, next_at=now.wall + 1.0, dead=letter if state == State.DEAD else None)
                deliveries.settle(self._connection, ended, now)
                return None
            case ["replayed"]:
                deliveries.replayed(self._connection, "dead", now.wall, 1)
        return held

    def _state(self) -> str:
        found = self._connection.execute("SELECT state FROM deliveries").fetchone()
        return str(found[0]) if found else ENDS


_QUEUED = [Queued("id", "thing.done", ("work",), 0.0)]
_SETTLED = (State.SUCCEEDED, State.RETRYING, State.DEAD, State.QUEUED)
