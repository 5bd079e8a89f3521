"""The controller's loop in virtual time: what it does when work comes and goes, and when a part of it fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from autoscaler.cordons import Cordons
from autoscaler.ports import Replica
from autoscaler.runs import Runs
from core.figures import QueueFigures
from tests.unit.controlled import INTERVAL, ROUND, Controlled, LoopClock, Plant, Seer, blind, sample

pytestmark = pytest.mark.looptime

IDLE = {"ready_jobs": 0.0, "unacked": 0.0, "in_flight": 0.0, "published": 0.0, "completed": 0.0}


def idle() -> Seer:
    return Seer("seer", 0.0, **IDLE)


async def until(true: Callable[[], object], within: float) -> float:
    """Virtual seconds until it is true."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.05)
    return loop.time() - begin


async def test_a_burst_scales_within_one_round() -> None:
    world = Controlled(Plant(work=1), [idle()])
    async with world.run():
        await asyncio.sleep(10)
        assert world.plant.asked() == 1
        world.seer.shared["ready_jobs"] = 8000  # ten seconds of ten replicas at 80 % of 100 jobs/s
        await until(lambda: world.plant.asked() > 1, within=ROUND)
        assert world.plant.asked() == 10
        await asyncio.sleep(2 * ROUND)
    (scaled,) = [record for record in world.records() if record.scaled == 10]
    assert (scaled.reason, scaled.backlog, scaled.asked) == ("backlog", 8000, 1)
    assert "1 → 10" in scaled.text


async def test_to_zero_after_the_idle_time_and_awake_within_one_round() -> None:
    world = Controlled(Plant(work=2), [idle()], policy={"min_replicas": 0, "idle_seconds": 60.0})
    async with world.run():
        await asyncio.sleep(59)
        assert world.plant.asked() >= 1, "to zero only when nothing was there for so long"
        await until(lambda: world.plant.asked() == 0, within=30)
        assert world.records()[-1].reason in ("idle", "steady")
        world.seer.shared["ready_jobs"] = 1
        await until(lambda: world.plant.asked() == 1, within=ROUND)
    assert world.records()[-1].reason == "wake"


async def test_who_goes_first_is_told_to_the_actuator() -> None:
    world = Controlled(Plant(work=4), [idle()])
    async with world.run():
        await until(lambda: world.plant.asked() == 1, within=120)
    assert world.plant.done[0].idlest == ["work-0", "work-1"]
    assert [scaled.replicas for scaled in world.plant.done] == [2, 1], "stepwise"


async def test_the_journal_and_the_metric_count_the_replicas_that_end_their_runs_before_they_go() -> None:
    """work-2 and work-3 run something for ten minutes, which ends at once when the test says so."""
    runs, lasts = Runs(), dict.fromkeys([f"work-{n}" for n in range(4)], 600.0)

    def figures(name: str, cordoned: bool) -> dict[str, QueueFigures]:
        return {"jobs": QueueFigures(lasts=lasts[name], held=int(lasts[name] > 0), cordoned=cordoned)}

    async def put(replicas: Sequence[Replica], seconds: float) -> None:
        for replica in replicas:
            runs.hear_one(replica.name, figures(replica.name, seconds > 0))

    runs.hear({name: figures(name, False) for name in lasts}, lasts.keys())
    world = Controlled(Plant(work=4), [idle()], cordons=Cordons(runs, put, LoopClock(), 25.0))
    async with world.run():
        await until(lambda: any(record.cordoned == 2 for record in world.records()), within=120)
        await asyncio.sleep(2 * ROUND)
        assert world.plant.asked() == 4, "none is removed while it runs something that outlasts its drain"
        assert sample("headrace_scaling_replicas", workload="work", kind="cordoned") >= 2
        for name in lasts:
            lasts[name] = 0.0
            runs.hear_one(name, figures(name, bool(runs.cordoned(Replica(name, True)))))
        await until(lambda: world.plant.asked() == 1, within=120)
    assert world.records()[-1].cordoned == 0


