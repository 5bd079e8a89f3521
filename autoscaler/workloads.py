"""The workloads to scale, checked against the contracts of this image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from autoscaler.settings import ControllerSettings, WorkloadSettings
from core.catalogue import Catalogue
from core.errors import SettingsError
from telemetry import logs, metrics

_log = logs.get("autoscaler")


class Workloads(NamedTuple):
    """known: by name, with the queues that contracts have. unknown: (workload, queue) of the others."""

    known: Mapping[str, WorkloadSettings]
    unknown: tuple[tuple[str, str], ...]

    def warn(self, contracts: str) -> None:
        """Log and count the unknown ones. contracts: the queues that there are."""
        for workload, queue in self.unknown:
            metrics.UNKNOWN_QUEUE.labels(workload, queue).set(1)
            what = "no contract of this image has the queue; it is left alone, and the rest is scaled"
            _log.warning(what, workload=workload, queue=queue, contracts=contracts)


def workloads_of(settings: ControllerSettings, catalogue: Catalogue) -> Workloads:
    """The workloads in HEADRACE_WORKLOADS; without it one workload with every queue, or none where there is no queue yet.

    Raises SettingsError for a name that is there twice, a queue in two workloads, and where no contract has any of the queues.
    """
    queues = catalogue.topology().queues
    given = settings.workloads or ((WorkloadSettings(name="consumer", queues=queues),) if queues else ())
    _check(given)
    unknown = tuple((one.name, queue) for one in given for queue in one.queues if queue not in queues)
    known = {one.name: one for one in _narrowed(given, queues)}
    if given and not known:
        workload, queue = unknown[0]
        raise SettingsError(f"HEADRACE_WORKLOADS: {workload} names queue {queue!r}; the contracts have: {', '.join(queues)}")
    return Workloads(known, unknown)


def _narrowed(given: tuple[WorkloadSettings, ...], queues: tuple[str, ...]) -> Iterator[WorkloadSettings]:
    for workload in given:
        if some := tuple(queue for queue in workload.queues if queue in queues):
            yield workload.model_copy(update={"queues": some})


def _check(workloads: tuple[WorkloadSettings, ...]) -> None:
    names = [workload.name for workload in workloads]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SettingsError(f"HEADRACE_WORKLOADS: {min(twice)!r} is there more than once; put its queues together")
    taken: dict[str, str] = {}
    for workload in workloads:
        for queue in workload.queues:
            if queue in taken:
                raise SettingsError(
                    f"HEADRACE_WORKLOADS: queue {queue!r} is in {taken[queue]} and in {workload.name}; name it once"
                )
            taken[queue] = workload.name
