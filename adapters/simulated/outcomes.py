"""The OutcomeStore port on a simulated server."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.simulated.store import StoreServer
from core.model import State
from core.ports import Answer, Claim, DeadLetter, DeadPage, JobRecord, Outcome, Queued


class SimulatedOutcomes:
    """One program's client. name: of the program, to the server; timeout: seconds that an answer may take."""

    def __init__(self, server: StoreServer, name: str, timeout: float) -> None:
        self._server = server
        self._name = name
        self._timeout = timeout

    async def open(self) -> None:
        await self.ping()

    async def close(self) -> None:
        """Nothing is held open."""

    async def ping(self) -> None:
        await self._server.ask(self._name, self._timeout, lambda: None)

    async def queued(self, records: Sequence[Queued]) -> None:
        await self._server.ask(self._name, self._timeout, self._server.queued, records, State.QUEUED, State.UNCONFIRMED)

    async def unconfirmed(self, records: Sequence[Queued]) -> None:
        await self._server.ask(self._name, self._timeout, self._server.queued, records, State.UNCONFIRMED, State.QUEUED)

    async def claim(self, claims: Sequence[Claim]) -> list[Answer]:
        return await self._server.ask(self._name, self._timeout, self._server.claim, claims)

    async def renew(self, claims: Sequence[Claim]) -> list[bool]:
        return await self._server.ask(self._name, self._timeout, self._server.renew, claims)

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        return await self._server.ask(self._name, self._timeout, self._server.settle, outcomes)

    async def progress(self, claim: Claim, progress: str) -> bool:
        return await self._server.ask(self._name, self._timeout, self._server.progress, claim, progress)

    async def job(self, job_id: str) -> JobRecord | None:
        return await self._server.ask(self._name, self._timeout, self._server.job, job_id)

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        await self._server.ask(self._name, self._timeout, self._server.bury, dead)

    async def dead_letters(
        self, *, queue: str | None = None, job_type: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> DeadPage:
        def page() -> DeadPage:
            return self._server.memory.letters.page(queue, job_type, cursor, limit)

        return await self._server.ask(self._name, self._timeout, page)

    async def dead_letter(self, dead_id: str) -> DeadLetter | None:
        return await self._server.ask(self._name, self._timeout, lambda: self._server.memory.letters.by_id.get(dead_id))

    async def replayed(self, dead_id: str, at: float, replay: int) -> bool:
        return await self._server.ask(self._name, self._timeout, self._server.replayed, dead_id, at, replay)

    async def drop(self, dead_id: str) -> bool:
        def drop() -> bool:
            return self._server.memory.letters.by_id.pop(dead_id, None) is not None

        return await self._server.ask(self._name, self._timeout, drop)

    async def purge(self) -> int:
        """Nothing to do: a record past its retention is forgotten when it is read next."""
        return 0
