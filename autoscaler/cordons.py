"""Removing replicas without losing a run: cordon, wait until what runs is due within the drain, remove.

    wanted < active   the idlest replicas are cordoned: they take no deliveries, and hand back what has not begun
    each round        those that run nothing longer than the drain are removed, once they have reported it again; the cordon of the
                      others is renewed
    wanted > active   cordoned replicas are brought back first, then new ones are asked for

A replica of ten minutes' jobs that still takes deliveries is never idle: without the cordon it would either be removed with its
runs or stay for ever. The cordon is a lease, so that a controller that dies leaves none cordoned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from autoscaler.ports import Replica, Workload
from autoscaler.runs import Runs
from core.clock import Clock

# The cordon is renewed after a third of it: two renewals may fail. Seconds.
LEASE = 15.0
_RENEWED_AFTER = LEASE / 3

Put = Callable[[Sequence[Replica], float], Awaitable[None]]


class Step(NamedTuple):
    """replicas: that the workload is to be set to. first: names of those that go, if there are fewer, the first of them first."""

    replicas: int
    first: list[str]


class Cordons:
    """Of one workload."""

    def __init__(self, runs: Runs, put: Put | None, clock: Clock, drain: float) -> None:
        """put: cordons replicas for some seconds, or brings them back with 0; takes bounded time, and `runs` knows what came of it.
        None: no replica is cordoned, as in a dry run. drain: seconds that a replica has for its runs when it is removed."""
        self._runs = runs
        self._put = put
        self._clock = clock
        self._drain = drain
        self._renewed: dict[str, float] = {}  # the cordoned ones, and when their cordon was last renewed
        self._gone: dict[str, float] = {}  # those that were removed, and when: pods may be seen for a moment longer
        self._adopts = True

    def begin(self) -> None:
        """The lead was taken: replicas that another controller has cordoned are ours now."""
        self._renewed.clear()
        self._gone.clear()
        self._adopts = True

    @property
    def standing(self) -> int:
        """Replicas that are cordoned."""
        return len(self._renewed)

    def active(self, workload: Workload) -> Workload:
        """The part of it that takes deliveries, or will: the part that a decision is about."""
        if workload.ends_itself:
            return workload
        now = self._clock.steady()
        there = {replica.name: replica for replica in workload.replicas if not replica.leaving}
        if self._adopts and self._put is not None:
            self._adopts = False
            self._renewed = {name: float("-inf") for name, replica in there.items() if self._runs.cordoned(replica)}
        self._renewed = {name: at for name, at in self._renewed.items() if name in there}
        gone = {name: at for name, at in self._gone.items() if name in there and now - at < LEASE}
        self._gone = {name: at for name, at in gone.items() if not _again(there[name], workload)}
        out = self._renewed.keys() | self._gone.keys()
        replicas = tuple(replica for replica in workload.replicas if replica.name not in out)
        return replace(workload, asked=max(0, workload.asked - len(self._renewed)), replicas=replicas)

    async def towards(self, workload: Workload, active: Workload, wanted: int, *, hold: bool) -> Step:
        """The next step to `wanted` active replicas. hold: none may be removed, and none stays cordoned."""
        if workload.ends_itself:
            return Step(max(workload.asked, wanted), [])
        if self._put is None:
            staying = [replica for replica in active.replicas if not replica.leaving]
            return Step(wanted, [replica.name for replica in self._runs.idlest(staying)[: max(0, active.asked - wanted)]])
        if hold or wanted > active.asked:
            await self._bring_back(workload, len(self._renewed) if hold else wanted - active.asked)
            missing = wanted - (workload.asked - len(self._renewed))
            if missing > 0:  # the names of those that went may come again
                self._gone.clear()
            return Step(workload.asked + max(0, missing), [])
        staying = self._runs.idlest([replica for replica in active.replicas if not replica.leaving])
        there = [replica for replica in workload.replicas if not replica.leaving and replica.name not in self._gone]
        fewer = active.asked - wanted
        unmade = _unmade(workload, there, fewer)
        surplus = staying[: max(fewer - unmade, await self._exchange(workload, staying))]
        surplus = [replica for replica in surplus if replica.ordinal < 0 or replica.ordinal >= wanted]
        asked = await self._cordon(workload, surplus)
        going = {replica.name for replica in surplus if self._runs.cordoned(replica) is None} | self._renewed.keys()
        if old := [one for one in self._taken_first(there, going, workload) if one.name in self._renewed and one not in asked]:
            # Its report, a second old, may be that of another process of its name: it is asked once more, before it goes.
            await self._put(old, LEASE)
        first = [replica.name for replica in self._taken_first(there, going, workload)]
        return Step(workload.asked - unmade - len(first), first)

    def _taken_first(self, there: Sequence[Replica], going: Set[str], workload: Workload) -> list[Replica]:
        return self._runs.taken_first(there, self._drain, going, rolling=workload.rolling)

    async def _exchange(self, workload: Workload, staying: Sequence[Replica]) -> int:
        """1 where the idlest active replica can go at once, since a cordoned one that has to stay for long is brought back for it.

        Not in a StatefulSet, which takes the last ones, idle or not.
        """
        cordoned = self._cordoned(workload)
        idle = bool(staying) and staying[0].ready and self._runs.may_go(staying[0], self._drain)
        if (
            not idle
            or not cordoned
            or staying[0].ordinal >= 0
            or self._runs.may_go(cordoned[-1], self._drain)
            or self._runs.silent(cordoned[-1])
        ):
            return 0
        await self._bring_back(workload, 1)
        return 1

    def removed(self, names: Sequence[str]) -> None:
        """The workload was set to fewer, and these go."""
        now = self._clock.steady()
        for name in names:
            self._renewed.pop(name, None)
            self._gone[name] = now

    async def _cordon(self, workload: Workload, surplus: Sequence[Replica]) -> list[Replica]:
        """Cordon these; and again those whose lease runs out, or that have begun again in the place of one that was cordoned. All
        that were asked."""
        assert self._put is not None  # noqa: S101 - asked before
        now = self._clock.steady()
        due = [
            replica
            for replica in workload.replicas
            if (at := self._renewed.get(replica.name)) is not None
            and (now - at > _RENEWED_AFTER or self._runs.cordoned(replica) is False)
        ]
        new = [replica for replica in surplus if self._runs.cordoned(replica) is not None]
        if due or new:
            await self._put([*due, *new], LEASE)
        self._renewed |= {replica.name: now for replica in (*due, *new) if self._runs.cordoned(replica)}
        return [*due, *new]

    def _cordoned(self, workload: Workload) -> list[Replica]:
        """The idlest of them first."""
        return self._runs.idlest([replica for replica in workload.replicas if replica.name in self._renewed])

    async def _bring_back(self, workload: Workload, replicas: int) -> None:
        """Those first whose runs last longest: the others may soon be gone."""
        assert self._put is not None  # noqa: S101 - asked before
        back = self._cordoned(workload)[::-1][:replicas]
        if back:
            await self._put(back, 0.0)
        for replica in back:
            del self._renewed[replica.name]


def _again(replica: Replica, workload: Workload) -> bool:
    """Whether one of a StatefulSet is asked for: it went, and comes again under its name."""
    return 0 <= replica.ordinal < workload.asked


def _unmade(workload: Workload, there: Sequence[Replica], fewer: int) -> int:
    """Of `fewer` replicas those that are asked for and not there, perhaps not yet: they go first, and lose nothing.

    Of a StatefulSet those above the last one that is there. In a rollout those that are missing may be of either revision.
    """
    if workload.rolling:
        return 0
    ordinals = {replica.ordinal for replica in there}
    if max(ordinals, default=-1) < 0:
        return min(fewer, max(0, workload.asked - len(there)))
    return sum(1 for _ in takewhile(lambda n: n not in ordinals, range(workload.asked - 1, workload.asked - fewer - 1, -1)))
