"""Settings that are possibly mistakes: names that no program reads, queues without a contract, runs longer than the drain.

`headrace check` says it; so does the chart's Job after each install and upgrade, for the workloads of the release.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from autoscaler.settings import ControllerSettings
from autoscaler.workloads import workloads_of
from cli import names
from consumer.app import beyond_drain
from consumer.registry import Registry
from consumer.settings import ConsumerSettings
from core import project
from core.catalogue import Catalogue
from core.errors import HeadraceError
from core.settings import load


class _Drain(NamedTuple):
    """The time that runs of these queues may take to end. told: its wording in a sentence."""

    queues: tuple[str, ...]
    seconds: float
    told: str


def advice(settings: ConsumerSettings, registry: Registry) -> list[str]:
    """Raises SettingsError."""
    return [*names.unknown(), *no_job_types(registry.catalogue), *_unknown_queues(registry), *_long_runs(settings, registry)]


def of_this_release() -> list[str]:
    """The same by the settings and contracts of this process; a setting that cannot be read is a line, too."""
    try:
        return advice(load(ConsumerSettings), Registry.of(project.catalogue(), *project.handlers()))
    except HeadraceError as error:
        return [str(error)]


def no_job_types(catalogue: Catalogue) -> list[str]:
    """One line where there is none, as in a project whose example was taken away."""
    what = "there is no job type yet: add one in {0}/contracts/, and its handler in {0}/handlers/ (docs/extending.md)"
    return [] if list(catalogue) else [what.format(project.app())]


def _unknown_queues(registry: Registry) -> list[str]:
    catalogue = registry.catalogue
    return [
        f"HEADRACE_WORKLOADS: {workload} names queue {queue!r}, which no contract has: the controller leaves it alone, and "
        f"a consumer of it does not start. The contracts have: {', '.join(catalogue.topology().queues)}"
        for workload, queue in workloads_of(load(ControllerSettings), catalogue).unknown
    ]


def _long_runs(settings: ConsumerSettings, registry: Registry) -> list[str]:
    what = (
        "what runs on at a rollout begins again. Raise it (in the chart drainSeconds), lower the contract's time_limit, or give "
        "each job a process of its own (in the chart mode: job)"
    )
    return [
        f"queue {queue}: {name} may run for {limit:g} s, {drain.told}: {what}"
        for drain in _drains(settings, registry)
        for queue, name, limit in beyond_drain(settings.model_copy(update={"drain_seconds": drain.seconds}), registry, drain.queues)
    ]


def _drains(settings: ConsumerSettings, registry: Registry) -> Iterator[_Drain]:
    """Of each workload; where HEADRACE_WORKLOADS says none: ours. Jobs with a process each have none: no rollout ends them."""
    for workload in workloads_of(load(ControllerSettings), registry.catalogue).known.values():
        seconds = workload.policy.get("drain_seconds")
        if seconds is not None and not workload.ends_itself:
            yield _Drain(workload.queues, float(seconds), f"the drain of {workload.name} is {seconds:g} s")
        elif not workload.ends_itself:
            yield _Drain(workload.queues, settings.drain_seconds, f"HEADRACE_DRAIN_SECONDS is {settings.drain_seconds:g}")
