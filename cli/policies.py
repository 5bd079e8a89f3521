"""The policies that `headrace simulate` knows, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from autoscaler.model import Policy
from core.errors import SettingsError
from simulator.arrivals import peak_rate
from simulator.fixed import Fixed, replicas_for
from simulator.ours import Ours
from simulator.rivals import HPA, KEDA, KPA, Mode, Practo, Trigger
from simulator.scaler import Scaler
from simulator.world import World

ORACLE: Final = "oracle"  # the bound, which is no policy: `simulator/rivals/oracle.py`

Build = Callable[[World, Sequence[float]], Scaler]


def _for_the_peak(world: World, arrivals: Sequence[float]) -> Scaler:
    return Fixed(min(world.max_replicas, replicas_for(world, peak_rate(arrivals))))


def _always(replicas: int) -> Build:
    def make(world: World, _: Sequence[float]) -> Scaler:
        if replicas > world.max_replicas:
            raise SettingsError(
                f"policy fixed:{replicas}: {replicas:,} replicas are more than the {world.max_replicas:,} that there may be: give "
                f"--max-replicas {replicas}, or fixed:{world.max_replicas} at most"
            )
        return Fixed(replicas)

    return make


def ours(**changes: Any) -> Build:
    """Our policy, with what it knows of a pod (concurrency, a guess of its times) and the bounds of the world."""

    def make(world: World, _: Sequence[float]) -> Scaler:
        policy = Policy(
            min_replicas=min(1, world.initial),
            max_replicas=world.max_replicas,
            concurrency=world.concurrency,
            service_seconds=world.service_seconds,
            startup_seconds=sum(world.startup) / 2,
            drain_seconds=world.drain_seconds,
        )
        return Ours(replace(policy, **changes))

    return make


def keda(mode: Mode = Mode.QUEUE_LENGTH, value: float = 20.0, **more: Any) -> Build:
    """KEDA with the RabbitMQ scaler. value: jobs (QueueLength) or jobs/s (MessageRate) a replica, its documented default."""

    def make(world: World, _: Sequence[float]) -> Scaler:
        trigger = Trigger(mode=mode, value=value)
        name = "keda" if mode is Mode.QUEUE_LENGTH else "keda-rate"
        return KEDA(trigger, minimum=min(1, world.initial), maximum=world.max_replicas, name=name, **more)

    return make


def kpa(**more: Any) -> Build:
    """Knative's KPA; its target is what a replica runs at once."""

    def make(world: World, _: Sequence[float]) -> Scaler:
        settings = {"target": world.concurrency, "minimum": min(1, world.initial), "maximum": world.max_replicas}
        return KPA(**settings | more)

    return make


def practo(messages: int | None = None, **more: Any) -> Build:
    """practo's worker-pod-autoscaler. messages: a worker's share of the queue; None is what it does in a minute."""

    def make(world: World, _: Sequence[float]) -> Scaler:
        share = messages if messages is not None else max(1, round(60.0 * world.replica_rate))
        times = {"seconds_per_job": world.service_seconds / world.concurrency} | more
        return Practo(share, minimum=min(1, world.initial), maximum=world.max_replicas, **times)

    return make


def hpa(value: float = 20.0, **more: Any) -> Build:
    """The HPA alone, on the queue's length as an External metric. value: jobs a replica; KEDA's default, since it has none."""

    def make(world: World, _: Sequence[float]) -> Scaler:
        return HPA(value, minimum=1, maximum=world.max_replicas, **more)

    return make


POLICIES: Final[Mapping[str, Build]] = {
    "ours": ours(),
    "keda": keda(),
    "keda-rate": keda(Mode.MESSAGE_RATE),
    "hpa": hpa(),
    "kpa": kpa(),
    "practo": practo(),
    "fixed": _for_the_peak,
}


def build(name: str) -> Build:
    """A factory of scalers of this name for a world and its arrivals; `fixed:12` is a fleet of 12. Raises SettingsError, also
    when it makes a fleet of more replicas than the world may have."""
    if name in POLICIES:
        return POLICIES[name]
    kind, _, replicas = name.partition(":")
    if kind == "fixed" and replicas.isdecimal():
        return _always(int(replicas))
    raise SettingsError(f"policy {name!r} is not known; there are {', '.join(sorted([*POLICIES, ORACLE]))} and fixed:N")
