"""One harm: what it does, for how long, and what it excuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Act = Callable[[], Awaitable[None]]


@dataclass
class Harm:
    """seconds: between `begin` and `end`. kills, stops: programs that it kills, or lets stand still. killed: the process ids of
    those that were killed.

    broker_forgets: it comes back without its messages, so that what was in it is gone.
    store_forgets: it comes back without its claims, so that what ran may run again.
    healed_at: Unix seconds; set when it is undone.
    """

    begin: Act
    end: Act
    seconds: float
    kills: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    broker_forgets: bool = False
    store_forgets: bool = False
    killed: set[int] = field(default_factory=set)
    began_at: float = 0.0
    healed_at: float = float("inf")
