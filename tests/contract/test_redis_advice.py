"""Advice of `headrace check` about a Redis that works, and should be mended all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.redis import RedisOutcomes
from adapters.redis.address import Address, parse
from adapters.redis.advice import _of, _of_cluster
from core.clock import SystemClock
from core.errors import SettingsError
from core.settings import Settings
from tests.servers.redis import RedisCluster, RedisServer, RedisWithSentinels


async def advice(url: str) -> list[str]:
    store = RedisOutcomes(url, Settings(), SystemClock())
    try:
        return await store.advice()
    finally:
        await store.close()


async def test_nothing_is_said_of_one_that_is_well(redis_server: RedisServer, redis_sentinels: RedisWithSentinels) -> None:
    assert await advice(redis_server.url) == []
    assert await advice(redis_sentinels.url) == []


async def test_what_would_lose_records_is_told_with_its_remedy(own_redis: RedisServer) -> None:
    own_redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    (told,) = await advice(own_redis.url)
    assert "throws away claims" in told
    assert "Mend it: maxmemory-policy noeviction" in told
    own_redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction", "appendonly", "no")
    (told,) = await advice(own_redis.url)
    assert "a restart forgets every claim" in told
    assert "CONFIG SET appendonly yes" in told
    own_redis.ask("CONFIG", "SET", "save", "3600 1")
    assert await advice(own_redis.url) == []
    own_redis.ask("CONFIG", "SET", "maxmemory", "1000000")
    (told,) = await advice(own_redis.url)
    assert "of its maxmemory of 1 MiB are used" in told


async def test_where_settings_may_not_be_asked_the_rest_is_told(own_redis: RedisServer) -> None:
    own_redis.ask("CONFIG", "SET", "appendonly", "no", "maxmemory-policy", "volatile-ttl")
    own_redis.ask("ACL", "SETUSER", "default", "-config")
    assert [line.split(":")[0] for line in await advice(own_redis.url)] == [
        "maxmemory-policy is volatile-ttl"
    ]  # and nothing of its files, which is not known


async def test_of_a_cluster_each_primary_is_looked_at(redis_cluster: RedisCluster) -> None:
    told = await advice(redis_cluster.url)
    assert {line.split(": ")[0] for line in told} == {f"127.0.0.1:{node.port}" for node in redis_cluster.primaries()}
    assert all("it writes no file" in line for line in told)
    (told_of_node,) = await advice(redis_cluster.nodes[0].url)
    assert "use redis+cluster:// in HEADRACE_OUTCOMES" in told_of_node


def test_old_versions_replicas_and_clusters_that_are_down_are_told() -> None:
    (told,) = _of({"redis_version": "6.0.16", "aof_enabled": 1}, "")
    assert told == "Redis 6.0.16 is older than 6.2: upgrade it"
    (told,) = _of({"redis_version": "7.2.4", "role": "slave", "aof_enabled": 1}, "")
    assert "HEADRACE_OUTCOMES must lead to the primary" in told
    assert not list(_of({"redis_version": "a service", "aof_enabled": 1}, None))
    (told,) = _of_cluster({"cluster_state": "fail", "cluster_slots_fail": "0"})
    assert "redis-cli --cluster check" in told


@pytest.mark.parametrize(
    ("url", "address", "login"),
    [
        ("redis+cluster://a:1,b", Address("cluster", {}, (("a", 1), ("b", 6379))), ()),
        ("rediss+cluster://u:p%40@[::1]:7/0", Address("cluster", {"ssl": True}, (("::1", 7),)), ("u", "p@")),
        ("redis+sentinel://:p@a,b:2/main/3", Address("sentinel", {"db": 3}, (("a", 26379), ("b", 2)), "main"), ("p",)),
        (
            "rediss+sentinel://a/main?sentinel_login=yes",
            Address("sentinel", {"ssl": True, "db": 0}, (("a", 26379),), "main", sentinel_login=True),
            (),
        ),
    ],
)
def test_a_url_leads_to_hosts(url: str, address: Address, login: tuple[str, ...]) -> None:
    assert Settings(outcomes=url).outcomes.get_secret_value() == url
    assert parse(url) == (address, login)


@pytest.mark.parametrize(
    "url", ["redis+cluster://u:s3cret@a/1", "redis+sentinel://u:s3cret@a", "redis+sentinel://u:s3cret@a/main/x"]
)
def test_a_url_that_leads_nowhere_is_refused_without_its_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HEADRACE_OUTCOMES") as raised:
        parse(url)
    assert "s3cret" not in str(raised.value)
