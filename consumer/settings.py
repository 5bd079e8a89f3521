"""The consumer's own settings."""

from __future__ import annotations

from pydantic import Field

from jobs.settings import Settings


class ConsumerSettings(Settings):
    """What a consumer needs besides the shared settings. Durations are seconds."""

    queues: str = Field("", description="Which queues to consume, with commas between; empty is all. `--queues` goes before it.")
    concurrency: int = Field(32, ge=1, le=10_000, description="How many handlers of one queue run at once in this process.")
    prefetch: int = Field(
        0, ge=0, le=65_535, description="How many deliveries of one queue are held at most; 0 is twice the concurrency."
    )
    lease: float = Field(
        15.0, ge=1, le=3600, description="How long a claim lasts without being renewed; it is renewed every third of this."
    )
    drain_seconds: float = Field(
        25.0, ge=0, le=3600, description="How long running handlers may take to finish after SIGTERM; the rest is handed back."
    )
    stall_seconds: float = Field(
        30.0, ge=1, description="How long messages may be ready, with credit free, and none arrive, before liveness fails."
    )
    probe_host: str = Field("127.0.0.1", description="The address of the consumer's probes and metrics.")
    probe_port: int = Field(8081, ge=0, le=65_535, description="Their port; 0 is any free one, which is logged.")

    @property
    def held_at_most(self) -> int:
        """Deliveries of one queue that may be held unsettled: the prefetch.

        Twice the concurrency, so that the next delivery is here when a handler ends, and no more is taken from others.
        """
        return min(self.prefetch or 2 * self.concurrency, 65_535)

    @property
    def hold_seconds(self) -> float:
        """How long a delivery may wait in our hands: four fifths of the broker's own limit."""
        return 0.8 * self.consumer_timeout
