"""Practo's worker-pod-autoscaler (WPA): workers from a queue's length and its messages a minute.

Source: practo/k8s-worker-pod-autoscaler pkg/controller/controller.go (GetDesiredWorkers, getMinWorkers, getMaxDisruptableWorkers,
convertDesiredReplicasWithRules), pkg/controller/scale_operation.go (GetScaleOperation), cmd/workerpodautoscaler/run.go for the
flags' defaults, README.md for the fields of the resource.

It reads SQS and beanstalkd and not RabbitMQ, so that the reading is ours, and kind: the queue's length is ready and unacked jobs
(controller_test.go: backlog and reserved), messages a minute are those of the last minute (pkg/queue/sqs.go: the mean of 5 to 10
minutes ago), and workers are idle when nothing was completed in the last minute (sqs.go: nothing received 10 to 20 minutes ago). A
queue that cannot be read holds.

Not modelled: several queues for one workload; waking a sleeping workload by a long poll, which is sooner than its 20 s.
"""

from __future__ import annotations

import math
from typing import Final

from autoscaler.model import Observation, Unknown
from core.errors import SettingsError
from simulator.rivals.figures import CounterRate, backlog

MINUTE: Final = 60.0
TOLERANCE: Final = 0.1  # a change of at most this part of what runs is none; not a setting there


class Practo:
    """One WorkerPodAutoScaler resource. The first three have no default there.

    messages_per_worker: targetMessagesPerWorker. seconds_per_job: secondsToProcessOneJob, 0 is off. max_disruption: a number of
    workers or a percentage that one step down may take. scale_down_delay: seconds after any scaling. resync: seconds.
    """

    def __init__(
        self,
        messages_per_worker: int,
        *,
        minimum: int,
        maximum: int,
        seconds_per_job: float = 0.0,
        max_disruption: str = "100%",
        scale_down_delay: float = 600.0,
        resync: float = 20.0,
        name: str = "practo",
    ) -> None:
        disruptable(max_disruption, 1)  # refused now, not at the first step down
        self.name = name
        self.interval = resync
        self._per_worker = messages_per_worker
        self._minimum, self._maximum = minimum, maximum
        self._seconds_per_job = seconds_per_job
        self._max_disruption = max_disruption
        self._delay = scale_down_delay
        self._sent, self._done = CounterRate(MINUTE), CounterRate(MINUTE)
        self._scaled_at: float | None = None

    def ask(self, seen: Observation, now: float) -> int:
        """One turn of its loop: the desired replicas, where GetScaleOperation lets them be set."""
        sent, done, messages = self._sent.see(seen.published), self._done.see(seen.completed), backlog(seen)
        if isinstance(messages, Unknown) or (self._seconds_per_job > 0 and isinstance(sent, Unknown)):
            return seen.asked
        desired = desired_workers(
            messages=messages,
            per_minute=0.0 if isinstance(sent, Unknown) else sent * MINUTE,
            seconds_per_job=self._seconds_per_job,
            per_worker=self._per_worker,
            current=seen.asked,
            idle=seen.asked if messages == 0 and done == 0 else 0,
            minimum=self._minimum,
            maximum=self._maximum,
            max_disruption=self._max_disruption,
        )
        return self._allowed(desired, seen.asked, now)

    def _allowed(self, desired: int, current: int, now: float) -> int:
        cooling = self._scaled_at is not None and now - self._scaled_at <= self._delay
        if desired == current or (desired < current and cooling):
            return current
        self._scaled_at = now
        return desired


def desired_workers(
    *,
    messages: float,
    per_minute: float,
    seconds_per_job: float,
    per_worker: int,
    current: int,
    idle: int,
    minimum: int,
    maximum: int,
    max_disruption: str,
) -> int:
    """GetDesiredWorkers. messages: jobs; per_minute: jobs published in a minute; current, idle: workers."""
    least = max(minimum, math.ceil(seconds_per_job * per_minute / 60))  # getMinWorkers; off at 0 seconds
    step = disruptable(max_disruption, current)
    wanted = math.ceil(messages / per_worker)
    if current == 0:
        return _bounded(current, wanted, least, maximum, step)
    if messages > 0:
        small = abs(wanted - current) / current <= TOLERANCE
        return _bounded(current, current if small else wanted, least, maximum, step)
    if current == idle and not (per_minute > 0 and seconds_per_job > 0):
        return _bounded(current, 0, least, maximum, current)  # no replica works: all may go, whatever the disruption
    return _bounded(current, least, least, maximum, step)


def disruptable(max_disruption: str, current: int) -> int:
    """Workers that one step may take: a number, or a percentage of what runs, rounded up (getMaxDisruptableWorkers)."""
    number, percent = max_disruption.removesuffix("%"), max_disruption.endswith("%")
    if not number.isdecimal():
        raise SettingsError(f"max_disruption={max_disruption!r} must be a number of workers or a percentage such as 50%")
    return math.ceil(int(number) * current / 100) if percent else int(number)


def _bounded(current: int, desired: int, least: int, most: int, step: int) -> int:
    """convertDesiredReplicasWithRules. A least number above the most is the most."""
    if least >= most:
        return most
    return max(min(max(desired, current - step), most), least)
