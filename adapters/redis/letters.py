"""Dead letters on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.redis.faults import fault
from adapters.redis.keys import Keys
from adapters.redis.letter_scripts import BURY, DROP, FORGET, LIST, PAGE, REPLAYED, UNLIST
from adapters.redis.link import Call, Link
from adapters.redis.records import letter_of, packed, written
from core import cursors
from core.errors import BadRecord
from core.ports import DeadLetter, DeadPage
from telemetry import logs

_log = logs.get("redis")

# Pages of a list that one call looks through for letters that are in a second list too.
MOST_PAGES = 5
# Keys of a server that one call of `mend` looks through: 1,000 take Redis less than a millisecond.
MEND_KEYS = 1000


class Letters:
    """The dead letters of a store, and the lists of them."""

    def __init__(self, writes: Link, reads: Link, keys: Keys, ttl: int) -> None:
        """ttl: seconds for which a job is kept that is queued again."""
        self._writes, self._reads, self._keys, self._ttl = writes, reads, keys, ttl
        self._scanned: dict[str, bytes] = {}

    def key(self, letter: DeadLetter) -> str:
        return self._keys.letter(letter.dead_id, self._keys.place(letter.dead_id, letter.job_id))

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        with written("a dead letter"):
            texts = [packed(letter) for letter in dead]
        keys = [self.key(letter) for letter in dead]
        groups = self._writes.groups(keys)
        head = [self._keys.index, self._keys.listed]
        calls = [Call([keys[n] for n in group], head + [texts[n] for n in group]) for group in groups]
        answers = await self._writes.run(BURY, *calls)
        times = zip(groups, answers, strict=True)
        await self.listed([(dead[n], died_at) for group, found in times for n, died_at in zip(group, found, strict=True)])

    async def listed(self, stand: Sequence[tuple[DeadLetter, Any]]) -> None:
        """List letters that were written, with their times of death unchanged; on one server the script has done so."""
        if not stand or self._keys.listed:
            return
        arguments: list[Any] = []
        for letter, died_at in stand:
            place = self._keys.place(letter.dead_id, letter.job_id)
            arguments += (letter.dead_id, died_at, letter.queue, letter.job_type or "", place)
        await self._writes.run(LIST, Call([self._keys.index, self._keys.where], arguments))

    async def page(self, queue: str | None, job_type: str | None, cursor: str | None, limit: int) -> DeadPage:
        index = self._keys.index
        lists = [f"{index}:queue:{queue}"] if queue else []
        lists += [f"{index}:type:{job_type}"] if job_type else []
        lists = lists or [index]
        most = limit * (MOST_PAGES if len(lists) > 1 else 1)
        call = Call([self._keys.where, *lists], [*_after(cursor), limit, most])
        ((found, last),) = await self._reads.run(PAGE, call)
        keys = [self._keys.letter(dead_id.decode(), (place or dead_id).decode()) for dead_id, _, place in found]
        answers = await self._reads.each([("HGETALL", key) for key in keys])
        gone = [
            part for (*entry, _), key, answer in zip(found, keys, answers, strict=True) if answer == {} for part in (*entry, key)
        ]
        await self._forget([index, *lists], gone)
        letters = [_readable(entry[0].decode(), answer) for entry, answer in zip(found, answers, strict=True)]
        return DeadPage(tuple(letter for letter in letters if letter is not None), last.decode() if last else None)

    async def letter(self, dead_id: str) -> DeadLetter | None:
        key = await self._find(dead_id)
        found = await self._reads.ask("HGETALL", key) if key else None
        return letter_of(dead_id, found) if found else None

    async def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        key = await self._find(dead_id)
        if key is None:
            return False
        job_id, queue = await self._reads.ask("HMGET", key, "job_id", "queue")
        keys = [key, self._keys.job(job_id.decode())] if job_id else [key]
        (done,) = await self._writes.run(REPLAYED, Call(keys, [repr(at), queue or b"", replay, self._ttl]))
        return bool(done)

    async def drop(self, dead_id: str) -> bool:
        key = await self._find(dead_id)
        if key is None:
            return False
        (found,) = await self._writes.run(DROP, Call([key], [self._keys.index, self._keys.listed, dead_id]))
        if found and not self._keys.listed:
            await self._writes.run(UNLIST, Call([self._keys.index, self._keys.where], [dead_id, *found]))
        return bool(found)

    async def mend(self) -> None:
        """List the letters among the next keys of each server of a cluster that are not listed."""
        if self._keys.listed:
            return
        keys = [key.decode() for key in await self._reads.scan(self._scanned, "headrace:dead:{*", MEND_KEYS)]
        ids = [key.rpartition("}:")[2] for key in keys]
        known = await self._reads.each([("ZSCORE", self._keys.index, dead_id) for dead_id in ids])
        stray = [(key, dead_id) for key, dead_id, score in zip(keys, ids, known, strict=True) if score is None]
        answers = await self._reads.each([("HGETALL", key) for key, _ in stray])
        letters = [_readable(dead_id, answer) for (_, dead_id), answer in zip(stray, answers, strict=True)]
        await self.listed([(letter, repr(letter.died_at)) for letter in letters if letter is not None])

    async def _find(self, dead_id: str) -> str | None:
        """The key of a letter, which may be gone."""
        if self._keys.listed:
            # The lists have names that begin like a letter's: no id is one of them.
            return None if dead_id.startswith(("queue:", "type:")) else self._keys.letter(dead_id, dead_id)
        place = await self._reads.ask("HGET", self._keys.where, dead_id)
        return self._keys.letter(dead_id, place.decode() if place else dead_id)

    async def _forget(self, lists: Sequence[str], gone: Sequence[Any]) -> None:
        """Take out of the lists what leads nowhere."""
        if gone:
            await self._writes.run(FORGET, Call([self._keys.where, *dict.fromkeys(lists)], [self._keys.listed, *gone]))


def _after(cursor: str | None) -> tuple[str, str]:
    """The time of death and the id of the last entry that was looked at. Raises ValueError for what no page gave."""
    if cursor is None:
        return "", ""
    return cursors.parsed(cursor)


def _readable(dead_id: str, answer: Any) -> DeadLetter | None:
    """None for one that is gone, or cannot be read: the others of its page can."""
    try:
        if isinstance(answer, Exception):
            raise fault(answer)
        return letter_of(dead_id, answer) if answer else None
    except BadRecord as error:
        _log.warning("a dead letter cannot be read and is left out of the list", dead_id=dead_id, why=str(error))
        return None
