"""Why a pod is not ready, in its own words: what `kubectl describe pod` would show, without its events. No I/O."""

from __future__ import annotations

from typing import Any, Final

from autoscaler.actuators.kubernetes.api import Json

# A container that waits with these reasons is starting, or waits for another container of the pod, whose reason ranks higher.
_ON_ITS_WAY: Final = ("ContainerCreating", "PodInitializing", "")


def why_unready(item: Json) -> str:
    """`Reason: message`; "" for a pod that is ready, or of which nothing is known.

    From its status (core/v1 PodStatus): no node (the condition PodScheduled), then its init containers, then its containers.
    """
    status = item.get("status") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    if (conditions.get("Ready") or {}).get("status") == "True":
        return ""
    placed = conditions.get("PodScheduled") or {}
    if placed.get("status") == "False":
        return _said(placed.get("reason"), placed.get("message"))
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    told = [(_rank(one), _of_container(one)) for one in containers]
    return min((one for one in told if one[1]), key=lambda one: one[0], default=(0, ""))[1]


def _rank(container: Json) -> int:
    """A container that does not start ranks above one that runs and is not ready, and this one above one that is still starting."""
    state = container.get("state") or {}
    if waiting := state.get("waiting"):
        return 2 if waiting.get("reason", "") in _ON_ITS_WAY and not _ended(container) else 0
    return 0 if "terminated" in state else 1


def _of_container(container: Json) -> str:
    state, name = container.get("state") or {}, container.get("name", "?")
    if waiting := state.get("waiting"):
        reason = _said(waiting.get("reason") or "Waiting", waiting.get("message"))
        ended = _ended(container)
        return f"{reason}; {name} {ended}" if ended else reason
    if terminated := state.get("terminated"):
        return "" if terminated.get("exitCode") == 0 else f"{terminated.get('reason') or 'Error'}: {name} {_end(terminated)}"
    if "running" in state and not container.get("ready"):
        starts = container.get("started") is False
        return f"NotReady: {name} runs, and its {'startup' if starts else 'readiness'} probe does not succeed"
    return ""


def _ended(container: Json) -> str:
    """How it ended before it was started again, or ""."""
    last = (container.get("lastState") or {}).get("terminated")
    return _end(last) if last else ""


def _end(terminated: Json) -> str:
    """`message` has the end of its log where the container's terminationMessagePolicy asks for that."""
    how = f"ended with exit code {terminated.get('exitCode')} ({terminated.get('reason') or 'no reason'})"
    lines = str(terminated.get("message") or "").strip().splitlines()
    return f"{how}: {lines[-1]}" if lines else how


def _said(reason: Any, message: Any) -> str:
    return f"{reason}: {message}" if message else str(reason or "")
