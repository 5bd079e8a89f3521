"""`headrace check` on Redis as operators have it."""

from __future__ import annotations

from pathlib import Path

from tests.integration.command_line import run
from tests.servers.redis import RedisCluster, RedisServer, RedisWithSentinels


async def test_check_says_what_to_mend_on_redis(
    tmp_path: Path, own_redis: RedisServer, redis_cluster: RedisCluster, redis_sentinels: RedisWithSentinels
) -> None:
    async def check(outcomes: str) -> tuple[int, str]:
        code, out, _ = await run("check", HEADRACE_BROKER=f"sqlite:///{tmp_path}/headrace.db", HEADRACE_OUTCOMES=outcomes)
        return code, " ".join(out.split())

    for url in (own_redis.url, redis_sentinels.url):
        code, out = await check(url)
        assert (code, "outcome store: takes writes" in out, "nothing to mend" in out) == (0, True, True)
    own_redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    code, out = await check(own_redis.url)
    assert (code, "Mend it: maxmemory-policy noeviction" in out) == (1, True)
    own_redis.ask("REPLICAOF", "127.0.0.1", "1")
    code, out = await check(own_redis.url)
    assert (code, "it is a replica" in out) == (1, True)
    code, out = await check(redis_cluster.nodes[0].url)
    assert code == 1
    assert "redis+cluster://" in out
    code, out = await check(redis_cluster.url)
    assert (code, "it writes no file" in out) == (1, True)
    code, out = await check("redis+sentinel://127.0.0.1:1")
    assert code != 0
    assert "Traceback" not in out