async def test_what_cannot_be_done_is_recorded_counted_said_once_and_tried_again() -> None:
    world = Controlled(Plant(refused=1), [idle()], workloads={"refused": ["jobs"]})
    world.plant.refuses = "no quota: raise it"
    world.seer.shared["ready_jobs"] = 8000
    before = sample("headrace_scaling_errors_total", workload="refused")
    with capture_logs() as logs:
        async with world.run():
            await asyncio.sleep(10 * ROUND)
            tried = world.plant.tried
            assert tried >= 10, "in every round"
            assert sample("headrace_scaling_errors_total", workload="refused") - before == tried
            world.plant.refuses = ""
            await until(lambda: world.plant.asked("refused") == 10, within=ROUND)
            world.plant.refuses = "again"
            world.seer.shared["ready_jobs"] = 80_000
            await asyncio.sleep(3 * ROUND)
    assert [line["why"] for line in logs if line["event"] == "cannot scale"] == ["no quota: raise it", "again"]
    errors = [record for record in world.records() if record.error]
    assert errors[0].error == "no quota: raise it"
    assert (errors[0].scaled, errors[0].wanted) == (None, 10)


async def test_an_unexpected_error_ends_neither_its_workload_nor_another() -> None:
    world = Controlled(Plant(broken=1), [idle()], workloads={"broken": ["one"], "well": ["two"]})
    world.plant.breaks = KeyError("a mistake")
    world.seer.shared["ready_jobs"] = 8000
    before = sample("headrace_scaling_errors_total", workload="broken")
    with capture_logs() as logs:
        async with world.run():
            await asyncio.sleep(5 * ROUND)
            world.plant.breaks = None
            world.plant.put("well", 1)
            await until(lambda: (world.plant.asked("well"), world.plant.asked("broken")) == (10, 10), within=ROUND)
    assert sample("headrace_scaling_errors_total", workload="broken") - before >= 5
    said = [line for line in logs if line["event"] == "cannot scale" and line["workload"] == "broken"]
    assert [(line["why"], line["exc_info"]) for line in said] == [("KeyError: 'a mistake'", True)], "once, with its traceback"


async def test_a_slow_workload_delays_no_other() -> None:
    world = Controlled(Plant(slow=1, quick=1), [idle()], workloads={"slow": ["one"], "quick": ["two"]})
    world.plant.slow["slow"] = asyncio.Event()
    world.seer.shared["ready_jobs"] = 8000
    async with world.run():
        await until(lambda: world.plant.asked("quick") == 10, within=ROUND)
        assert world.plant.asked("slow") == 1
        world.seer.shared["ready_jobs"] = 16_000
        await until(lambda: world.plant.asked("quick") == 20, within=ROUND)
        assert world.plant.tried == 3, "one call at a time for a workload"
        world.plant.slow["slow"].set()
        await until(lambda: world.plant.asked("slow") == 20, within=ROUND)


async def test_a_look_that_ends_within_a_slow_round_is_not_missed() -> None:
    world = Controlled(Plant(work=1), [idle()])
    slow = world.plant.slow["work"] = asyncio.Event()
    world.seer.shared["ready_jobs"] = 8000
    async with world.run():
        await until(lambda: world.plant.tried == 1, within=ROUND)
        world.seer.shared["ready_jobs"] = 16_000
        looks = world.seer.looks
        await until(lambda: world.seer.looks > looks, within=ROUND)
        await asyncio.sleep(0.1)
        slow.set()
        await until(lambda: world.plant.asked() == 20, within=0.5)  # by the look before, not by the next one


