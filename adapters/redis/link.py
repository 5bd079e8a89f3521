"""Commands to Redis: a limited number at once, the others wait their turn, and each ends within a bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from redis import exceptions
from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot

from adapters.redis.client import client
from adapters.redis.faults import FAILURES, demoted, fault
from adapters.redis.script import Script
from core.errors import BadRecord, StoreUnavailable
from core.secret_url import Url
from core.settings import Settings

T = TypeVar("T")
# Answers of a server that is no longer the primary: the primary's address has to be looked up again.
_MOVED_ON = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ClusterDownError,
    exceptions.ReadOnlyError,
    exceptions.RedisClusterException,
    TimeoutError,
)


class Call(NamedTuple):
    """One run of a script. On a cluster its keys are of one slot."""

    keys: Sequence[str]
    arguments: Sequence[Any]


class Link:
    """A pool of connections. Every method raises StoreUnavailable or BadRecord. A turn and an answer take at most twice the
    store's timeout; where a cluster's connections have to be closed then, as long again."""

    def __init__(self, url: Url, settings: Settings, most: int) -> None:
        """most: commands at once."""
        self._client, hosts, self._closers = client(url, settings, most + 2)  # a cluster's map is read beside them
        self.cluster = isinstance(self._client, RedisCluster)
        # The cluster's own nodes are asked first who serves which slot; when all of these are gone, what the URL's names lead to.
        self._named = list(hosts)
        self._turns = asyncio.Semaphore(most)
        self._longest = 2 * settings.store_timeout

    async def close(self) -> None:
        for close in self._closers:
            await close()

    def groups(self, keys: Sequence[str]) -> list[list[int]]:
        """Which of `keys` may go into one call, by their places, in order: all of them, or those of each slot."""
        if not self.cluster:
            return [list(range(len(keys)))] if keys else []
        slots: dict[int, list[int]] = {}
        for n, key in enumerate(keys):
            slots.setdefault(key_slot(key.encode()), []).append(n)
        return list(slots.values())

    async def ask(self, *command: Any) -> Any:
        return await self._in_turn(lambda: self._client.execute_command(*command))

    async def run(self, script: Script, *call: Call) -> list[Any]:
        """The script's answers to the calls, which go side by side."""
        if len(call) == 1:
            return [await self._in_turn(lambda: self._evaluate(script, call[0]))]
        answers = await self.each([("EVALSHA", script.sha, len(c.keys), *c.keys, *c.arguments) for c in call])
        unknown = [n for n, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if unknown:
            again = [("EVAL", script.text, len(call[n].keys), *call[n].keys, *call[n].arguments) for n in unknown]
            for n, answer in zip(unknown, await self.each(again), strict=True):
                answers[n] = answer
        return _whole(answers)

    async def all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to commands that are sent in one go."""
        return _whole(await self.each(commands))

    async def each(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The same; where one was refused its error is in the place of its answer."""
        return await self._in_turn(lambda: self._pipeline(commands)) if commands else []

    async def scan(self, cursors: dict[str, bytes], pattern: str, count: int) -> list[bytes]:
        """Of each server of a cluster the next keys that match, of `count` that are looked at. cursors: where each had come to."""
        cluster = self._client
        if not isinstance(cluster, RedisCluster):
            return []

        async def each() -> list[bytes]:
            found = []
            for node in (await cluster.initialize()).get_primaries():
                command = ("SCAN", cursors.get(node.name, b"0"), "MATCH", pattern, "COUNT", count)
                cursors[node.name], keys = await node.execute_command(*command)
                found += keys
            return found

        return await self._in_turn(each)

    async def look(self) -> list[tuple[str, dict[str, Any], str | None]]:
        """Of each primary its name, INFO, and the setting `save`; None where that may not be asked, as in rented servers."""
        if isinstance(self._client, RedisCluster):
            await self.ask("CLUSTER INFO")  # reads who is there
            servers: list[tuple[str, Any]] = [(node.name, node) for node in self._client.get_primaries()]
        else:
            servers = [("Redis", self._client)]
        looked = []
        for name, server in servers:
            info = await self._in_turn(partial(server.execute_command, "INFO"))
            try:
                found = await self._in_turn(partial(server.execute_command, "CONFIG GET", "save"))
            except StoreUnavailable:
                found = {}
            looked.append((name, info, found.get("save")))
        return looked

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, _MOVED_ON):
                raise answer
        return answers

    async def _evaluate(self, script: Script, call: Call) -> Any:
        keys, arguments = call
        try:
            return await self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except exceptions.NoScriptError:  # it was restarted, or a replica has taken over
            return await self._client.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

    async def _in_turn(self, send: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._longest), self._turns:
                if isinstance(self._client, RedisCluster):  # without the map of slots a command goes to any server first
                    await self._client.initialize(additional_startup_nodes_info=self._named)
                return await send()
        except FAILURES as error:
            await self._look_anew(error)
            raise fault(error) from None

    async def _look_anew(self, error: BaseException) -> None:
        """After an error that says that the primary is elsewhere, or may be: the next command finds out."""
        with contextlib.suppress(*FAILURES):
            if isinstance(self._client, RedisCluster):
                if isinstance(error, _MOVED_ON):
                    async with asyncio.timeout(self._longest):
                        await self._client.aclose()  # the map of slots is read again
            elif demoted(error):
                await self._client.connection_pool.disconnect(inuse_connections=False)


def _whole(answers: list[Any]) -> list[Any]:
    """Raises what was refused; BadRecord only if nothing worse was."""
    faults = [fault(answer) for answer in answers if isinstance(answer, FAILURES)]
    if faults:
        raise next((f for f in faults if not isinstance(f, BadRecord)), faults[0])
    return answers
