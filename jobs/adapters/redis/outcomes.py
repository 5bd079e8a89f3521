"""The OutcomeStore port on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import orjson
from redis.exceptions import RedisError

from jobs.adapters.redis import scripts
from jobs.adapters.redis.client import client, why
from jobs.clock import Clock
from jobs.errors import StoreUnavailable
from jobs.model import Reason, State
from jobs.ports import Answer, Claim, DeadLetter, DeadPage, DeliveryRecord, Failure, JobRecord, Outcome, Queued, Verdict
from jobs.secret_url import Url
from jobs.settings import Settings

# Commands at once: a coalescer has two under way, and there are few of them.
MOST_CONNECTIONS = 32


class RedisOutcomes:
    """One script call a batch. Timeouts are short, and nothing is retried here: the callers know what may be repeated.

    url: asked for its user and password anew by each connection.
    """

    def __init__(self, url: Url, settings: Settings, clock: Clock) -> None:
        self._redis = client(url, settings, MOST_CONNECTIONS)
        self._ttl = int(settings.retention)
        self._clock = clock
        register = self._redis.register_script
        self._queued, self._claim, self._renew = map(register, (scripts.QUEUED, scripts.CLAIM, scripts.RENEW))
        self._settle, self._progress, self._bury = map(register, (scripts.SETTLE, scripts.PROGRESS, scripts.BURY))
        self._replayed, self._drop = map(register, (scripts.REPLAYED, scripts.DROP))

    async def open(self) -> None:
        await self.ping()

    async def close(self) -> None:
        await self._redis.aclose()

    async def ping(self) -> None:
        await self._ask(self._redis.ping())

    async def queued(self, records: Sequence[Queued]) -> None:
        await self._record(records, State.QUEUED, State.UNCONFIRMED)

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        await self._record(records, State.UNCONFIRMED, State.QUEUED)

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        arguments: list[Any] = [self._ttl]
        for c in claims:
            arguments += (c.queue, c.job_type, c.accepted_at, c.replay, c.attempt, c.token, int(c.lease * 1000))
        answers = await self._ask(self._claim([_key(c.job_id) for c in claims], arguments))
        return [Answer(Verdict(verdict.decode()), int(ms) / 1000) for verdict, ms in answers]

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        arguments = [part for c in claims for part in (c.queue, c.token, int(c.lease * 1000))]
        return [bool(kept) for kept in await self._ask(self._renew([_key(c.job_id) for c in claims], arguments))]

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        arguments: list[Any] = [self._ttl]
        for o in outcomes:
            ended = "" if o.state is State.QUEUED else repr(o.at)
            due = "" if o.next_at is None else repr(o.next_at)
            dead = b"" if o.dead is None else _packed(o.dead)
            arguments += (o.queue, o.token, o.state.value, ended, due, o.result or "", _failure_text(o.failure), dead)
        return [bool(done) for done in await self._ask(self._settle([_key(o.job_id) for o in outcomes], arguments))]

    async def progress(self, claim: Claim, progress: str) -> bool:
        return bool(await self._ask(self._progress([_key(claim.job_id)], [claim.queue, claim.token, progress])))

    async def job(self, job_id: str) -> JobRecord | None:
        found = await self._ask(self._redis.hgetall(_key(job_id)))
        if not found:
            return None
        fields = {name.decode(): value.decode() for name, value in found.items()}
        queues = sorted(name[2:] for name in fields if name.startswith("c:"))
        return JobRecord(job_id, fields["type"], float(fields["at"]), tuple(_delivery(queue, fields) for queue in queues))

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        await self._ask(self._bury([], [self._ttl, *(_packed(letter) for letter in dead)]))

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        index = f"headrace:dead:queue:{queue}" if queue else f"headrace:dead:type:{job_type}" if job_type else "headrace:dead"
        items: list[DeadLetter] = []
        # Both filters: walk one index and look at the other field, a bounded number of pages at a time.
        while len(items) <= limit:
            ids = await self._after(index, cursor, limit + 1)
            for dead_id in ids:
                letter = await self.dead_letter(dead_id)
                if letter is not None and (job_type is None or letter.job_type == job_type):
                    items.append(letter)
            if len(ids) <= limit:
                break
            cursor = _cursor(items[-1]) if items else cursor
        more = len(items) > limit
        return DeadPage(tuple(items[:limit]), _cursor(items[limit - 1]) if more else None)

    async def dead_letter(self, dead_id: str) -> DeadLetter | None:
        found = await self._ask(self._redis.hgetall(f"headrace:dead:{dead_id}"))
        return _letter(dead_id, found) if found else None

    async def replayed(self, dead_id: str, at: float) -> bool:
        letter = await self.dead_letter(dead_id)
        if letter is None:
            return False
        replay = letter.headers.get("headrace-replay", "0")
        return bool(await self._ask(self._replayed([], [dead_id, repr(at), replay, self._ttl])))

    async def drop(self, dead_id: str) -> bool:
        return bool(await self._ask(self._drop([], [dead_id])))

    async def purge(self) -> int:
        """Nothing to do: every job's key expires by itself."""
        return 0

    async def _record(self, records: Sequence[Queued], state: State, over: State) -> None:
        arguments: list[Any] = [self._ttl, state.value, over.value]
        for record in records:
            arguments += (record.job_type, record.accepted_at, len(record.queues), *record.queues)
        await self._ask(self._queued([_key(record.job_id) for record in records], arguments))

    async def _after(self, index: str, cursor: str | None, count: int) -> list[str]:
        """Ids behind the cursor, newest first; within one time, by id, as Redis orders them."""
        if cursor is None:
            return [i.decode() for i in await self._ask(self._redis.zrevrange(index, 0, count - 1))]
        died_at, _, dead_id = cursor.partition("~")
        float(died_at)  # ValueError for what no page gave
        found = await self._ask(self._redis.zrevrangebyscore(index, died_at, "-inf", start=0, num=count + 200, withscores=True))
        later = [(i.decode(), score) for i, score in found]
        return [i for i, score in later if score < float(died_at) or i < dead_id][:count]

    async def _ask(self, command: Any) -> Any:
        try:
            return await command
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(why(error)) from None