@pytest.mark.parametrize("how", ["fails", "hangs", "breaks"])
async def test_blind_holds_and_then_falls_back_upward_only(how: str) -> None:
    policy = {"fallback_replicas": 5, "blind_limit": 60.0, "freshness": 15.0}
    world = Controlled(Plant(few=3, many=8), [idle()], policy=policy, workloads={"few": ["one"], "many": ["two"]})
    world.seer.shared["ready_jobs"] = 2400  # three replicas' worth: nothing changes
    world.seer.figures["two"] = {"ready_jobs": 6400}
    before = sample("headrace_scaling_signal_errors_total", signal="seer")
    with capture_logs() as logs:
        async with world.run():
            await asyncio.sleep(6)
            assert not world.plant.done
            world.seer.hangs = how == "hangs"
            world.seer.fails = None if how == "hangs" else blind() if how == "fails" else TypeError("a mistake")
            await asyncio.sleep(60)
            assert not world.plant.done, "held"
            assert world.records("one")[-1].reason == "blind"
            assert world.records("one")[-1].backlog is None
            await until(lambda: world.plant.asked("few") == 5, within=30)
            await asyncio.sleep(60)
            assert world.plant.asked("many") == 8, "upward only"
            assert ("blind", False) in world.ear.kinds
            if how == "hangs":
                return
            assert sample("headrace_scaling_signal_errors_total", signal="seer") > before + 30
            world.seer.fails = None
            await until(lambda: world.records("one")[-1].backlog == 2400, within=10)
    lines = [line["event"] for line in logs if line["event"].startswith("a signal sees")]
    assert lines == ["a signal sees nothing", "a signal sees again"]


async def test_who_does_not_lead_does_nothing_and_who_takes_the_lead_acts_in_its_next_round() -> None:
    world = Controlled(Plant(work=1), [idle()])
    world.lead.leading = False
    world.seer.shared["ready_jobs"] = 8000
    async with world.run():
        await asyncio.sleep(30)
        assert (world.plant.tried, world.records()) == (0, [])
        assert sample("headrace_scaling_leading") == 0
        world.lead.leading = True
        await until(lambda: world.plant.asked() == 10, within=ROUND)
        world.lead.leading = False
        world.seer.shared["ready_jobs"] = 80_000
        await asyncio.sleep(30)
        assert world.plant.asked() == 10


async def test_who_loses_the_lead_shows_no_alert_and_no_figure_of_its_own_any_more() -> None:
    world = Controlled(Plant(work=10), [idle()], policy={"max_replicas": 10})
    world.seer.shared["ready_jobs"] = 80_000
    async with world.run():
        await until(lambda: sample("headrace_scaling_backlog_jobs", queue="jobs") == 80_000, within=3 * ROUND)
        await until(lambda: sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 1, within=3 * ROUND)
        world.lead.leading = False
        await until(lambda: sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 0, within=ROUND)
        assert math.isnan(sample("headrace_scaling_backlog_jobs", queue="jobs"))
        assert math.isnan(sample("headrace_scaling_replicas", workload="work", kind="wanted"))
        told = [kind for kind in world.ear.kinds if kind[0] == "at-max"]
        assert told == [("at-max", False)], "not over: the one that leads now tells what stands"
        world.lead.leading = True
        await until(lambda: sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 1, within=3 * ROUND)


async def test_an_alert_that_ends_while_nobody_leads_is_ended_by_the_next_controller() -> None:
    world = Controlled(Plant(work=10), [idle()], policy={"max_replicas": 10})
    world.seer.shared["ready_jobs"] = 80_000
    async with world.run():
        await until(lambda: ("at-max", False) in world.ear.kinds, within=3 * ROUND)
        await until(lambda: "at-max" in world.notes.states.get("jobs", ("", 0.0))[0], within=30)
    still, over = (Controlled(Plant(work=10), [idle()], policy={"max_replicas": 10}, notes=world.notes) for _ in range(2))
    still.seer.shared["ready_jobs"] = 80_000
    with capture_logs() as logs:
        async with still.run():
            await until(lambda: ("at-max", False) in still.ear.kinds, within=3 * ROUND)
            await asyncio.sleep(60)
    assert ("at-max", True) not in still.ear.kinds
    assert not any(line["event"] == "alert" and line["kind"] == "at-max" for line in logs), "it is the same one, not another"
    async with over.run():
        await until(lambda: sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 1, within=3 * ROUND)
        await until(lambda: ("at-max", True) in over.ear.kinds, within=120)
        assert ("at-max", False) not in over.ear.kinds
        assert sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 0


