"""KEDA 2: a ScaledObject with the RabbitMQ scaler. KEDA's own poll does 0 to 1 and to 0; the HPA that it writes does 1 to N.

Source: kedacore/keda pkg/scalers/rabbitmq_scaler.go (getQueueStatus, GetMetricsAndActivity, rabbitMQMetadata.Validate),
pkg/scaling/executor/scale_scaledobjects.go (RequestScale, scaleToZeroOrIdle, scaleFromZeroOrIdle), controllers/keda/hpa.go
(getHPAMinReplicas; no `behavior` unless the ScaledObject has one); https://keda.sh/docs/latest/scalers/rabbitmq-queue/ and
https://keda.sh/docs/latest/reference/scaledobject-spec/.

`pollingInterval` matters only for 0 to 1 and to 0: the HPA's own sync has KEDA read the queue again (useCachedMetrics is off).

Not modelled: `fallback` (none by default: an unreadable queue holds, as here), several triggers, pausing by annotation, the modes
DeliverGetRate, PublishedToDeliveredRatio and ExpectedQueueConsumptionTime. Poll and sync start together; where both are due the
poll is first, so that a start from zero meets its HPA at once: on a cluster it waits for it by half a sync in the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from autoscaler.model import UNKNOWN, Observation, Unknown
from core.errors import SettingsError
from simulator.rivals.figures import CounterRate, Due, backlog, value
from simulator.rivals.hpa import HPA
from simulator.rivals.hpa_rules import Behavior

BROKER_SAMPLE: Final = 5.0  # seconds: RabbitMQ's `publish_details.rate` is the change over its last collection interval


class Mode(StrEnum):
    """The figure that `value` is a target of: jobs in the queue, or jobs published a second, for each replica."""

    QUEUE_LENGTH = "QueueLength"
    MESSAGE_RATE = "MessageRate"


class Protocol(StrEnum):
    """How KEDA reads the queue: the management API counts ready and unacked jobs, a passive declare ready ones alone."""

    HTTP = "http"
    AMQP = "amqp"


@dataclass(frozen=True, slots=True)
class Trigger:
    """The `rabbitmq` trigger's metadata. value 20 and QueueLength are what KEDA takes where neither is given.

    KEDA's `protocol` is read from the host's scheme and has no default; HTTP here, since it sees more.
    """

    mode: Mode = Mode.QUEUE_LENGTH
    value: float = 20.0
    activation_value: float = 0.0
    protocol: Protocol = Protocol.HTTP
    exclude_unacknowledged: bool = False

    def __post_init__(self) -> None:
        """Raises SettingsError for what Validate refuses."""
        if not self.value > 0:
            raise SettingsError(f"trigger: value={self.value!r} must be above 0")
        if self.protocol is Protocol.AMQP and (self.mode is Mode.MESSAGE_RATE or self.exclude_unacknowledged):
            raise SettingsError("trigger: MessageRate and exclude_unacknowledged need protocol=http")

    def messages(self, seen: Observation) -> float | Unknown:
        """Jobs in the queue, as this protocol counts them."""
        ready_only = self.protocol is Protocol.AMQP or self.exclude_unacknowledged
        return value(seen.ready_jobs) if ready_only else backlog(seen)


class KEDA:
    """One ScaledObject. polling, cooldown, initial_cooldown, sync: seconds. minimum, maximum, idle: replicas.

    cooldown: from the last poll that found work to scaling to 0 (or to `idle`). idle: None, or 0 with a minimum above it.
    It is to be asked so often that each poll and each sync finds its second.
    """

    def __init__(
        self,
        trigger: Trigger | None = None,
        *,
        polling: float = 30.0,
        cooldown: float = 300.0,
        initial_cooldown: float = 0.0,
        minimum: int = 0,
        maximum: int = 100,
        idle: int | None = None,
        behavior: Behavior | None = None,
        tolerance: float = 0.1,
        sync: float = 15.0,
        name: str = "keda",
    ) -> None:
        if idle is not None and idle >= minimum:
            raise SettingsError(f"idle={idle} must be below minimum={minimum}")
        self.name = name
        self._trigger = trigger or Trigger()
        by_rate = self._trigger.mode is Mode.MESSAGE_RATE
        self.interval = _common(polling, sync, *([BROKER_SAMPLE] if by_rate else []))
        self._cooldown, self._initial_cooldown = cooldown, initial_cooldown
        self._minimum, self._idle = minimum, idle
        self._poll, self._sync = Due(polling), Due(sync)
        self._rate = CounterRate(BROKER_SAMPLE)
        self._published: float | Unknown = UNKNOWN
        self._began: float | None = None
        self._last_active: float | None = None
        self._hpa = HPA(
            self._trigger.value,
            minimum=max(minimum, 1),
            maximum=maximum,
            metric=self._metric,
            behavior=behavior,
            tolerance=tolerance,
            sync=sync,
        )

    def ask(self, seen: Observation, now: float) -> int:
        """The desired replicas of the workload after the loops that are due."""
        self._published = self._rate.see(seen.published)
        self._began = now if self._began is None else self._began
        wanted = seen.asked
        if self._poll.at(now):
            wanted = self._request_scale(wanted, self._active(seen), now)
        if self._sync.at(now):
            wanted = self._hpa.ask(replace(seen, asked=wanted), now)
        return wanted

    def _metric(self, seen: Observation) -> float | Unknown:
        """The metric that the HPA receives (GetMetricsAndActivity)."""
        return self._trigger.messages(seen) if self._trigger.mode is Mode.QUEUE_LENGTH else self._published

    def _active(self, seen: Observation) -> bool | Unknown:
        """Above the activation value, never at it; by rate, either the rate or the queue is."""
        messages, least = self._trigger.messages(seen), self._trigger.activation_value
        if isinstance(messages, Unknown):
            return UNKNOWN
        if self._trigger.mode is Mode.QUEUE_LENGTH:
            return messages > least
        return UNKNOWN if isinstance(self._published, Unknown) else messages > least or self._published > least

    def _request_scale(self, current: int, active: bool | Unknown, now: float) -> int:
        """RequestScale: what KEDA itself sets. An error without `fallback` sets nothing."""
        if isinstance(active, Unknown):
            return current
        if active:
            self._last_active = now
            asleep = current == 0 or (self._idle is not None and current < self._minimum)
            return max(self._minimum, 1) if asleep else current
        if (self._idle is not None and current > self._idle) or (current > 0 and self._minimum == 0):
            return self._rest if self._cooled(now) else current
        return self._minimum if self._idle is None and current < self._minimum else current

    @property
    def _rest(self) -> int:
        """The replicas while idle (getIdleOrMinimumReplicaCount)."""
        return self._minimum if self._idle is None else self._idle

    def _cooled(self, now: float) -> bool:
        """scaleToZeroOrIdle. Kubernetes keeps the last active time in whole seconds, cut off: at the full cooldown it is over."""
        if self._last_active is None:
            assert self._began is not None  # noqa: S101 - ask has set it
            return now >= self._began + self._initial_cooldown
        return now >= self._last_active + self._cooldown


def _common(*periods: float) -> float:
    """The longest step, in seconds, that meets every period; they are taken to the millisecond."""
    return math.gcd(*(round(period * 1000) for period in periods)) / 1000
