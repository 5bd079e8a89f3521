"""A fault that the controller has had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autoscaler.ports import Replica
from autoscaler.runs import Runs
from autoscaler.signals.consumers import ConsumersSignal
from tests.simulation.mutants import exchanged, mutant


@mutant
def removed_while_it_takes_deliveries() -> Iterator[None]:
    """A replica that runs nothing goes at once: it may have taken a delivery since it said so."""

    def cordoned(self: Runs, replica: Replica) -> bool | None:
        return None if self.silent(replica) else True

    async def cordon(self: ConsumersSignal, replicas: Sequence[Replica], seconds: float) -> None:
        """No replica is asked to take nothing."""

    with exchanged(Runs, "cordoned", cordoned), exchanged(ConsumersSignal, "cordon", cordon):
        yield