@pytest.mark.parametrize("alerts", ["[1]", '["at-max"]', '[["of-another-version", "", ""]]', "7"])
async def test_alerts_that_cannot_be_read_are_no_reason_to_fail(alerts: str) -> None:
    world = Controlled(Plant(work=1), [idle()])
    async with world.run():
        await until(lambda: "jobs" in world.notes.states, within=30)
    kept = world.notes.states["jobs"][0]
    assert kept.endswith('"alerts":[]}')
    world.notes.states["jobs"] = (kept.replace('"alerts":[]', f'"alerts":{alerts}'), 0.0)
    after = Controlled(Plant(work=1), [idle()], notes=world.notes)
    after.seer.shared["ready_jobs"] = 8000
    async with after.run():
        await until(lambda: after.plant.asked() == 10, within=3 * ROUND)


async def test_the_next_controller_finds_what_was_learned_and_shrinks_nothing_in_its_first_window() -> None:
    world = Controlled(Plant(work=1), [idle()])
    async with world.run():
        world.seer.shared |= {"ready_jobs": 100, "completed": 100, "busy_seconds": 100}
        for _ in range(20):  # a job takes 1 s, not the 0.1 s of the policy
            await asyncio.sleep(INTERVAL)
            world.seer.shared["completed"] += 100
            world.seer.shared["busy_seconds"] += 100
    learned = world.records()[-1].service_rate
    assert learned == pytest.approx(10.0, rel=0.1)
    assert "jobs" in world.notes.states
    after = Controlled(Plant(work=50), [idle()], notes=world.notes)
    async with after.run():
        await asyncio.sleep(ROUND)
        assert after.records()[-1].service_rate == pytest.approx(learned, rel=0.05)
    nothing = Controlled(Plant(work=50), [idle()])
    nothing.notes.states["jobs"] = ('{"of another": "version"}', 0.0)
    with capture_logs() as logs:
        async with nothing.run():
            await asyncio.sleep(29)
            assert nothing.plant.asked() == 50, "nothing was found: a window without shrinking"
            assert nothing.records()[-1].reason in ("settling", "window")
            await until(lambda: nothing.plant.asked() < 50, within=30)
    assert [line["queue"] for line in logs if "starting anew" in line["event"]] == ["jobs"]


async def test_a_workload_that_vanishes_and_returns() -> None:
    world = Controlled(Plant(work=1), [idle()])
    with capture_logs() as logs:
        async with world.run():
            await asyncio.sleep(10)
            for _ in range(2):
                world.plant.workloads["work"] = None
                world.seer.shared["ready_jobs"] = 8000
                count = len(world.records())
                await asyncio.sleep(30)
                assert len(world.records()) <= count + 1, "nothing is decided about nothing"
                world.plant.put("work", 1)
                await until(lambda: world.plant.asked() == 10, within=ROUND)
                await asyncio.sleep(10)
    assert sum("not there" in line.get("why", "") for line in logs) == 2, "once each time"


async def test_a_dry_run_scales_nothing_and_its_records_say_so() -> None:
    world = Controlled(Plant(work=1), [idle()], dry_run=True)
    world.seer.shared["ready_jobs"] = 8000
    with capture_logs() as logs:
        async with world.run():
            await asyncio.sleep(5 * ROUND)
    assert world.plant.tried == 0
    assert {(record.dry_run, record.scaled, record.error) for record in world.records()} == {(True, None, "")}
    assert world.records()[-1].wanted == 10
    assert any(line["event"] == "would scale" and line["replicas"] == 10 for line in logs)


async def test_of_two_queues_in_one_workload_the_larger_wish_wins() -> None:
    world = Controlled(Plant(work=1), [idle()], workloads={"work": ["small", "large"]})
    world.seer.figures = {"small": {"ready_jobs": 2400}, "large": {"ready_jobs": 8000}}
    async with world.run():
        await until(lambda: world.plant.asked() == 10, within=ROUND)
        await asyncio.sleep(ROUND)
    first = {queue: world.records(queue)[0] for queue in ("small", "large")}
    assert [(r.wanted, r.scaled) for r in first.values()] == [(3, 10), (10, 10)]


