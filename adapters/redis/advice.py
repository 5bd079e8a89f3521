"""Shortcomings of a Redis that is usable nevertheless: `headrace check` reports them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapters.redis.link import Link

_OLDEST = (6, 2)  # XTRIM by MINID, which the journal needs
_NEARLY_FULL = 0.9


async def advice(link: Link) -> list[str]:
    """Look at every primary, and at the cluster. Raises StoreUnavailable."""
    told = []
    for name, info, save in await link.look():
        if info.get("cluster_enabled") and not link.cluster:
            return ["it is a node of a cluster, and has a part of the keys only: use redis+cluster:// in HEADRACE_OUTCOMES"]
        lines = [*_of(info, save), *(_of_cluster_node(info) if link.cluster else ())]
        told += [f"{name}: {line}" if link.cluster else line for line in lines]
    if link.cluster:
        state = await link.ask("CLUSTER INFO")
        told += [f"cluster: {line}" for line in _of_cluster(state)]
    return told


def _of(info: Mapping[str, Any], save: str | None) -> Iterator[str]:
    version = str(info.get("redis_version", ""))
    if _number(version) < _OLDEST:
        yield f"Redis {version} is older than 6.2: upgrade it"
    if info.get("role", "master") != "master":
        yield "it is a replica, and refuses writes: HEADRACE_OUTCOMES must lead to the primary"
    yield from _of_memory(info)
    if not info.get("aof_enabled") and save == "":
        yield (
            "it writes no file, so that a restart forgets every claim, state and dead letter. Mend it: `appendonly yes` in its "
            "configuration, after CONFIG SET appendonly yes"
        )
    for name, what in (("aof_last_write_status", "append to its file"), ("rdb_last_bgsave_status", "save its file")):
        if info.get(name, "ok") != "ok":
            yield f"the last time it could not {what}: look at its disk, at the rights of its folder, and at its log"


def _of_memory(info: Mapping[str, Any]) -> Iterator[str]:
    policy, most, used = info.get("maxmemory_policy", "noeviction"), info.get("maxmemory", 0), info.get("used_memory", 0)
    if policy != "noeviction":
        yield (
            f"maxmemory-policy is {policy}: when memory is full it throws away claims, states and dead letters. "
            "Mend it: maxmemory-policy noeviction"
        )
    if most and used > most * _NEARLY_FULL:
        yield (
            f"{used / most:.0%} of its maxmemory of {most / 2**20:.0f} MiB are used; full, it refuses writes: raise maxmemory, "
            "shorten HEADRACE_RETENTION, or drop dead letters"
        )


def _of_cluster(state: Mapping[str, str]) -> Iterator[str]:
    if state.get("cluster_state", "ok") != "ok":
        yield f"its state is {state['cluster_state']}: look at `redis-cli --cluster check`"
    for name in ("cluster_slots_pfail", "cluster_slots_fail"):
        if int(state.get(name, 0)):
            yield f"{state[name]} slots are on servers that do not answer ({name}): look at `redis-cli --cluster check`"


def _of_cluster_node(info: Mapping[str, Any]) -> Iterator[str]:
    if not info.get("connected_slaves", 0):
        yield "it has no replica: when it fails, its slots are away until it is back"


def _number(version: str) -> tuple[int, ...]:
    """Text that is not a version counts as a new one: not every service that speaks Redis' protocol reports its version."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if parts and all(part.isdigit() for part in parts) else _OLDEST
