"""KEDA's RabbitMQ scaler, its own 0-to-1, and the run of both with the HPA that was measured on a real cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autoscaler.model import UNKNOWN, Figure, Observation
from core.errors import SettingsError
from simulator.rivals import KEDA, Mode, Protocol, Trigger
from simulator.scaler import Scaler


def seen(
    asked: int, ready: float | None, unacked: float = 0.0, running: int | None = None, published: Figure | None = None
) -> Observation:
    """A queue as KEDA may find it; None cannot be read."""
    return Observation(
        wall=0.0,
        asked=asked,
        running=Figure(asked if running is None else running, 0.0),
        ready_jobs=UNKNOWN if ready is None else Figure(ready, 0.0),
        unacked=Figure(unacked, 0.0),
        published=published or UNKNOWN,
    )


def test_what_each_protocol_counts() -> None:
    """getQueueStatus: the management API's `messages`, its `messages_ready`, and what a passive declare tells."""
    queue = seen(1, 10, 5)
    assert Trigger().messages(queue) == 15
    assert Trigger(exclude_unacknowledged=True).messages(queue) == 10
    assert Trigger(protocol=Protocol.AMQP).messages(queue) == 10


@pytest.mark.parametrize(
    "bad",
    [
        {"value": 0.0},
        {"protocol": Protocol.AMQP, "mode": Mode.MESSAGE_RATE},
        {"protocol": Protocol.AMQP, "exclude_unacknowledged": True},
    ],
)
def test_what_validate_refuses(bad: dict[str, Any]) -> None:
    """rabbitMQMetadata.Validate and validateTrigger."""
    with pytest.raises(SettingsError):
        Trigger(**bad)


def test_an_idle_count_is_below_the_minimum() -> None:
    """ScaledObject.spec: idleReplicaCount must be less than minReplicaCount."""
    with pytest.raises(SettingsError):
        KEDA(minimum=0, idle=0)


def test_it_is_asked_at_every_poll_and_sync() -> None:
    """30 and 15 s by default; by rate also as often as the broker's rate is computed."""
    assert KEDA().interval == 15.0
    assert KEDA(polling=5.0).interval == 5.0
    assert KEDA(Trigger(mode=Mode.MESSAGE_RATE)).interval == 5.0


@pytest.mark.parametrize(("messages", "active"), [(5, False), (6, True)])
def test_activation_is_above_its_value(messages: float, active: bool) -> None:
    """GetMetricsAndActivity: isActive is `>`, so that 5 at an activationValue of 5 sleeps on."""
    keda = KEDA(Trigger(activation_value=5.0))
    assert keda.ask(seen(0, messages), 0.0) == int(active)


def test_from_zero_by_the_poll_alone() -> None:
    """The HPA is off at 0: the job of second 1 is seen at the poll of second 30, the sync of second 15 does nothing."""
    keda = KEDA()
    assert [keda.ask(seen(0, jobs), now) for jobs, now in ((0, 0.0), (1, 15.0), (1, 30.0))] == [0, 0, 1]


def test_from_zero_to_the_minimum() -> None:
    """scaleFromZeroOrIdle: to minReplicaCount where it is above 0, from 0 and from the idle count."""
    assert KEDA(minimum=3, idle=0).ask(seen(0, 1), 0.0) == 3


def test_below_the_minimum_without_work() -> None:
    """RequestScale: no trigger is active and there is no idle count: to minReplicaCount."""
    assert KEDA(minimum=2).ask(seen(0, 0), 0.0) == 2


def run(keda: KEDA, replicas: int, until: int, jobs: Callable[[int], float]) -> dict[int, int]:
    """Asks at each step and scales as it says at once; returns its desired replicas, by second."""
    history = {}
    for now in range(0, until, int(keda.interval)):
        replicas = keda.ask(seen(replicas, jobs(now)), float(now))
        history[now] = replicas
    return history


def test_to_zero_after_the_cooldown_and_not_by_the_hpa() -> None:
    """Work until second 90: at 0 at the first poll that is 300 s later, from 3 at once; the HPA alone would stay at 1."""
    history = run(KEDA(), 3, 480, lambda now: 60.0 if now <= 90 else 0.0)
    assert history[375] == 3
    assert history[390] == 0
    assert history[465] == 0


def test_never_active_needs_no_cooldown() -> None:
    """LastActiveTime is nil and initialCooldownPeriod is 0: the workload that somebody else scaled goes to 0 at once."""
    assert KEDA().ask(seen(4, 0), 0.0) == 0
    assert KEDA(initial_cooldown=60.0).ask(seen(4, 0), 0.0) == 4


def test_the_cooldown_is_only_for_zero() -> None:
    """With a minimum of 1 the HPA shrinks, after its own 300 s, whatever the cooldown."""
    history = run(KEDA(minimum=1, cooldown=3600.0), 3, 480, lambda now: 60.0 if now <= 90 else 0.0)
    assert history[375] == 3
    assert history[390] == 1