async def test_two_idle_queues_in_one_workload_let_it_shrink_although_their_work_ended_at_different_times() -> None:
    world = Controlled(
        Plant(work=16), [idle()], workloads={"work": ["early", "late"]}, policy={"backlog_threshold": 1e6, "down_cooldown": 9.0}
    )
    world.seer.figures = {"late": {"ready_jobs": 12_400}}  # what sixteen work off in time
    async with world.run():
        await asyncio.sleep(33)  # `early` has wanted fewer for the whole window: from here on it says so
        assert world.plant.asked() == 16
        await asyncio.sleep(2)
        world.seer.figures = {}
        await until(lambda: world.plant.asked() == 1, within=30 + 5 * (9 + ROUND))


async def test_the_journal_away_stops_no_decision_and_gets_its_records_later() -> None:
    world = Controlled(Plant(work=1), [idle()])
    world.notes.away = True
    world.seer.shared["ready_jobs"] = 8000
    with capture_logs() as logs:
        async with world.run():
            await until(lambda: world.plant.asked() == 10, within=ROUND)
            await asyncio.sleep(60)
            assert world.notes.records == []
            world.notes.away = False
            await until(lambda: world.notes.records, within=5)
            assert world.records()[0].scaled == 10, "from the first on"
            assert len(world.records()) >= 60 / ROUND
    assert sum("journal is away" in line["event"] for line in logs) == 1
    told = [(record.at, record.text) for record in world.records()]
    assert len(told) == len(set(told)), "each once"
    assert [at for at, _ in told] == sorted(at for at, _ in told), "in their order"


async def test_an_alert_of_the_decision_is_told() -> None:
    world = Controlled(Plant(work=1), [idle()], policy={"max_replicas": 5})
    async with world.run():
        world.seer.shared["ready_jobs"] = 20_000
        await until(lambda: {kind for kind, _ in world.ear.kinds} == {"backlog", "at-max"}, within=ROUND)
        assert sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 1
        world.seer.shared["ready_jobs"] = 0
        await until(lambda: sum(resolved for _, resolved in world.ear.kinds) == 2, within=70)
        assert sample("headrace_scaling_alert", queue="jobs", kind="at-max") == 0
    assert {record.alerts[0].kind for record in world.records() if record.alerts} == {"backlog"}


class Ending(Plant):
    """Replicas that end by themselves: none is ever taken away."""

    def put(self, name: str, replicas: int) -> None:
        super().put(name, replicas)
        workload = self.workloads[name]
        assert workload is not None
        self.workloads[name] = replace(workload, ends_itself=True)


async def test_replicas_that_end_by_themselves_are_made_for_each_job_and_never_removed() -> None:
    policy = {"min_replicas": 0, "concurrency": 1, "tolerance": 0.0, "idle_seconds": 5.0, "down_window": 1.0, "down_cooldown": 0.0}
    world = Controlled(Ending(work=0), [idle()], policy=policy)
    async with world.run():
        await asyncio.sleep(10)
        world.seer.shared |= {"ready_jobs": 3.0, "published": 3.0}
        await until(lambda: world.plant.asked() == 3, within=ROUND)
        world.seer.shared |= {"ready_jobs": 1.0, "unacked": 3.0, "in_flight": 3.0, "published": 4.0}
        await until(lambda: world.plant.asked() == 4, within=ROUND)
        world.seer.shared |= {"ready_jobs": 0.0, "unacked": 2.0, "in_flight": 2.0, "completed": 2.0}
        await asyncio.sleep(60)
        assert world.plant.asked() == 4, "two are busy, and two about to end"
        world.plant.put("work", 2)
        world.seer.shared |= {"unacked": 0.0, "in_flight": 0.0, "completed": 4.0}
        await asyncio.sleep(60)
        assert world.plant.asked() == 2
        world.plant.put("work", 0)
        await asyncio.sleep(60)
    assert [(done.replicas, done.idlest) for done in world.plant.done] == [(3, []), (4, [])]
    assert world.ear.heard == []
