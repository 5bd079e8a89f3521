"""Other programs that set the replicas of a workload: a HorizontalPodAutoscaler, or a ScaledObject of KEDA."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Json, Resource
from autoscaler.actuators.kubernetes.objects import Reference
from core.errors import ActuatorError
from telemetry import logs
from telemetry.supervisor import Beat

_log = logs.get("kubernetes")

_HPA: Final = Resource("autoscaling", "v2", "horizontalpodautoscalers")
_SCALED_OBJECT: Final = Resource("keda.sh", "v1alpha1", "scaledobjects")
_KINDS: Final = (
    (_HPA, "HorizontalPodAutoscaler"),
    (_SCALED_OBJECT, "ScaledObject"),
)  # KEDA makes an HPA as well: name what the user wrote
_TIMEOUT = 2.0
# A rival that comes later is seen within a minute; two lists a minute cost nothing.
_PERIOD = 60.0
PATIENCE = 2 * _PERIOD


class Rivals:
    """The rival of each workload, looked up every minute for the whole namespace."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._found: dict[Resource, dict[Reference, str]] = {}
        self._forbidden: set[Resource] = set()

    async def run(self, beat: Beat) -> None:
        """For ever: for a Supervisor whose patience is PATIENCE."""
        while True:
            beat()
            try:
                await self.check()
            except ApiFailure as error:
                _log.warning("whether another autoscaler governs a workload cannot be seen; the last answer stands", why=str(error))
            await asyncio.sleep(random.uniform(0.8, 1.0) * _PERIOD)

    async def check(self) -> None:
        """Raises ApiFailure without an answer. A kind that the server does not have, or that we may not list, governs nothing."""
        for resource, kind in _KINDS:
            try:
                answer = await self._api.call("list", resource, timeout=_TIMEOUT)
                self._found[resource] = dict(_governed(one, kind) for one in answer["items"])
            except ApiFailure as error:
                if error.status not in (403, 404):
                    raise
                self._say(resource, error)
                self._found[resource] = {}
            except (KeyError, TypeError, AttributeError) as error:
                raise ApiFailure(0, f"a list of {resource} that is none: {type(error).__name__}: {error}") from error

    async def refuse(self, workload: Reference) -> None:
        """Raises ActuatorError when another one governs it, and ApiFailure when that was never to be seen."""
        if len(self._found) < len(_KINDS):
            await self.check()
        for found in reversed(self._found.values()):
            if workload in found:
                raise ActuatorError(
                    f"{workload} is also scaled by {found[workload]}, and two autoscalers undo each other's work: "
                    f"delete it, or take the workload from this controller's settings"
                )

    def _say(self, resource: Resource, error: ApiFailure) -> None:
        if error.status == 403 and resource not in self._forbidden:
            self._forbidden.add(resource)
            _log.warning("another autoscaler of a workload will not be noticed", why=str(error))


def _governed(item: Json, kind: str) -> tuple[Reference, str]:
    reference = item["spec"].get("scaleTargetRef") or {}
    workload = Reference(str(reference.get("kind") or "Deployment").lower(), str(reference.get("name")))
    return workload, f"{kind} {item['metadata']['name']!r}"