def test_to_the_idle_count() -> None:
    """idleReplicaCount 0 with minReplicaCount 2: 0 after the cooldown, and 2 when there is work."""
    history = run(KEDA(minimum=2, idle=0), 2, 510, lambda now: 0.0 if 0 < now < 450 else 1.0)
    assert (history[285], history[300], history[435], history[450]) == (2, 0, 0, 2)


def test_what_cannot_be_read_holds() -> None:
    """isError without fallback: KEDA sets nothing, and the HPA has no metric."""
    keda = KEDA()
    assert [keda.ask(seen(5, None), now) for now in (0.0, 300.0, 900.0)] == [5, 5, 5]


def test_a_rate_is_divided() -> None:
    """MessageRate: 90 published a second at 20 for each replica is 5 replicas, the queue being empty."""
    keda = KEDA(Trigger(mode=Mode.MESSAGE_RATE, value=20.0), minimum=1)
    asked = [keda.ask(seen(4, 0, published=Figure(90.0 * now, now)), now) for now in (0.0, 5.0, 10.0, 15.0)]
    assert asked == [4, 4, 4, 5]


def test_by_rate_a_backlog_also_wakes() -> None:
    """GetMetricsAndActivity, MessageRate: active where the rate or the messages are above the activation value."""
    quiet = Figure(100.0, 0.0)
    assert KEDA(Trigger(mode=Mode.MESSAGE_RATE)).ask(seen(0, 1, published=quiet), 0.0) == 1
    assert KEDA(Trigger(mode=Mode.MESSAGE_RATE)).ask(seen(0, 0, published=quiet), 0.0) == 0
    assert KEDA(Trigger(mode=Mode.MESSAGE_RATE)).ask(seen(0, 1), 0.0) == 0  # no counter: an error, and it holds


def test_a_counter_that_begins_again_is_no_rate() -> None:
    """After a restart of the broker the rate is 0 until there are two samples, as RabbitMQ's is; the 5 of before still count."""
    keda = KEDA(Trigger(mode=Mode.MESSAGE_RATE, value=20.0), minimum=1)
    counters = [0.0, 450.0, 900.0, 0.0]
    asked = [keda.ask(seen(4, 0, published=Figure(count, 5.0 * step)), 5.0 * step) for step, count in enumerate(counters)]
    assert asked[-1] == 4


SYNC = 15.0
LOAD_AT = 5.3  # seconds after a sync that the load came, so that the next one is 9.7 s later, as in the measured run


class Cluster:
    """30,000 jobs within 3 s and then 200/s for 180 s; a pod does 100 jobs/s and is ready 3 s after it was asked for.

    Pods took 1 to 7 s; those of the steps to 4, 8 and 16, which the drain hung on, took 1 to 3 s.
    """

    def __init__(self) -> None:
        self.backlog, self.asked, self.drained_at = 0.0, 1, 0.0
        self.ready_at = [-10.0]
        self.asks: list[tuple[float, int]] = []

    def step(self, scaler: Scaler, now: float, width: float) -> None:
        """One `width` of time, `now` seconds after the load began; the scaler is asked at its interval."""
        self.backlog += width * (10_000 if 0 <= now < 3 else 200 if 3 <= now < 183 else 0)
        ready = sum(at <= now for at in self.ready_at)
        self.backlog = max(0.0, self.backlog - 100 * ready * width)
        if self.backlog == 0 and now > 3 and not self.drained_at:
            self.drained_at = now
        if abs((now + LOAD_AT) / scaler.interval - round((now + LOAD_AT) / scaler.interval)) < 1e-6:
            self._ask(scaler, now)

    def _ask(self, scaler: Scaler, now: float) -> None:
        wanted = scaler.ask(seen(self.asked, self.backlog, running=len(self.ready_at)), now + LOAD_AT)
        if wanted != self.asked:
            self.asks.append((now, wanted))
        self.asked = wanted
        del self.ready_at[wanted:]
        self.ready_at += [now + 3.0] * (wanted - len(self.ready_at))


def test_the_measured_run_comes_out() -> None:
    """bench/traces/keda-hpa-step-measured.csv: KEDA 2.21 and the HPA of Kubernetes 1.35, QueueLength 1000, polling 5 s, 1 to 30.

    Measured: 4 at 9.7 s, 8, 16, and 30 at 54.8 s; drained at 55.7 s; then 28 at 310.1 s, 20, 2, 1.
    """
    cluster = Cluster()
    scaler = KEDA(Trigger(value=1000.0), polling=5.0, minimum=1, maximum=30)
    for tenth in range(-53, 4000):
        cluster.step(scaler, tenth / 10, 0.1)
    out, back = cluster.asks[:4], cluster.asks[4:]
    assert [replicas for _, replicas in out] == [4, 8, 16, 30]
    assert [at for at, _ in out] == pytest.approx([9.7, 24.7, 39.7, 54.7], abs=0.05)
    assert cluster.drained_at == pytest.approx(55.7, abs=SYNC)
    assert back[0][0] == pytest.approx(310.1, abs=SYNC)
    assert [at for at, _ in back] == pytest.approx([back[0][0] + SYNC * step for step in range(4)])
    assert [replicas for _, replicas in back] == [pytest.approx(28, abs=1), pytest.approx(20, abs=1), 2, 1]
