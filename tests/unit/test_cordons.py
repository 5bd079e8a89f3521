"""How replicas are removed without a run being lost: who is cordoned, who goes, who comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from autoscaler.cordons import LEASE, Cordons
from autoscaler.ports import Replica, Workload
from autoscaler.runs import Runs
from core.clock import ManualClock
from core.figures import QueueFigures

DRAIN = 25.0


@dataclass
class One:
    """A consumer. lasts: seconds that its runs still take; None: an old one, that cannot be cordoned and does not tell. until: when
    its cordon ends. mute: it does not answer. racing: what it takes in the moment in which it is cordoned."""

    lasts: float | None = 0.0
    until: float = -1.0
    mute: bool = False
    racing: float = 0.0
    ready: bool = True
    ordinal: int = -1
    leaving: bool = False


@dataclass
class Crew:
    """Consumers of one workload, which follow commands as far as they can."""

    ones: dict[str, One]
    asked: int = -1
    rolling: bool = False
    ends_itself: bool = False
    clock: ManualClock = field(default_factory=ManualClock)
    runs: Runs = field(default_factory=Runs)
    puts: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asked = len(self.ones) if self.asked < 0 else self.asked
        self.cordons = Cordons(self.runs, self.put, self.clock, DRAIN)

    def figures(self, one: One) -> dict[str, QueueFigures]:
        if one.lasts is None:
            return {"q": QueueFigures()}
        return {"q": QueueFigures(lasts=one.lasts, held=int(one.lasts > 0), cordoned=self.clock.steady() < one.until)}

    def look(self) -> None:
        there = {name for name, one in self.ones.items() if one.ready or one.mute}
        self.runs.hear({name: self.figures(one) for name, one in self.ones.items() if name in there and not one.mute}, there)

    async def put(self, replicas: Sequence[Replica], seconds: float) -> None:
        for replica in replicas:
            self.puts.append((replica.name, seconds))
            one = self.ones[replica.name]
            if not one.mute:
                one.until = self.clock.steady() + seconds
                one.lasts, one.racing = max(one.lasts or 0.0, one.racing), 0.0
            self.runs.hear_one(replica.name, None if one.mute else self.figures(one))

    def workload(self) -> Workload:
        replicas = (Replica(name, one.ready, "http://x/metrics", one.leaving, one.ordinal) for name, one in self.ones.items())
        there, now = tuple(replicas), self.clock.steady()
        return Workload("work", self.asked, there, now, rolling=self.rolling, ends_itself=self.ends_itself)

    async def round(self, wanted: int, *, hold: bool = False) -> list[str]:
        """One round of a controller. A removed replica is gone at once."""
        self.look()
        workload = self.workload()
        step = await self.cordons.towards(workload, self.cordons.active(workload), wanted, hold=hold)
        self.asked = step.replicas
        self.cordons.removed(step.first)
        for name in step.first:
            self.ones[name].leaving = True
        return step.first

    def active(self) -> int:
        return self.cordons.active(self.workload()).asked

    def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for one in self.ones.values():
            if one.lasts is not None:
                one.lasts = max(0.0, one.lasts - seconds)

    def cordoned(self) -> set[str]:
        return {name for name, one in self.ones.items() if self.clock.steady() < one.until and not one.leaving}


async def test_an_idle_one_is_cordoned_and_removed_in_the_same_round() -> None:
    crew = Crew({"busy": One(600.0), "idle": One()})
    assert await crew.round(1) == ["idle"]
    assert crew.puts == [("idle", LEASE)]
    assert (crew.asked, crew.active()) == (1, 1)


async def test_those_that_are_not_there_yet_go_first_and_nobody_is_cordoned_for_them() -> None:
    crew = Crew({"a": One(300.0), "b": One()}, asked=4)
    assert await crew.round(3) == []
    assert (crew.asked, crew.puts) == (3, [])
    assert await crew.round(1) == ["b"], "one more than those"
    assert crew.asked == 1
    rolling = Crew({"a": One(300.0), "b": One(300.0)}, asked=3, rolling=True)
    assert await rolling.round(2) == []
    assert rolling.asked == 3, "in a rollout the missing one may be of either revision"


async def test_of_a_stateful_set_only_those_at_its_end() -> None:
    crew = Crew({"0": One(ordinal=0), "1": One(ordinal=1)}, asked=3)
    assert await crew.round(2) == []
    assert (crew.asked, crew.puts) == (2, []), "the third was not there"
    crew = Crew({"0": One(ordinal=0), "2": One(ordinal=2)}, asked=3)
    assert await crew.round(1) == ["2"]
    assert (crew.asked, crew.puts) == (2, [("2", LEASE)]), "the second is missing, and not yet at the end"
    assert await crew.round(1) == []
    assert crew.asked == 1


@pytest.mark.parametrize("ordinal", [-1, 1], ids=["a process", "of a StatefulSet"])
async def test_one_that_comes_again_under_the_name_of_one_that_went_is_seen(ordinal: int) -> None:
    crew = Crew({"a": One(300.0, ordinal=min(ordinal, 0)), "b": One(ordinal=ordinal)})
    assert await crew.round(1) == ["b"]
    assert await crew.round(2) == []
    crew.ones["b"] = One(300.0, ordinal=ordinal)
    assert {replica.name for replica in crew.cordons.active(crew.workload()).replicas} == {"a", "b"}
    assert await crew.round(1) == []
    assert crew.asked == 2, "it runs what outlasts the drain"


async def test_who_began_anew_under_its_name_does_not_go_for_what_another_said() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    assert await crew.round(1) == []
    crew.pass_(75.0)
    crew.look()
    crew.ones["b"] = One(racing=200.0)  # its process ended: the next one has taken a run since the look
    workload = crew.workload()
    step = await crew.cordons.towards(workload, crew.cordons.active(workload), 1, hold=False)
    assert step == (2, [])
    assert crew.cordoned() == {"b"}


async def test_a_busy_one_takes_nothing_more_and_goes_when_its_runs_end_within_the_drain() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    assert await crew.round(1) == []
    assert (crew.asked, crew.active(), crew.cordoned()) == (2, 1, {"b"})
    for _ in range(74):
        crew.pass_(1.0)
        assert await crew.round(1) == []
        assert crew.cordoned() == {"b"}, "its lease is renewed"
    crew.pass_(1.0)
    assert await crew.round(1) == ["b"]
    assert sum(name == "b" for name, _ in crew.puts) < 20, "not in every round"


async def test_a_job_that_an_idle_one_takes_in_the_last_moment_keeps_it() -> None:
    crew = Crew({"a": One(300.0), "b": One(racing=500.0)})
    assert await crew.round(1) == []
    assert crew.cordoned() == {"b"}
    crew.pass_(480.0)
    assert "b" in await crew.round(1)


async def test_those_come_back_first_that_would_stay_longest_and_no_new_one_is_asked_for() -> None:
    crew = Crew({"a": One(900.0), "b": One(300.0), "c": One(100.0)})
    await crew.round(1)
    assert crew.cordoned() == {"b", "c"}
    await crew.round(2)
    assert (crew.asked, crew.cordoned()) == (3, {"c"})
    await crew.round(5)
    assert (crew.asked, crew.cordoned()) == (5, set())


async def test_an_idle_active_one_is_exchanged_for_a_cordoned_one_that_has_to_stay() -> None:
    crew = Crew({"a": One(50.0), "b": One(40.0), "c": One(7200.0)})
    await crew.round(2)
    crew.ones["b"].lasts = 7200.0  # longer than was thought
    crew.ones["a"].lasts = 0.0
    assert await crew.round(2) == ["a"]
    assert (crew.asked, crew.cordoned()) == (2, set())


async def test_a_lease_that_ran_out_or_a_container_that_began_anew_is_cordoned_again() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    await crew.round(1)
    crew.ones["b"] = One(0.0)  # a new process
    assert await crew.round(1) == ["b"]
    assert crew.puts[-1] == ("b", LEASE)


async def test_one_that_does_not_answer_is_neither_cordoned_nor_removed() -> None:
    crew = Crew({"a": One(300.0), "b": One(mute=True)})
    assert await crew.round(1) == []
    assert await crew.round(0) == []
    assert crew.asked == 2


async def test_while_another_one_is_not_ready_none_goes_since_kubernetes_would_take_that_one() -> None:
    crew = Crew({"a": One(300.0), "b": One(), "c": One(mute=True, ready=False)})
    assert await crew.round(2) == []
    crew.ones["c"] = One(300.0)
    assert await crew.round(2) == ["b"]


async def test_one_that_is_starting_goes_first() -> None:
    crew = Crew({"a": One(300.0), "b": One(), "c": One(ready=False)})
    assert await crew.round(2) == ["c"]
    assert crew.puts == [], "nobody listens there"


async def test_in_a_rollout_none_goes_unless_each_could() -> None:
    crew = Crew({"a": One(300.0), "b": One()}, rolling=True)
    assert await crew.round(1) == []
    crew.ones["a"].lasts = 10.0
    assert await crew.round(1) == ["b"]


async def test_of_a_statefulset_the_last_ones_go_in_their_order() -> None:
    crew = Crew({"w-0": One(ordinal=0), "w-1": One(100.0, ordinal=1), "w-2": One(ordinal=2)})
    assert await crew.round(1) == ["w-2"]
    assert crew.cordoned() == {"w-1"}
    del crew.ones["w-2"]
    crew.pass_(80.0)
    assert await crew.round(1) == ["w-1"]


async def test_a_pause_brings_all_back_and_removes_none() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    await crew.round(1)
    assert await crew.round(1, hold=True) == []
    assert (crew.asked, crew.cordoned(), crew.active()) == (2, set(), 2)
    assert await crew.round(3, hold=True) == []
    assert crew.asked == 3


async def test_the_next_leader_takes_over_what_was_cordoned() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    await crew.round(1)
    crew.cordons = Cordons(crew.runs, crew.put, crew.clock, DRAIN)
    crew.cordons.begin()
    crew.look()
    assert crew.active() == 1
    crew.pass_(5.0)
    await crew.round(1)
    assert crew.cordoned() == {"b"}
    crew.pass_(10.1)
    assert crew.cordoned() == {"b"}, "renewed by the one that leads now"


async def test_without_a_controller_the_cordon_ends() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    await crew.round(1)
    crew.pass_(LEASE)
    assert crew.cordoned() == set()


async def test_an_old_consumer_that_cannot_be_cordoned_goes_by_what_is_known_of_it() -> None:
    crew = Crew({"a": One(300.0), "b": One(None)})
    assert await crew.round(1) == ["b"]
    assert crew.puts == []


async def test_a_dry_run_cordons_nobody() -> None:
    crew = Crew({"a": One(300.0), "b": One(100.0)})
    crew.cordons = Cordons(crew.runs, None, crew.clock, DRAIN)
    crew.look()
    workload = crew.workload()
    step = await crew.cordons.towards(workload, crew.cordons.active(workload), 1, hold=False)
    assert (step.replicas, step.first, crew.cordoned()) == (1, ["b"], set())


async def test_where_replicas_end_by_themselves_none_is_cordoned_and_none_removed() -> None:
    crew = Crew({"a": One(7200.0), "b": One(), "c": One(100.0)}, ends_itself=True)
    for wanted in (2, 0, 3):
        assert await crew.round(wanted) == []
        assert await crew.round(wanted, hold=True) == []
    assert (crew.asked, crew.active(), crew.puts) == (3, 3, [])
    await crew.round(5)
    assert (crew.asked, crew.puts) == (5, [])
