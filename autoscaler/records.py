"""A verdict as it is measured and written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from autoscaler.alerts import trace_link
from autoscaler.model import UNKNOWN, Decision, Observation, Unknown
from autoscaler.ports import Workload
from autoscaler.watchers import ages
from core.journal import AlertRecord, ScalingRecord
from telemetry import metrics


class Verdict(NamedTuple):
    """The observation of one queue, and the decision about it."""

    queue: str
    seen: Observation
    decision: Decision


def record_of(
    verdict: Verdict,
    workload: Workload,
    now: float,
    *,
    scaled: int | None,
    cordoned: int,
    dry_run: bool,
    error: str,
    trace_url: str,
) -> ScalingRecord:
    """The journal's record. now: monotonic seconds. scaled: what the workload was set to in this round, or None."""
    queue, seen, decision = verdict
    return ScalingRecord(
        queue=queue,
        workload=workload.name,
        at=seen.wall,
        asked=workload.asked,
        wanted=decision.replicas,
        reason=decision.reason.value,
        text=decision.text,
        scaled=scaled,
        running=len(workload.replicas),
        ready=ready_of(workload),
        backlog=_known(decision.backlog),
        arrival_rate=_known(decision.arrival_rate),
        service_rate=_known(decision.service_rate),
        ages=dict(ages(seen, now)),
        alerts=tuple(AlertRecord(a.kind.value, a.text, trace_link(trace_url, a.trace_id)) for a in decision.alerts),
        dry_run=dry_run,
        error=error,
        cordoned=cordoned,
    )


def measure(workload: Workload, wanted: int, cordoned: int, verdict: Verdict) -> None:
    """Set the metrics of one queue, and of its workload. wanted: active replicas. cordoned: those on their way out."""
    queue, _, decision = verdict
    counts = {"wanted": wanted, "asked": workload.asked, "ready": ready_of(workload), "cordoned": cordoned}
    for kind, replicas in counts.items():
        metrics.REPLICAS.labels(workload.name, kind).set(replicas)
    metrics.DECISIONS.labels(queue, decision.reason.value).inc()
    metrics.BACKLOG.labels(queue).set(_or_nan(decision.backlog))
    metrics.ARRIVAL_RATE.labels(queue).set(_or_nan(decision.arrival_rate))
    metrics.SERVICE_RATE.labels(queue).set(_or_nan(decision.service_rate))


def unmeasure(workload: str, queues: Iterable[str]) -> None:
    """Say nothing of them any more: NaN is unknown, and no alert rule holds for it."""
    for kind in ("wanted", "asked", "ready", "cordoned"):
        metrics.REPLICAS.labels(workload, kind).set(float("nan"))
    for queue in queues:
        for gauge in (metrics.BACKLOG, metrics.ARRIVAL_RATE, metrics.SERVICE_RATE):
            gauge.labels(queue).set(float("nan"))


def ready_of(workload: Workload) -> int:
    return sum(replica.ready for replica in workload.replicas)


def _known(value: float | Unknown) -> float | None:
    return None if value is UNKNOWN else float(value)


def _or_nan(value: float | Unknown) -> float:
    return float("nan") if value is UNKNOWN else value
