"""The content of the dashboard: rows of panels, and their PromQL.

Series carry the labels namespace, pod and container, as the Prometheus Operator's monitors set them. A unit is one of Grafana's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final


@dataclasses.dataclass(frozen=True)
class Panel:
    """series: PromQL, and what its lines are called. kind: a type of Grafana's. width, height: in Grafana's columns and rows."""

    title: str
    unit: str
    series: Sequence[tuple[str, str]]
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    height: int = 8


def _where(*more: str) -> str:
    return "{" + ", ".join(['namespace=~"$namespace"', *more]) + "}"


_ALL: Final = _where()
_QUEUE: Final = _where('queue=~"$queue"')
_WORKLOAD: Final = _where('workload=~"$workload"')
# Every program serves every metric; those of the others stay 0.
_USERS: Final = _where('container=~"gateway|consumer"')  # of the broker, who know whether they can use it
_CONSUMER: Final = _where('container="consumer"')
_CONTROLLER: Final = _where('container="controller"')
_READY: Final = _where('workload=~"$workload"', 'kind="ready"')
# A controller that has lost the lead still serves what it decided last.
_LEADER: Final = f"and on (instance) (headrace_scaling_leading{_ALL} == 1)"
_OURS: Final = f"and on (instance) headrace_event_loop_lag_seconds_count{_ALL}"


def _rate(metric: str, where: str = _ALL) -> str:
    return f"rate({metric}{where}[$__rate_interval])"


def _quantiles(metric: str, where: str) -> list[tuple[str, str]]:
    """p50, p95 and p99 over all that is chosen."""
    of = f"sum by (le) ({_rate(f'{metric}_bucket', where)})"
    return [(f"histogram_quantile({part}, {of})", name) for part, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


def _led(function: str, labels: str, metric: str, where: str) -> str:
    """The metric as the leading controller reports it."""
    return f"{function} by ({labels}) ({metric}{where} {_LEADER})"


def _stat(title: str, unit: str, query: str, about: str = "") -> Panel:
    """One number."""
    return Panel(title, unit, [(query, "")], about, kind="stat", width=4, height=4)


GLANCE: Final = (
    _stat("Accepted", "reqps", f"sum({_rate('headrace_jobs_accepted_total')})"),
    _stat("Settled", "ops", f"sum({_rate('headrace_deliveries_total', _QUEUE)})"),
    _stat(
        "Backlog",
        "short",
        f"sum({_led('max', 'queue', 'headrace_scaling_backlog_jobs', _QUEUE)})",
        "Jobs in the queues and at their consumers. Empty while the controller cannot see one of them.",
    ),
    _stat("Consumers ready", "short", f"sum({_led('max', 'workload', 'headrace_scaling_replicas', _READY)})"),
    _stat(
        "Dead letters recorded",
        "short",
        f"sum(increase(headrace_dead_letters_total{_QUEUE}[$__range]))",
        "In the time that is shown. `headrace dead list` shows them.",
    ),
    _stat("Alerts standing", "short", f"sum({_led('max', 'queue, kind', 'headrace_scaling_alert', _QUEUE)})"),
)

ACCEPTING: Final = (
    Panel(
        "Submits",
        "reqps",
        [
            (f"sum({_rate('headrace_jobs_submitted_total')})", "submitted"),
            (f"sum({_rate('headrace_jobs_accepted_total')})", "accepted"),
            (f"sum({_rate('headrace_jobs_rejected_total')})", "rejected"),
        ],
        "Submitted: valid, and handed to the broker. Accepted: confirmed by it, and answered 202.",
    ),
    Panel("Accepted, by job type", "reqps", [(f"sum by (job_type) ({_rate('headrace_jobs_accepted_total')})", "{{job_type}}")]),
    Panel(
        "Rejected, by reason",
        "reqps",
        [
            (f"sum by (reason) ({_rate('headrace_jobs_rejected_total')})", "{{reason}}"),
            (f"sum by (reason) ({_rate('headrace_requests_refused_total')})", "API key: {{reason}}"),
        ],
    ),
    Panel(
        "Publish latency",
        "s",
        _quantiles("headrace_publish_seconds", _ALL),
        "From handing a job to the broker to its confirm. A quorum queue confirms when most of its replicas have written it.",
    ),
    Panel(
        "Unconfirmed",
        "short",
        [
            (f"sum(headrace_jobs_unconfirmed{_ALL})", "wait for a confirm"),
            (
                f"sum({_rate('headrace_publish_window_jobs_sum')}) / sum({_rate('headrace_publish_window_jobs_count')})",
                "published at once, mean",
            ),
        ],
        "Each gateway answers 503 above HEADRACE_MAX_UNCONFIRMED.",
    ),
    Panel(
        "Queued records",
        "ops",
        [(f"sum by (result) ({_rate('headrace_queued_records_total')})", "{{result}}")],
        "What makes a job's Location answer before a consumer has it. Failed or dropped: the outcome store is away or slow.",
    ),
    Panel(
        "Queues declared anew",
        "short",
        [(f"sum by (queue) (increase(headrace_queues_redeclared_total{_ALL}[$__rate_interval]))", "{{queue}}")],
        "Somebody had deleted them from RabbitMQ while programs ran. Jobs to several queues missed this one until then.",
    ),
)

CONSUMING: Final = (
    Panel(
        "Deliveries, by settlement",
        "ops",
        [(f"sum by (settlement) ({_rate('headrace_deliveries_total', _QUEUE)})", "{{settlement}}")],
        "Repeated: the work was done before, and was not done again.",
    ),
    Panel("Deliveries, by queue", "ops", [(f"sum by (queue) ({_rate('headrace_deliveries_total', _QUEUE)})", "{{queue}}")]),
    Panel(
        "Dead letters, by reason",
        "short",
        [(f"sum by (queue, reason) (increase(headrace_dead_letters_total{_QUEUE}[$__rate_interval]))", "{{queue}}: {{reason}}")],
        "`headrace dead list --queue QUEUE` shows them.",
    ),
    Panel("Wait before the first run", "s", _quantiles("headrace_wait_seconds", _QUEUE), "From the acceptance on."),
    Panel("Time in the handler", "s", _quantiles("headrace_handler_seconds", _QUEUE)),
    Panel(
        "In flight and held",
        "short",
        [
            (f"sum by (queue) (headrace_deliveries_in_flight{_QUEUE})", "{{queue}}: in flight"),
            (f"sum by (queue) (headrace_deliveries_held{_QUEUE})", "{{queue}}: held"),
        ],
        "Held: taken from the broker and not settled, among them those in flight.",
    ),
    Panel(
        "Claims lost",
        "ops",
        [(f"sum by (queue) ({_rate('headrace_claims_lost_total', _QUEUE)})", "{{queue}}")],
        "Runs that took longer to renew their claim than HEADRACE_CLAIM_LEASE, so that another one began beside them.",
    ),
    Panel("Claims, by answer", "ops", [(f"sum by (verdict) ({_rate('headrace_claims_total', _QUEUE)})", "{{verdict}}")]),
    Panel(
        "Paused, and overdue",
        "short",
        [
            (f"sum by (queue) (headrace_consumer_paused{_QUEUE})", "{{queue}}: consumers paused"),
            (f"sum by (queue) (headrace_overdue_threads{_QUEUE})", "{{queue}}: threads overdue"),
            (f"max by (queue) (headrace_time_limit_beyond_drain_seconds{_QUEUE})", "{{queue}}: s beyond the drain"),
        ],
        "Paused: the outcome store is away. Overdue: plain functions that run on past their time limit. Beyond the drain: "
        "the longest time limit is longer by so many seconds, and what runs so long begins again at a rollout.",
    ),
)

SCALING: Final = (
    Panel(
        "Consumers",
        "short",
        [(_led("max", "workload, kind", "headrace_scaling_replicas", _WORKLOAD), "{{workload}}: {{kind}}")],
        "Wanted by the decision, asked for, and ready.",
    ),
    Panel("Backlog", "short", [(_led("max", "queue", "headrace_scaling_backlog_jobs", _QUEUE), "{{queue}}")], "A gap is unknown."),
    Panel(
        "Arrivals and service",
        "ops",
        [
            (_led("max", "queue", "headrace_scaling_arrivals_per_second", _QUEUE), "{{queue}}: arrive, forecast"),
            (_led("max", "queue", "headrace_scaling_service_per_second", _QUEUE), "{{queue}}: one consumer can do"),
        ],
    ),
    Panel(
        "Decisions, by reason",
        "ops",
        [(f"sum by (reason) ({_rate('headrace_scaling_decisions_total', _QUEUE)})", "{{reason}}")],
        "`headrace watch` shows each with its numbers.",
    ),
    Panel(
        "Alerts standing",
        "short",
        [(f"{_led('max', 'queue, kind', 'headrace_scaling_alert', _QUEUE)} == 1", "{{queue}}: {{kind}}")],
    ),
    Panel(
        "Leading",
        "short",
        [(f"max by (pod) (headrace_scaling_leading{_CONTROLLER})", "{{pod}}")],
        "One at a time.",
    ),
    Panel(
        "Age of the signals",
        "s",
        [(_led("max", "signal", "headrace_scaling_signal_age_seconds", _ALL), "{{signal}}")],
        "Since each last saw anything. Figures that are too old are unknown, and the controller holds.",
    ),
    Panel(
        "Errors",
        "ops",
        [
            (f"sum by (signal) ({_rate('headrace_scaling_signal_errors_total')})", "{{signal}}: saw nothing"),
            (f"sum by (workload) ({_rate('headrace_scaling_errors_total', _WORKLOAD)})", "{{workload}}: could not be scaled"),
        ],
        "The controller's log says why.",
    ),
    Panel(
        "Queues without a contract",
        "short",
        [(f"max by (workload, queue) (headrace_scaling_unknown_queue{_CONTROLLER})", "{{workload}}: {{queue}}")],
        "Left alone by the controller: the image has no contract of them, and no consumer of them starts.",
    ),
    Panel(
        "A round",
        "s",
        [
            (f"histogram_quantile(0.99, sum by (le) ({_rate('headrace_scaling_tick_seconds_bucket')}))", "p99"),
            (f"histogram_quantile(0.99, sum by (le) ({_rate('headrace_scaling_decision_seconds_bucket')}))", "its decision, p99"),
        ],
        "Observe, decide, act, record.",
    ),
)

HEALTH: Final = (
    Panel(
        "Broker can be used",
        "short",
        [(f"min by (container) (headrace_broker_up{_USERS})", "{{container}}")],
        "1 while all can, 0 while one cannot: its /readyz says why. One that starts cannot yet.",
    ),
    Panel(
        "Outcome store answers",
        "short",
        [(f"min by (container) (headrace_outcome_store_up{_CONSUMER})", "{{container}}")],
        "1 while it answers all, 0 while it does not answer one.",
    ),
    Panel(
        "Pods that are read",
        "short",
        [
            (f"count by (container) (headrace_event_loop_lag_seconds_count{_ALL})", "{{container}}"),
            (f"sum(headrace_api_keys_stale{_ALL})", "with mistakes in their API keys"),
        ],
    ),
    Panel(
        "Event loop lag, p99",
        "s",
        [(f"histogram_quantile(0.99, sum by (le, pod) ({_rate('headrace_event_loop_lag_seconds_bucket')}))", "{{pod}}")],
        "How late what is due runs. Above 0.1 s: too little CPU, or a handler that blocks.",
    ),
    Panel(
        "Tasks that began again",
        "short",
        [(f"sum by (container, task) ({_rate('headrace_task_restarts_total')}) > 0", "{{container}}: {{task}}")],
        "Each is a fault that is in the log, and was mended by starting the task again.",
    ),
    Panel("CPU", "short", [(f"sum by (pod) ({_rate('process_cpu_seconds_total')} {_OURS})", "{{pod}}")], "In cores."),
    Panel("Memory", "bytes", [(f"sum by (pod) (process_resident_memory_bytes{_ALL} {_OURS})", "{{pod}}")]),
)

ROWS: Final = (
    ("At a glance", GLANCE),
    ("Accepting", ACCEPTING),
    ("Consuming", CONSUMING),
    ("Scaling", SCALING),
    ("Health", HEALTH),
)

# Of the metric's label; `all` also takes series without it.
VARIABLES: Final = (
    ("namespace", "label_values(headrace_event_loop_lag_seconds_count, namespace)"),
    ("queue", 'label_values({__name__=~"headrace_scaling_backlog_jobs|headrace_deliveries_held", namespace=~"$namespace"}, queue)'),
    ("workload", 'label_values(headrace_scaling_replicas{namespace=~"$namespace"}, workload)'),
)
