"""Steps of these tests: an actuator in a namespace of the test's own, and waits with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from autoscaler.actuators.kubernetes import Kubernetes, connect
from autoscaler.ports import Workload
from tests.servers.kubernetes import Namespace


@asynccontextmanager
async def opened(namespace: Namespace, *workloads: str, kubeconfig: str = "", **options: Any) -> AsyncIterator[Kubernetes]:
    api = await connect(kubeconfig or namespace.cluster.kubeconfig, namespace.name)
    actuator = Kubernetes(api, workloads, **options)
    await actuator.open()
    try:
        yield actuator
    finally:
        await actuator.close()
        await api.close()


async def until(condition: Callable[[], Any], seconds: float = 15.0, step: float = 0.05) -> Any:
    """Wait until the condition holds; returns its value."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):
            await asyncio.sleep(step)
        return value


async def aside(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run what blocks without stopping the loop."""
    work: Awaitable[Any] = asyncio.to_thread(call, *arguments, **options)
    return await work


def seen(actuator: Kubernetes, name: str = "email") -> Workload:
    """Its view of a workload that is there."""
    found = actuator.seen(name)
    assert found is not None
    return found