def _key(job_id: str) -> str:
    return f"headrace:job:{job_id}"


def _cursor(letter: DeadLetter) -> str:
    return f"{letter.died_at!r}~{letter.dead_id}"


def _packed(letter: DeadLetter) -> bytes:
    fields = {
        "id": letter.dead_id,
        "queue": letter.queue,
        "reason": letter.reason.value,
        "died_at": repr(letter.died_at),
        "attempts": letter.attempts,
        "headers": orjson.dumps(letter.headers),
        "body": letter.body,
        "job_id": letter.job_id or "",
        "job_type": letter.job_type or "",
        "failure": _failure_text(letter.failure),
    }
    packed: bytes = msgpack.packb(fields, use_bin_type=False)  # the script's library knows no binary type
    return packed


def _letter(dead_id: str, found: dict[bytes, bytes]) -> DeadLetter:
    text = {name.decode(): value.decode() for name, value in found.items() if name not in (b"body", b"headers")}
    return DeadLetter(
        dead_id,
        text["queue"],
        Reason(text["reason"]),
        float(text["died_at"]),
        orjson.loads(found[b"headers"]),
        found[b"body"],
        int(text["attempts"]),
        text["job_id"] or None,
        text["job_type"] or None,
        _failure(text["failure"]),
        float(text["replayed_at"]) if "replayed_at" in text else None,
    )


def _delivery(queue: str, fields: dict[str, str]) -> DeliveryRecord:
    state, replay, attempt, *_ = fields[f"c:{queue}"].split("|")
    started, ended, due = (fields.get(f"{name}:{queue}", "") for name in ("started", "ended", "next"))
    return DeliveryRecord(
        queue,
        State(state),
        int(attempt),
        int(replay),
        int(started) / 1000 if started else None,
        float(ended) if ended else None,
        float(due) if due else None,
        fields.get(f"result:{queue}") or None,
        _failure(fields.get(f"failure:{queue}", "")),
        fields.get(f"progress:{queue}"),
    )


def _failure_text(failure: Failure | None) -> str:
    return orjson.dumps(failure).decode() if failure else ""


def _failure(text: str) -> Failure | None:
    return Failure(**orjson.loads(text)) if text else None
