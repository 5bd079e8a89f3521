"""Every metric of Headrace: name, unit, labels. Nothing else defines one.

Names follow Prometheus' naming: base units, `_total` for counters, `_seconds` for durations.
Labels have few values: job types and queues come from the contracts, reasons and settlements from closed lists.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

# The gateway
JOBS_SUBMITTED = Counter("headrace_jobs_submitted_total", "Valid jobs handed to the broker.", ["job_type"])
JOBS_ACCEPTED = Counter("headrace_jobs_accepted_total", "Jobs that the broker confirmed: answered 202.", ["job_type"])
JOBS_REJECTED = Counter("headrace_jobs_rejected_total", "Submits that were not accepted, by the problem's type.", ["reason"])
REQUESTS_REFUSED = Counter(
    "headrace_requests_refused_total", "Requests refused for their API key: missing, unknown, or without the scope.", ["reason"]
)
API_KEYS_STALE = Gauge("headrace_api_keys_stale", "1 while the files of API keys have a mistake, and older keys stay valid.")
PUBLISH_SECONDS = Histogram("headrace_publish_seconds", "From handing a job to the broker to its confirm.", buckets=_FAST)
PUBLISH_WINDOW = Histogram(
    "headrace_publish_window_jobs", "Jobs published in one window.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
JOBS_UNCONFIRMED = Gauge("headrace_jobs_unconfirmed", "Jobs that wait for the broker's confirm now.")
QUEUED_RECORDS = Counter(
    "headrace_queued_records_total", "Records of accepted jobs in the outcome store: written, failed or dropped.", ["result"]
)
QUEUES_REDECLARED = Counter(
    "headrace_queues_redeclared_total", "Queues that were gone from RabbitMQ while programs ran, and were declared anew.", ["queue"]
)

# The consumers
DELIVERIES = Counter("headrace_deliveries_total", "Deliveries by how they were settled.", ["queue", "settlement"])
HANDLER_SECONDS = Histogram("headrace_handler_seconds", "Time in the handler.", ["queue", "job_type"], buckets=_SLOW)
WAIT_SECONDS = Histogram("headrace_wait_seconds", "From acceptance to the start of the first run.", ["queue"], buckets=_SLOW)
IN_FLIGHT = Gauge("headrace_deliveries_in_flight", "Deliveries whose handler runs now.", ["queue"])
HELD = Gauge("headrace_deliveries_held", "Deliveries taken from the broker and not settled yet.", ["queue"])
BEYOND_DRAIN = Gauge(
    "headrace_time_limit_beyond_drain_seconds",
    "By how much a queue's longest time limit exceeds the drain; 0 where it does not.",
    ["queue"],
)
OVERDUE_THREADS = Gauge("headrace_overdue_threads", "Plain functions that run on past their time limit.", ["queue"])
CLAIMS = Counter("headrace_claims_total", "Claims by their answer.", ["queue", "verdict"])
CLAIMS_LOST = Counter("headrace_claims_lost_total", "Runs whose claim was taken over before they ended.", ["queue"])
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Dead letters recorded.", ["queue", "reason"])
PAUSED = Gauge("headrace_consumer_paused", "1 while no deliveries are taken because the outcome store is away.", ["queue"])

# Every program
STORE_UP = Gauge("headrace_outcome_store_up", "1 while the outcome store answers.")
BROKER_UP = Gauge("headrace_broker_up", "1 while the broker can be used.")
LOOP_LAG = Histogram("headrace_event_loop_lag_seconds", "How late the event loop runs what is due.", buckets=_FAST)

TASK_RESTARTS = Counter("headrace_task_restarts_total", "Tasks that must not end, and were started again.", ["task"])

# The controller
REPLICAS = Gauge(
    "headrace_scaling_replicas",
    "Replicas of a workload: active ones that are wanted, asked for, ready, cordoned.",
    ["workload", "kind"],
)
BACKLOG = Gauge("headrace_scaling_backlog_jobs", "Jobs in a queue and at its consumers; NaN while unknown.", ["queue"])
ARRIVAL_RATE = Gauge("headrace_scaling_arrivals_per_second", "Jobs that arrive, forecast; NaN while unknown.", ["queue"])
SERVICE_RATE = Gauge("headrace_scaling_service_per_second", "Jobs that one replica can do, learned.", ["queue"])
DECISIONS = Counter("headrace_scaling_decisions_total", "Decisions by their reason.", ["queue", "reason"])
DECISION_SECONDS = Histogram(
    "headrace_scaling_decision_seconds", "Time in the decision.", buckets=(0.00001, 0.00002, 0.00005, 0.0001, 0.001, 0.01)
)
TICK_SECONDS = Histogram("headrace_scaling_tick_seconds", "One round of a workload: observe, decide, act, record.", buckets=_FAST)
SIGNAL_AGE = Gauge("headrace_scaling_signal_age_seconds", "Since a signal last saw anything.", ["signal"])
SIGNAL_ERRORS = Counter("headrace_scaling_signal_errors_total", "Looks of a signal that saw nothing.", ["signal"])
SCALE_ERRORS = Counter("headrace_scaling_errors_total", "Decisions that could not be carried out.", ["workload"])
ALERTS = Gauge("headrace_scaling_alert", "1 while an alert stands.", ["queue", "kind"])
UNKNOWN_QUEUE = Gauge(
    "headrace_scaling_unknown_queue", "1 for a queue that HEADRACE_WORKLOADS names and no contract has.", ["workload", "queue"]
)
LEADING = Gauge("headrace_scaling_leading", "1 while this controller is the one that acts.")
