"""A schedule: what is submitted and what goes wrong, and when. Drawn before anything runs, so that it can be shortened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.chance import SeededChance
from core.clock import ManualClock
from tests.simulation.work import UNFORESEEN

# Seconds of virtual time within which things go wrong; before, all programs have started (a new queue's pause is 4 s).
CALM, TROUBLE = 6.0, 60.0
CONSUMERS = ("consumer-1", "consumer-2", "consumer-3")
PROGRAMS = ("gateway", *CONSUMERS[:2])


@dataclass(frozen=True, slots=True)
class Event:
    """at: virtual seconds. target: what it is done to. lasts: seconds. how: what else there is to say."""

    at: float
    kind: str
    target: str = ""
    lasts: float = 0.0
    how: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:8.3f} s  {self.kind:<14} {self.target:<14} lasts {self.lasts:.3f}  how {self.how:.3f}"


def drawn(seed: int, only: tuple[str, ...] = ()) -> list[Event]:
    """The schedule of a seed. only: the kinds of faults that are drawn one by one; none is all."""
    chance = SeededChance(f"plan {seed}", ManualClock())
    events = [*_submits(chance), *_faults(chance, only or tuple(_KINDS))]
    return sorted(events, key=lambda event: event.at)


def _submits(chance: SeededChance) -> list[Event]:
    """Some one by one, some in bursts. how: the number of the job; lasts: how patient its client is."""
    events = []
    number = 0
    while number < 24:
        at = CALM + chance.uniform(-1.5, TROUBLE)
        for _ in range(1 if chance.uniform(0, 1) < 0.7 else int(chance.uniform(2, 14))):
            kind = "submit" if chance.uniform(0, 1) < 0.85 else "foreign"
            job_type = _one(chance, "both.happened", "both.happened", "one.happened", "late.happened")
            unforeseen = UNFORESEEN if chance.uniform(0, 1) < 0.04 else 0
            patience = chance.uniform(0, 30) if chance.uniform(0, 1) < 0.5 else 0.0
            event = Event(at + chance.uniform(0, 0.01), kind, job_type, patience, number + unforeseen)
            events.append(event)
            if chance.uniform(0, 1) < 0.1:  # its answer was lost: the same again, with the same Idempotency-Key
                events.append(replace(event, at=at + chance.uniform(0, 15)))
            number += 1
    return events


def _faults(chance: SeededChance, among: tuple[str, ...]) -> list[Event]:
    """None to a score, of a few kinds at a time: all kinds at once would hide each other."""
    kinds = [_one(chance, *among) for _ in range(int(chance.uniform(1, 7)))]
    events = []
    if chance.uniform(0, 1) < 0.4:
        events.append(_on(("cancel", "bare", "runtime"), 0, 0)(chance, 0.0, "rude farewell"))
    if chance.uniform(0, 1) < 0.3:
        events.append(Event(5.0, "controller"))
        if chance.uniform(0, 1) < 0.5:  # it may have cordoned a replica, and is absent for shorter or longer than that lasts
            kill = _on(("controller",), 0.1, 60.0)
            events.append(kill(chance, CALM + chance.uniform(0, 1) * TROUBLE, "kill"))
    if chance.uniform(0, 1) < 0.25:
        events.append(Event(0.0, "prompt", how=chance.uniform(0, 1)))
        if chance.uniform(0, 1) < 0.5:
            events.append(Event(0.0, "cut at letters", how=chance.uniform(0, 1)))
    for _ in range(int(chance.uniform(0, 20))):
        kind = _one(chance, *kinds)
        at = CALM + chance.uniform(0, 1) * TROUBLE
        events.append(_KINDS[kind](chance, at, kind))
        if kind == "drain" and chance.uniform(0, 1) < 0.7:
            trouble = _one(chance, "store slow", "store uneven", "store uneven")
            events.append(Event(at, trouble, lasts=8.0, how=chance.uniform(0, 1)))
            events += _burst(chance, at)
        if kind == "purge" and chance.uniform(0, 1) < 0.7:
            # Without any consumer that takes the work, as an operator would have it: else a queue is empty nearly always.
            events += [Event(at - 1.0, "kill", name, 3.0, 1.0) for name in CONSUMERS[:2]]
            events += _burst(chance, at)
    return events


def _burst(chance: SeededChance, before: float) -> list[Event]:
    """Work of the seconds before."""
    first = int(before * 1000)  # numbers of their own
    times = [before - chance.uniform(0, 3) for _ in range(int(chance.uniform(2, 14)))]
    return [Event(at, "submit", _one(chance, "both.happened", "one.happened"), 0.0, 100 + first + n) for n, at in enumerate(times)]


def _one(chance: SeededChance, *of: str) -> str:
    return of[min(int(chance.uniform(0, len(of))), len(of) - 1)]


# Some are not drawn one by one, but hold from the beginning: "rude farewell", what a library's calls end with when their connection
# does; "controller", which starts and drains consumers; "prompt", an operator who replays each dead letter within half a second;
# and "cut at letters", connections that end between a dead letter and its ack.
def _on(targets: tuple[str, ...], least: float, most: float) -> Callable[[SeededChance, float, str], Event]:
    def draw(chance: SeededChance, at: float, kind: str) -> Event:
        lasts = least + (most - least) * chance.uniform(0, 1) ** 2
        return Event(at, kind, _one(chance, *targets), lasts, chance.uniform(0, 1))

    return draw


_KINDS: dict[str, Callable[[SeededChance, float, str], Event]] = {
    # The network.
    "cut": _on(PROGRAMS, 0, 5),
    "partition": _on(PROGRAMS, 1, 25),
    "slow network": _on(("",), 1, 15),
    "flapping": _on(PROGRAMS, 0.5, 5),
    # The broker.
    "broker killed": _on(("",), 0.5, 15),
    "broker stalled": _on(("",), 1, 25),
    "alarm": _on(("",), 2, 45),
    "unbound": _on(("both.happened", "one.happened"), 1, 10),
    "full": _on(("one", "two"), 1, 10),
    "twice": _on(("one", "two"), 0, 0),
    # The outcome store.
    "store away": _on(("refuses", "silent"), 0.5, 20),
    "store slow": _on(("",), 2, 20),
    "store uneven": _on(("",), 2, 20),
    "store mute": _on(("",), 0.5, 8),
    "store empty": _on(("",), 0, 0),
    "store rollback": _on(("",), 0, 10),
    "store forgets": _on(("",), 0, 0),
    "store clock": _on(("",), -20, 20),
    # The programs.
    "kill": _on((*PROGRAMS, *CONSUMERS[:2]), 0.1, 10),
    "stop": _on(PROGRAMS, 0.5, 20),
    "drain": _on(CONSUMERS[:2], 0.1, 5),
    "wall clock": _on(PROGRAMS, -7200, 7200),
    # The operator.
    "replay": _on(("",), 0, 0),
    "drop": _on(("",), 0, 0),
    "purge": _on(("one", "two", "one.dead", "two.dead", "delay"), 0, 0),
}
