"""The consumer's own settings."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from core.settings import Settings

# The time limit of a contract that sets none, in seconds.
_LONG = 60.0


class ConsumerSettings(Settings):
    """The settings of a consumer besides the shared ones. Durations are seconds."""

    queues: str = Field("", description="Which queues to consume, with commas between; empty is all. `--queues` goes before it.")
    concurrency: int = Field(32, ge=1, le=10_000, description="How many handlers of one queue run at once in this process.")
    prefetch: int = Field(
        0,
        ge=0,
        le=65_535,
        description="How many deliveries of one queue are held at most; 0 is twice the concurrency, or once in a queue with a "
        "job type whose time limit is above a minute.",
    )
    claim_lease: float = Field(
        15.0,
        ge=1,
        le=3600,
        description="How long a claim lasts without being renewed; it is renewed every third of this.",
        json_schema_extra={"was": "lease"},
    )
    drain_seconds: float = Field(
        25.0, ge=0, le=3600, description="How long running handlers may take to finish after SIGTERM; the rest is handed back."
    )
    stall_seconds: float = Field(
        30.0,
        ge=1,
        description="How long messages may be ready, and none arrive, before liveness fails; and how long a run may go on after "
        "its time limit before the process drains and ends, to be started anew.",
    )
    once_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="How long a consumer that takes one delivery (`--once`) waits for it before it ends. The time in which the "
        "broker or the outcome store is away does not count: the delivery may be there.",
    )
    probe_host: str = Field("127.0.0.1", description="The address of the consumer's probes and metrics.")
    probe_port: int = Field(8081, ge=0, le=65_535, description="Their port; 0 is any free one, which is logged.")

    def held_at_most(self, time_limit: float) -> int:
        """Deliveries of one queue that may be held unsettled: the prefetch. time_limit: the longest of its job types, seconds.

        Twice the concurrency, so that the next delivery is here when a handler ends, and no more is taken from others. Of long jobs
        none is taken ahead: it would wait for as long as one of them takes, and no other consumer could have it.
        """
        return min(self.prefetch or (1 if time_limit > _LONG else 2) * self.concurrency, 65_535)

    def for_one_delivery(self) -> Self:
        """The same for a process that takes one delivery: it holds one, whatever is asked for."""
        return self.model_copy(update={"concurrency": 1, "prefetch": 1})

    @property
    def hold_limit(self) -> float | None:
        """For how many seconds a delivery may be in our hands: four fifths of RabbitMQ's own limit. Other brokers have none."""
        return 0.8 * self.consumer_timeout if self.broker.get_secret_value().startswith("amqp") else None
