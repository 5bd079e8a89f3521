"""The last report of each replica about its runs: which replicas would lose the least, and which ones may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from itertools import takewhile
from typing import NamedTuple

from autoscaler.ports import Replica
from core.figures import QueueFigures

Told = Mapping[str, Mapping[str, QueueFigures]]


class Busy(NamedTuple):
    """Of all queues of one replica. lasts: seconds until its runs have ended, or None. held: deliveries. cordoned: it takes none;
    None where it cannot be cordoned.
    """

    lasts: float | None
    held: int
    cordoned: bool | None = None

    @classmethod
    def of(cls, figures: Sequence[QueueFigures]) -> Busy:
        lasts = [of.lasts for of in figures if of.lasts is not None]
        cordoned = [of.cordoned for of in figures if of.cordoned is not None]
        return cls(
            max(lasts, default=0.0) if len(lasts) == len(figures) else None,
            sum(of.held for of in figures),
            all(cordoned) if cordoned and len(cordoned) == len(figures) else None,
        )


class Runs:
    """By the name of the replica. One that has never reported, and does not listen yet, has taken nothing."""

    def __init__(self) -> None:
        self._busy: dict[str, Busy] = {}
        self._silent: Set[str] = frozenset()
        self._told: dict[str, Mapping[str, QueueFigures]] = {}

    def hear(self, told: Told, there: Set[str]) -> None:
        """told: the answers of a poll. there: the replicas that may hold something, whether they answered or not."""
        kept = {name: busy for name, busy in self._busy.items() if name in there}
        self._busy = kept | {name: Busy.of(list(of.values())) for name, of in told.items()}
        self._silent = there - told.keys()
        self._told = dict(told)

    def hear_one(self, name: str, figures: Mapping[str, QueueFigures] | None) -> None:
        """Take the answer of one replica to a poll in between; None: it did not answer."""
        if figures is None:
            self._silent = self._silent | {name}
            return
        self._busy[name] = Busy.of(list(figures.values()))
        self._told[name] = figures
        self._silent = self._silent - {name}

    def silent(self, replica: Replica) -> bool:
        """Whether it may be there, and did not answer."""
        return replica.name in self._silent

    def cordoned(self, replica: Replica) -> bool | None:
        """Whether it takes nothing; None: it cannot be cordoned, or does not say."""
        busy = self._busy.get(replica.name)
        return None if busy is None or self.silent(replica) else busy.cordoned

    def ahead(self, replica: Replica, queue: str) -> tuple[float, int] | None:
        """The seconds that the oldest of what it has taken ahead from a queue has waited, and its free slots. None where it does
        not say, or takes nothing."""
        of = self._told.get(replica.name, {}).get(queue)
        if of is None or of.waited is None or of.free is None or replica.leaving or self.silent(replica) or of.cordoned:
            return None
        return of.waited, of.free if replica.ready else 0

    def idlest(self, replicas: Sequence[Replica]) -> list[Replica]:
        """A replica that is starting loses nothing, so it comes first; then those whose runs end soonest; silent ones come last. A
        StatefulSet takes its last ones first, whatever they run."""
        return sorted(replicas, key=lambda replica: (-replica.ordinal, self._loss(replica)))

    def may_go(self, replica: Replica, drain: float) -> bool:
        """Whether all that it runs is expected to end within `drain` seconds."""
        busy = self._busy.get(replica.name)
        return not self._hides(replica) and (busy is None or (busy.lasts or 0.0) <= drain)

    def taken_first(self, staying: Sequence[Replica], drain: float, going: Set[str], *, rolling: bool) -> list[Replica]:
        """Those of `going` that can be removed now, in the order in which they go.

        Kubernetes takes a pod that is not ready before all others, whatever their deletion cost: while another one is not ready,
        none can be removed. Nor during a rollout, in which it takes pods of either revision, unless whichever goes loses nothing.
        A StatefulSet takes the last ones: those up to the first of them that has to stay.
        """
        named = [replica for replica in staying if replica.name in going and self.cordoned(replica) is not False]
        due = {replica.name for replica in named if self.may_go(replica, drain)}
        others = [replica for replica in staying if replica.name not in due]
        if any(not replica.ready for replica in others) or (rolling and not all(self.may_go(other, drain) for other in others)):
            return []
        order = self.idlest(staying)
        if order and order[0].ordinal >= 0:
            return list(takewhile(lambda replica: replica.name in due, order))
        return [replica for replica in order if replica.name in due]

    def takeable(self, staying: Sequence[Replica], drain: float) -> int | None:
        """How many may be asked to go: none of their runs outlasts the drain, or they can be cordoned until that is so. None where
        a consumer does not tell how long its runs last."""
        busy = [self._busy.get(replica.name) for replica in staying]
        if any(one.lasts is None and one.held for one in busy if one is not None):
            return None
        going = {replica.name for replica in staying if self.cordoned(replica) is not None or self.may_go(replica, drain)}
        if any(not replica.ready and replica.name not in going for replica in staying):
            return 0
        order = self.idlest(staying)
        if order and order[0].ordinal >= 0:
            return sum(1 for _ in takewhile(lambda replica: replica.name in going, order))
        return len(going)

    def _loss(self, replica: Replica) -> tuple[bool, float, int]:
        busy = self._busy.get(replica.name, Busy(0.0, -1))  # one that is starting ranks first
        return (self._hides(replica), busy.lasts or 0.0, busy.held)

    def _hides(self, replica: Replica) -> bool:
        """Whether it may hold anything, and says nothing."""
        return self.silent(replica) or (replica.ready and replica.name not in self._busy)
