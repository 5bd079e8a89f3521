"""Sees everything that happens, and says what must not.

A delivery is (queue, job id). An effect comes once, and once more for each excuse of that delivery: its process was killed,
its claim was taken over or its run broken off between effect and outcome, or the store lost what it knew.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.simulated.queues import Entry
from consumer.context import Context
from core.claims import Stored
from core.model import State
from core.ports import DeadLetter
from tests.simulation.loop import PROGRAM, Program

Key = tuple[str, str]


@dataclass(eq=False)
class Run:
    key: Key
    replay: int
    attempt: int
    program: Program
    plain: bool
    acted: bool = False


@dataclass
class Accepted:
    """A job that was answered 202."""

    n: int
    job_type: str
    queues: tuple[str, ...]


@dataclass
class Witness:
    now: Callable[[], float]
    policy: dict[str, int]
    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    effects: Counter[tuple[Key, int]] = field(default_factory=Counter)
    letters: dict[Key, list[DeadLetter]] = field(default_factory=dict)
    live: dict[Run, None] = field(default_factory=dict)
    in_hand: dict[Key, Run] = field(default_factory=dict)  # begun, and no outcome recorded yet
    excuses: dict[Key, list[str]] = field(default_factory=dict)
    begun: Counter[tuple[Key, int, int]] = field(default_factory=Counter)
    handed_back: Counter[tuple[Key, int, int]] = field(default_factory=Counter)
    forgotten: Counter[Key] = field(default_factory=Counter)
    known: dict[Key, None] = field(default_factory=dict)
    purged: dict[Key, None] = field(default_factory=dict)  # an operator emptied their queue of them
    lost: Counter[Key] = field(default_factory=Counter)  # times that a delivery came back with the connection that held it
    runs: int = 0
    store_ailing: bool = False
    _hash: Any = field(default_factory=hashlib.sha256)

    # ------------------------------------------------------------------------------------------------------ the trace

    def note(self, what: str, *about: object) -> None:
        line = f"{self.now():.6f} {what} {' '.join(str(one) for one in about)}"
        self._hash.update(line.encode("utf-8", "backslashreplace"))
        self.seen.append(line)

    def fails(self, what: str) -> None:
        if len(self.wrong) < 50:
            self.wrong.append(f"{self.now():.3f} s: {what}")
        self.note("WRONG", what)

    @property
    def digest(self) -> str:
        return str(self._hash.hexdigest())

    def excuse(self, key: Key, why: str) -> None:
        self.excuses.setdefault(key, []).append(why)

    # ----------------------------------------------------------------------------------------------------- handlers

    def begins(self, ctx: Context, *, plain: bool) -> Run:
        program = PROGRAM.get()
        assert program is not None
        key = ctx.queue, ctx.job_id
        run = Run(key, ctx.envelope.replay, ctx.attempt, program, plain)
        self.note("begins", *key, run.replay, run.attempt, program.name)
        self.runs += 1
        if run.attempt > self.policy[ctx.envelope.job_type]:
            self.fails(f"{key}: attempt {run.attempt} is beyond its policy")
        attempt = key, run.replay, run.attempt
        self.begun[attempt] += 1
        if self.begun[attempt] > 1 + self.handed_back[attempt] + self.forgotten[key]:
            self.fails(f"{key}: attempt {run.attempt} of replay {run.replay} began again, and had not been handed back")
        beside = [other for other in self.live if other.key == key and not other.program.killed]
        if beside and not self.excuses.get(key):
            self.fails(f"{key}: two runs at once, in {beside[0].program.name} and {program.name}")
        self.live[run] = None
        self.in_hand[key] = run
        return run

    def effect(self, run: Run) -> None:
        run.acted = True
        effect = run.key, run.replay
        self.effects[effect] += 1
        self.note("effect", *run.key, run.replay, run.attempt)
        excuses = self.excuses.get(run.key, [])
        if self.effects[effect] > 1 + len(excuses):
            self.fails(
                f"{run.key}: an effect came {self.effects[effect]} times (replay {run.replay}); excuses: {excuses or 'none'}"
            )

    def ends(self, run: Run) -> None:
        self.live.pop(run, None)
        self.note("ends", *run.key, run.replay, run.attempt)

    # ---------------------------------------------------------------------------------------------------- programs

    def killed(self, program: Program) -> None:
        """Its jobs in hand may be done again."""
        for key, run in list(self.in_hand.items()):
            if run.program is program:
                self.excuse(key, "killed")
                del self.in_hand[key]
        for run in [run for run in self.live if run.program is program]:
            del self.live[run]

    def drained(self, program: Program) -> None:
        """It has ended by itself. A function that runs on in its thread, and an outcome that a sick store did not take, are
        excuses; that it was slow is none."""
        for key, run in list(self.in_hand.items()):
            if run.program is program:
                if run.plain or self.store_ailing:
                    self.excuse(key, "broken off")
                del self.in_hand[key]
        for run in [run for run in self.live if run.program is program]:
            del self.live[run]

    # -------------------------------------------------------------------------------------------------- the store

    def stored(self, what: str, key: Key, before: Stored | None, after: Stored | None, token: str) -> None:
        self.note("stored", what, *key, *(("-",) if after is None else after[:3]))
        if what in ("rolled back", "forgotten"):
            for lost in list(self.known) if what == "rolled back" else [key]:
                self.excuse(lost, "the store lost it")
                self.forgotten[lost] += 1
            return
        assert after is not None
        self.known[key] = None
        if before is not None:
            self._forward(what, key, before, after)
        if what == "settled":
            if after.state is State.QUEUED:
                self.handed_back[key, after.replay, after.attempt] += 1
            self.in_hand.pop(key, None)
        if what == "crashed" or (what == "granted" and before is not None and before.state is State.RUNNING):
            self.excuse(key, "taken over")

    def _forward(self, what: str, key: Key, before: Stored, after: Stored) -> None:
        was, became = (before.replay, before.attempt), (after.replay, after.attempt)
        if became < was:
            self.fails(f"{key}: {what} took it back from {was} to {became}")
        elif before.state.final and became == was and after.state is not before.state:
            self.fails(f"{key}: {what} made {after.state.value} of {before.state.value}")

    def claimed(self, key: Key, before: Stored | None, after: Stored, now: float) -> None:
        """A claim was given: no other consumer may hold a living one."""
        alive = before is not None and before.state is State.RUNNING and before.lease_until > now
        if alive and before is not None and before.token != after.token:
            self.fails(f"{key}: a claim was given while another one lives")

    def buried(self, letter: DeadLetter) -> None:
        self.note("buried", letter.queue, letter.job_id, letter.reason.value)
        self.letters.setdefault((letter.queue, letter.job_id or ""), []).append(letter)

    # ------------------------------------------------------------------------------------------------- the broker

    def moved(self, what: str, queue: str, entry: Entry) -> None:
        self.note(what, queue, entry.number, entry.message.job_id, entry.count)
        if what == "back":
            key = queue, entry.message.job_id
            self.lost[key] = max(self.lost[key], entry.lost)

    def accept(self, job_id: str, accepted: Accepted) -> None:
        self.note("accepted", job_id)
        self.accepted[job_id] = accepted
        for queue in accepted.queues:
            self.known[queue, job_id] = None
