"""Arrivals: recorded traces, generators, scenarios and their sizing."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from autoscaler.model import Figure, Observation
from core.errors import SettingsError
from simulator import arrivals as make
from simulator.scenarios import big_day, measured_step, pod_hours, scenario, sizing, to_peak
from simulator.simulate import Fixed, simulate

TRACES = Path(__file__).parents[2] / "bench" / "traces"


@pytest.mark.parametrize("name", ["azure-llm-code-2023.csv", "azure-llm-conv-2023.csv"])
def test_a_trace_by_the_second(name: str) -> None:
    text = (TRACES / name).read_text()
    arrivals = make.parse_trace(text)
    rows = [line.split(",") for line in text.splitlines()[1:]]
    assert len(arrivals) == int(rows[-1][0]) + 1
    assert sum(arrivals) == sum(int(count) for _, count in rows)


def test_a_trace_by_the_five_minutes() -> None:
    arrivals = make.parse_trace((TRACES / "nab-elb-requests.csv").read_text())
    assert len(arrivals) == 4032 * 300
    assert sum(arrivals[:300]) == pytest.approx(94)
    assert arrivals[300] * 300 == pytest.approx(56)
    assert len(make.compressed(arrivals, 14)) == 86_400
    assert sum(make.compressed(arrivals, 14)) * 14 == pytest.approx(sum(arrivals))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "first line"),
        ("a,b\n1,2", "a,b"),
        ("second,arrivals\n0,1\n1,x", "line 3"),
        ("second,arrivals\n0,-1", "from 0"),
        ("second,arrivals\n0,nan", "from 0"),
        ("timestamp,value\nsoon,1", "line 2"),
        ("second,arrivals\n0,1\n\n1,2,3", "line 4: '1,2,3' has 3 columns, and the first line 2"),
        ("timestamp,value\n2014-04-10 00:04:00,1,000", "line 2: .* has 3 columns"),
        ("timestamp,value\n2014-04-10 00:04:00,1\n2014-04-10 00:04:00,1", "must rise"),
    ],
)
def test_a_trace_that_cannot_be_read_is_told(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        make.parse_trace(text)


def test_steps_have_whole_jobs_and_none_is_lost() -> None:
    steps = list(make.spread([0.5, 0.5, 7.0, 0.1], 4))
    assert steps == [0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 0, 0, 0, 0]
    assert sum(make.spread([0.1] * 86_400, 4)) == 8640


def test_the_peak_is_the_highest_mean_of_some_seconds() -> None:
    assert make.peak_rate([0, 10, 20, 30, 0], window=2) == 25
    assert make.peak_rate(make.scaled_to([0.0, 3.0, 1.0], 800.0, window=1), window=1) == pytest.approx(800)
    assert make.peak_rate(make.scaled_to([0.0, 0.0], 800.0)) == 0


def test_generators() -> None:
    assert make.step(4, 1, 5, at=2) == [1, 1, 5, 5]
    assert make.ramp(5, 0, 8) == [0, 2, 4, 6, 8]
    assert make.spike(5, 1, 9, at=2, width=2) == [1, 1, 9, 9, 1]
    assert make.on_off(6, 3, on=1, off=2) == [3, 0, 0, 3, 0, 0]
    assert make.silent_then_burst(5, silent=2, jobs=100, over=2) == [0, 0, 50, 50, 0]


@pytest.mark.parametrize("rate", [0.0, 3.0, 900.0])
def test_poisson_has_its_mean_and_its_variance(rate: float) -> None:
    counts = make.poisson([rate] * 4000, Random(5))
    mean = sum(counts) / 4000
    assert mean == pytest.approx(rate, rel=0.05)
    assert sum((count - mean) ** 2 for count in counts) / 4000 == pytest.approx(rate, rel=0.1)


# --- scenarios --------------------------------------------------------------------------------------------------------------------


def test_the_big_day_and_its_sizing() -> None:
    day = big_day()
    assert sum(day.arrivals) == pytest.approx(230e6, rel=1e-6)
    assert max(day.arrivals) == 12_000
    rows = sizing(day.arrivals, 100.0, 0.8)
    assert len(rows) == 24
    assert rows[14].replicas == 150
    assert rows[2].replicas == 4
    assert pod_hours(rows) == sum(row.replicas for row in rows)


def test_a_day_that_cannot_be_is_told() -> None:
    with pytest.raises(SettingsError, match="diurnal"):
        make.diurnal(230e6, peak=2000, base=100)


def test_the_measured_step_at_its_bound() -> None:
    step = measured_step()
    run = simulate(step.world, step.arrivals, Fixed(30))
    assert run.totals.arrived == 66_000
    assert 10 < run.score.drain_s + 3 < 20  # on the cluster 19.5 s, where publishing took 8.8 s and not 3


def test_a_scaled_scenario_keeps_its_replicas_busy_at_the_peak() -> None:
    shape = scenario("on_off")
    assert shape is not None
    found = to_peak(shape, 40)
    assert make.peak_rate(found.arrivals) == pytest.approx(40 * found.world.replica_rate)
    assert scenario("no such") is None


class Replay:
    """Asks for what was asked for on a real cluster, second by second, and notes how many jobs waited."""

    name = "replay"
    interval = 1.0

    def __init__(self, asked: dict[int, int]) -> None:
        self._asked, self._replicas = asked, 1
        self.waiting: dict[int, float] = {}

    def ask(self, seen: Observation, now: float) -> int:
        assert isinstance(seen.ready_jobs, Figure)
        self.waiting[int(now)] = seen.ready_jobs.value
        self._replicas = self._asked.get(int(now), self._replicas)  # some seconds were not recorded
        return self._replicas


def test_the_world_behaves_as_a_real_cluster_did() -> None:
    """The asks of the measured run give back its backlog within 4 % of its peak, and its mean wait (18.4 s) within 2 %."""
    text = (TRACES / "keda-hpa-step-measured.csv").read_text()
    rows = [[int(cell) for cell in row] for row in list(csv.reader(text.splitlines()))[1:]]
    replay, step = Replay({row[0]: row[2] for row in rows}), measured_step()
    run = simulate(replace(step.world, startup=(0.5, 1.5)), step.arrivals, replay)  # its pods happened to be ready after 1 s
    off = [abs(row[1] - replay.waiting[row[0]]) for row in rows if row[0] in replay.waiting and row[0] >= 4]  # published by then
    assert max(off) < 0.04 * 30_437
    assert run.totals.mean_wait_s == pytest.approx(18.4, rel=0.02)
    assert run.score.returned == 0


def test_a_day_of_230_million_jobs_is_simulated_whole() -> None:
    """`make bench-simulate` says how long it takes."""
    day = big_day()
    run = simulate(day.world, day.arrivals, Fixed(150, interval=2.0))
    assert run.totals.arrived == 230_000_000
