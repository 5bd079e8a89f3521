"""Leadership by a Lease: one of several controllers acts."""

from __future__ import annotations

import asyncio
import random
import socket
import uuid
from dataclasses import replace
from typing import Final

from autoscaler.actuators.kubernetes.api import Api, ApiFailure, Json, Resource
from autoscaler.actuators.kubernetes.record import Record, held, released
from core.clock import Clock, SystemClock
from core.errors import SettingsError
from telemetry import logs
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("kubernetes")

_LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
_CONFLICT_PAUSE = 0.1  # seconds
_RELEASE_TIMEOUT = 2.0  # seconds, with all its tries


class Lease:
    """The Leadership port.

    The client library's own election (`kubernetes.aio.leaderelection`) does not release, measures with the wall clock, counts its
    validity from the answer and not from the question, awaits its requests without a limit of its own, keeps its record in an
    annotation, ends itself at the first loss, and cannot be asked whether it leads now.

    A holder leads for `valid` seconds from the moment at which it sent its last renewal that was answered. Others take the lease
    `duration` seconds after they saw its last renewal, which is later: no holder leads for duration - valid seconds at least, in
    which what the last leader began comes to its end. Only steady clocks are read, and each only by its owner; their rates may
    differ by `duration - valid` in `duration`. Take-over after a clean stop: one `retry`; after a kill: duration + 2.5 retries at
    most.

    duration: whole seconds. retry: seconds between two looks, or renewals. identity: unique to this process, by default.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        *,
        identity: str = "",
        duration: int = 10,
        valid: float = 5.5,
        retry: float = 1.0,
        clock: Clock | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        if not 0 < 2 * retry < valid < duration:
            raise SettingsError(f"lease: 2 x retry ({retry:g} s) < valid ({valid:g} s) < duration ({duration} s) must hold")
        self._api, self._name = api, name
        self._duration, self._valid, self._retry = duration, valid, retry
        self._clock = clock or SystemClock()
        self.identity = identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"
        self._record: Record | None = None  # as last read or written; None: never seen. Its version is "" when it was deleted
        self._stale = True  # look before writing
        self._seen_at = float("-inf")  # when its holder or renewal last changed, as we saw it
        self._until = float("-inf")
        self._closing = False
        self._why = ""
        self._supervisor = supervisor or Supervisor()
        self._standing: Supervised | None = None

    @property
    def leading(self) -> bool:
        return not self._closing and self._clock.steady() < self._until

    async def open(self) -> None:
        """Begin to stand for election, in the background."""
        self._standing = self._supervisor.start("lease", self._run)

    async def close(self) -> None:
        """Stop leading, then empty the lease; at most 2 s more than a cancelled request takes."""
        self._closing = True
        if self._standing is not None:
            await self._standing.stop()
            await self._release()

    async def _run(self, beat: Beat) -> None:
        led = False
        while True:
            beat()
            pause = self._retry
            try:
                await self._stand()
                self._why = ""
            except ApiFailure as error:
                if error.status == 409:  # it was written meanwhile, perhaps by a renewal of ours that got no answer: look at once
                    pause = _CONFLICT_PAUSE
                else:
                    self._say(str(error))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._say(f"an answer that is none: {type(error).__name__}: {error}")
            if led != self.leading:
                led = self.leading
                _log.info("leading" if led else "not leading", lease=self._name, identity=self.identity)
            await asyncio.sleep(random.uniform(0.75, 1.25) * pause)

    async def _stand(self) -> None:
        """Look, unless we hold it as far as we know; then take it, where it is ours or has no holder."""
        if self._stale or self._record is None or self._record.holder != self.identity:
            await self._look()
        record = self._record
        if record is None or record.holder in ("", self.identity) or self._expired(record):
            await self._take(record)

    async def _look(self) -> None:
        """A lease that was deleted still binds us as long as it would have: its holder does not know yet."""
        try:
            self._saw(Record.of(await self._call("get")))
        except ApiFailure as error:
            if error.status != 404:
                raise
            if self._record is not None:
                self._record = replace(self._record, version="")
        self._stale = False

    def _saw(self, record: Record) -> None:
        before = self._record
        if before is None or (before.holder, before.renewed) != (record.holder, record.renewed):
            self._seen_at = self._clock.steady()
        if record.holder != self.identity:
            self._until = float("-inf")
        self._record = record

    def _expired(self, record: Record) -> bool:
        return self._clock.steady() - self._seen_at > max(record.seconds, self._duration)

    async def _take(self, record: Record | None) -> None:
        """Become, or stay, its holder. The server refuses (409) when anybody wrote since `record`."""
        sent, self._stale = self._clock.steady(), True  # until the answer is here
        body = held(self._name, record, self.identity, self._duration, self._clock.wall())
        answer = await self._call("update" if record and record.version else "create", body)
        self._saw(Record.of(answer))
        self._until, self._stale = sent + self._valid, False

    async def _release(self) -> None:
        """A renewal that was cancelled may have been taken: look whose it is, unless nothing was ever ours."""
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                await self._look()
                if self._record is not None and self._record.version and self._record.holder == self.identity:
                    await self._call("update", released(self._name, self._record, self._clock.wall()))
        except (ApiFailure, TimeoutError) as error:
            _log.warning("the lease was not released; others wait for its end", lease=self._name, why=str(error))

    async def _call(self, verb: str, body: Json | None = None) -> Json:
        name = "" if verb == "create" else self._name
        return await self._api.call(verb, _LEASES, name, body, timeout=2 * self._retry)

    def _say(self, why: str) -> None:
        if why != self._why:
            self._why = why
            _log.warning("the lease cannot be had; trying again", lease=self._name, why=why)
