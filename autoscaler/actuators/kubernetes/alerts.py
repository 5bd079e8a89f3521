"""Alerts as Kubernetes Events on the workload."""

from __future__ import annotations

from autoscaler.actuators.kubernetes.actuator import Kubernetes
from autoscaler.model import Alert


class EventSink:
    """An AlertSink."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes

    async def tell(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        reason = "".join(part.title() for part in alert.kind.value.split("-")) + ("Resolved" if resolved else "")
        self._kubernetes.record(workload, reason, f"{queue}: {alert.text}", warning=not resolved)
