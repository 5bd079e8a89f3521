"""Knative's KPA: concurrency, averaged over a stable and a panic window.

Source: knative/serving pkg/autoscaler/scaling/autoscaler.go (Scale, newAutoscaler), pkg/autoscaler/scaling/multiscaler.go (Poke,
tick), pkg/autoscaler/aggregation/bucketing.go (TimedFloat64Buckets), pkg/reconciler/autoscaling/kpa/scaler.go (handleScaleToZero,
applyBounds), pkg/autoscaler/config/config.go for the defaults; https://knative.dev/docs/serving/autoscaling/kpa-specific/.

How a queue maps to it: Knative is pushed to and a pod's concurrency is what it was sent; here consumers pull, and what waits for
one stands in the broker. Ready and unacked jobs together are what Knative would count at its activator and its pods: requests
that were accepted and not yet answered. One figure for the whole workload, as the activator's and the pods' reports are summed.

Not modelled: several revisions and traffic splits, the request-rate metric, burst capacity and the activator's own path, an
initial or activation scale above 1, exponentially weighted windows, an activation that times out.
"""

from __future__ import annotations

import math

from autoscaler.model import Observation, Unknown
from simulator.rivals.figures import SLACK, Due, backlog, value
from simulator.rivals.kpa_window import Greatest, WindowAverage
from simulator.rivals.kpa_zero import ToZero


class KPA:
    """One revision's autoscaler and the scaler behind it. Windows, delays, grace, tick and scrape: seconds.

    target: jobs that a replica may have at once (container-concurrency-target-default), of which `utilisation` is aimed at.
    maximum: 0 is no limit, Knative's default. panic_*: percent, as Knative's settings are.
    """

    def __init__(
        self,
        *,
        target: float = 100.0,
        utilisation: float = 0.7,
        stable_window: float = 60.0,
        panic_window_percentage: float = 10.0,
        panic_threshold_percentage: float = 200.0,
        max_scale_up_rate: float = 1000.0,
        max_scale_down_rate: float = 2.0,
        scale_down_delay: float = 0.0,
        scale_to_zero_grace: float = 30.0,
        minimum: int = 0,
        maximum: int = 0,
        tick: float = 2.0,
        scrape: float = 1.0,
        name: str = "kpa",
    ) -> None:
        self.name = name
        self.interval = scrape
        self._target = max(target * utilisation, 0.01)  # autoscaling.TargetMin
        self._threshold = panic_threshold_percentage / 100
        self._up, self._down = max_scale_up_rate, max_scale_down_rate
        self._stable_window = stable_window
        self._stable = WindowAverage(stable_window, scrape)
        self._panic = WindowAverage(max(stable_window * panic_window_percentage / 100, scrape), scrape)
        self._delay = Greatest(scale_down_delay) if scale_down_delay > 0 else None
        self._minimum, self._maximum = minimum, maximum
        self._zero = ToZero(stable_window, scale_to_zero_grace)
        self._tick = Due(tick)
        self._begun = False
        self._panic_since: float | None = None
        self._panic_pods = 0

    def ask(self, seen: Observation, now: float) -> int:
        """Scrapes, and decides where it is time. At 0 the first job is a poke: decided at once."""
        concurrency, ready = backlog(seen), value(seen.ready)
        if not isinstance(concurrency, Unknown):
            self._stable.record(now, concurrency)
            self._panic.record(now, concurrency)
        poked = seen.asked == 0 and not isinstance(concurrency, Unknown) and concurrency > 0
        due = self._tick.at(now)
        if isinstance(ready, Unknown) or not (due or poked):
            return seen.asked  # without a count of pods Scale is invalid
        return self._decide(seen.asked, int(ready), now)

    def _decide(self, asked: int, ready: int, now: float) -> int:
        stable, panic = self._stable.average(now), self._panic.average(now)
        if isinstance(stable, Unknown) or isinstance(panic, Unknown):
            return asked  # ErrNoData
        wanted = max(self.pods(stable, panic, ready, now), self._minimum)
        bounded = min(wanted, self._maximum) if self._maximum else wanted
        return self._zero.held(bounded, asked, ready, now)

    def pods(self, stable: float, panic: float, ready: int, now: float) -> int:
        """autoscaler.Scale: pods wanted, from the two averages (jobs) and the pods that are ready; not yet bounded."""
        self._begin(ready, now)
        floor_ready = max(1, ready)
        most, least = math.ceil(self._up * floor_ready), math.floor(floor_ready / self._down)
        by_panic = math.ceil(panic / self._target)
        calm = min(max(math.ceil(stable / self._target), least), most)
        hurried = min(max(by_panic, least), most)
        self._judge(by_panic / floor_ready >= self._threshold, now)
        return self._delayed(self._panicking(max(calm, hurried)) if self._panic_since is not None else calm, now)

    def _begin(self, ready: int, now: float) -> None:
        """newAutoscaler: over one pod it starts in panic mode, so that a restart does not shrink."""
        if self._begun:
            return
        self._begun = True
        self._panic_pods = ready
        self._panic_since = now if ready > 1 else None

    def _judge(self, over: bool, now: float) -> None:
        """Panic begins and is prolonged over the threshold; it ends when that was over a stable window ago."""
        if over:
            self._panic_since = now
        elif self._panic_since is not None and self._panic_since + self._stable_window < now - SLACK:
            self._panic_since = None
            self._panic_pods = 0

    def _panicking(self, wanted: int) -> int:
        """In panic mode it never shrinks."""
        self._panic_pods = max(self._panic_pods, wanted)
        return self._panic_pods

    def _delayed(self, wanted: int, now: float) -> int:
        return wanted if self._delay is None else self._delay.of(wanted, now)
