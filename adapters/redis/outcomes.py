"""The OutcomeStore port on Redis: one server, what Sentinel says is the primary, or a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.redis import records
from adapters.redis.advice import advice
from adapters.redis.keys import ClusterKeys, Keys
from adapters.redis.letter_scripts import SETTLE
from adapters.redis.letters import Letters
from adapters.redis.link import Call, Link
from adapters.redis.records import Arguments, written
from adapters.redis.script import Script
from adapters.redis.scripts import CLAIM, PING, PROGRESS, QUEUED, RENEW
from core.clock import Clock
from core.errors import StoreUnavailable
from core.model import State
from core.ports import Answer, Claim, DeadLetter, DeadPage, JobRecord, Outcome, Queued, Verdict
from core.secret_url import Url
from core.settings import Settings

Groups = Sequence[Sequence[int]]

# Commands at once, of those that write and of those that only read: a flood of the ones must not hold up the others. A coalescer
# has two under way, and there are few of them.
MOST_AT_ONCE = 32


class RedisOutcomes:
    """One script call a batch; on a cluster one a slot, side by side, in one pipeline to each server. Timeouts are short, and
    nothing is retried here: the callers know what may be repeated.

    On a cluster a list is done slot by slot: when one of them fails, others may have been done, and all may be asked again.
    A dead letter is written with its outcome, on the same slot. The lists of dead letters are on another slot, and are written
    after: no letter is lost, but when this process ends in between, a letter is listed only after the next `purge`, or after
    the same outcome or letter came again.

    url: asked for its user and password by each new connection.
    """

    def __init__(self, url: Url, settings: Settings, clock: Clock) -> None:  # noqa: ARG002  # every store is given one; here the server's decides
        self._writes = Link(url, settings, MOST_AT_ONCE)
        self._reads = Link(url, settings, MOST_AT_ONCE)
        self._keys = ClusterKeys() if self._writes.cluster else Keys()
        self._ttl = int(settings.retention)
        self._letters = Letters(self._writes, self._reads, self._keys, self._ttl)

    async def open(self) -> None:
        await self.ping()
        await self._reads.ask("EXISTS", self._keys.alive)  # a cluster tells its servers now, while the URL's are there

    async def close(self) -> None:
        await self._writes.close()
        await self._reads.close()

    async def ping(self) -> None:
        await self._writes.run(PING, Call([self._keys.alive], []))
        if self._reads.cluster:
            await self._whole()

    async def advice(self) -> list[str]:
        """Advice to an operator about a store that works nevertheless. Raises StoreUnavailable."""
        return await advice(self._reads)

    async def _whole(self) -> None:
        """A cluster may serve some slots and not others (cluster-require-full-coverage no). Jobs are spread over all of them: where
        each third one fails, the store is unavailable all the time, and not in turn."""
        failed = (await self._reads.ask("CLUSTER INFO")).get("cluster_slots_fail", "0")
        if failed != "0":
            raise StoreUnavailable(
                f"Redis: {failed} slots of the cluster are served by nobody. Look at `redis-cli --cluster check`"
            )

    async def queued(self, records: Sequence[Queued]) -> None:
        await self._record(records, State.QUEUED, State.UNCONFIRMED)

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        await self._record(records, State.UNCONFIRMED, State.QUEUED)

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        return [_answer(told) for told in await self._batch(CLAIM, claims)]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return [bool(kept) for kept in await self._batch(RENEW, claims)]

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        with written("an outcome"):
            items = [records.of_outcome(o) for o in outcomes]
        jobs = [self._keys.job(o.claim.job_id) for o in outcomes]
        letters = [(n, o.dead) for n, o in enumerate(outcomes) if o.dead is not None]
        keys = {n: self._letters.key(letter) for n, letter in letters}
        groups = self._writes.groups(jobs)
        head = (self._ttl, self._keys.index, self._keys.listed)
        calls = [
            Call([jobs[n] for n in group] + [keys[n] for n in group if n in keys], [*head, _packed([items[n] for n in group])])
            for group in groups
        ]
        answers = _spread(groups, await self._writes.run(SETTLE, *calls), len(outcomes))
        await self._letters.listed([(letter, answers[n]) for n, letter in letters if answers[n]])
        return [bool(done) for done in answers]

    async def progress(self, claim: Claim, progress: str) -> bool:
        arguments = [claim.queue, claim.replay, claim.attempt, claim.token, progress]
        (done,) = await self._writes.run(PROGRESS, Call([self._keys.job(claim.job_id)], arguments))
        return bool(done)

    async def job(self, job_id: str) -> JobRecord | None:
        found = await self._reads.ask("HGETALL", self._keys.job(job_id))
        return records.job_of(job_id, found) if found else None

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        await self._letters.bury(dead)

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        return await self._letters.page(queue, job_type, cursor, limit)

    async def dead_letter(self, dead_id: str) -> DeadLetter | None:
        return await self._letters.letter(dead_id)

    async def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        return await self._letters.replayed(dead_id, at, replay)

    async def drop(self, dead_id: str) -> bool:
        return await self._letters.drop(dead_id)

    async def purge(self) -> int:
        """Every job's key expires by itself: nothing goes here. On a cluster a bounded part of the letters is looked through for
        those that are not listed."""
        await self._letters.mend()
        return 0

    async def _record(self, given: Sequence[Queued], state: State, over: State) -> None:
        jobs = [self._keys.job(record.job_id) for record in given]
        items = [records.of_queued(record) for record in given]
        head = (self._ttl, state.value, over.value)
        await self._writes.run(QUEUED, *_calls(self._writes.groups(jobs), jobs, items, head))

    async def _batch(self, script: Script, claims: Sequence[Claim]) -> Sequence[Any]:
        with written("a claim"):
            items = [records.of_claim(c) for c in claims]
        jobs = [self._keys.job(c.job_id) for c in claims]
        groups = self._writes.groups(jobs)
        return _spread(groups, await self._writes.run(script, *_calls(groups, jobs, items, (self._ttl,))), len(claims))


def _calls(groups: Groups, keys: Sequence[str], items: Sequence[Arguments], head: Arguments) -> list[Call]:
    return [Call([keys[n] for n in group], [*head, _packed([items[n] for n in group])]) for group in groups]


def _packed(items: Sequence[Arguments]) -> bytes:
    with written("one of a batch"):
        return records.pack(items)


def _spread(groups: Groups, answers: Sequence[Sequence[Any]], count: int) -> Sequence[Any]:
    """The answers in the order of the items."""
    if len(groups) == 1:
        return answers[0]
    spread: list[Any] = [None] * count
    for group, answer in zip(groups, answers, strict=True):
        for n, one in zip(group, answer, strict=True):
            spread[n] = one
    return spread


_ANSWERS = {verdict.value.encode(): Answer(verdict) for verdict in Verdict}


def _answer(told: Any) -> Answer:
    """A verdict, or a verdict with ms."""
    if isinstance(told, bytes):
        return _ANSWERS[told]
    verdict, ms = told
    return Answer(_ANSWERS[verdict].verdict, ms / 1000)
