"""The publishing channel, and the topology that it needs: opened again when the broker closes it, looked at while it is open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from adapters.rabbitmq.calls import Pauses, calls, close_quietly, why, within
from adapters.rabbitmq.connection import Connection
from adapters.rabbitmq.declare import Declaration
from adapters.rabbitmq.link import PATIENCE, TURN, Link
from adapters.rabbitmq.passive import PassiveChannel
from adapters.rabbitmq.publisher import Publisher, failed
from adapters.rabbitmq.size_limit import SizeLimit
from core.errors import BrokerError, BrokerUnavailable, TopologyMismatch
from core.ports import Message
from core.settings import Settings
from core.topology import DELAY_LOST, Topology, dead_queue
from telemetry import logs, metrics
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("rabbitmq")

# A job type with several queues is published once, and RabbitMQ returns only what reached none of them: one queue that was
# deleted goes unseen by a publish. Each program asks for all queues so often, give or take a fifth, so that this is the longest
# that it lasts. A consumer of the queue, or a job that was returned, has it looked at within LEAST seconds.
CHECK_EVERY, LEAST = 10.0, 1.0
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
# A channel that was open for this number of seconds was good: the next pause is the first again.
_GOOD_AFTER = 10.0


class Outlet:
    """Publishes on one connection. down: why not, or None."""

    def __init__(self, link: Link, topology: Topology, settings: Settings, supervisor: Supervisor) -> None:
        self._link = link
        self._settings = settings
        self._supervisor = supervisor
        self._names = [*(name for queue in topology.queues for name in (queue, dead_queue(queue))), DELAY_LOST]
        for queue in self._names:
            metrics.QUEUES_REDECLARED.labels(queue)  # from 0: Prometheus sees no increase to the first figure of all
        self._topology = topology
        self._loop: Supervised | None = None
        self._publisher: Publisher | None = None
        self._asked = PassiveChannel()
        self._limit = SizeLimit(settings.max_message_size)
        self._wake = asyncio.Event()
        self._look = False
        self._declared: Connection | None = None
        self._opened_before = False
        self._refused = False
        self._told: str | None = None
        self._channel: AbstractChannel | None = None
        self._fresh: frozenset[str] = frozenset()
        self.declaration = Declaration(topology, settings)
        self.down: str | None = "connecting"
        self.up = asyncio.Event()
        link.lost.append(self._lost)

    def begin(self) -> None:
        if self._loop is None:
            patience = PATIENCE + self._settings.connect_timeout
            self._loop = self._supervisor.start("rabbitmq publishing channel", self._keep, patience=patience)

    async def close(self) -> None:
        if self._loop is not None:
            await self._loop.stop()
        self._drop("closed")

    def publish(self, window: Sequence[Message]) -> list[asyncio.Future[None]]:
        publisher = self._publisher
        if publisher is None or publisher.closed:
            return failed(window, self.unready() or "the publishing channel is being opened again")
        if self._link.blocked:
            return failed(window, self._link.down or "blocked")
        return publisher.publish(window, self._held_back(window) if self._fresh else ())

    def unready(self) -> str | None:
        if self._link.down is not None or self.down is not None:
            return self._link.down or self.down
        return "no confirm within the publish timeout" if self._publisher is not None and self._publisher.timed_out else None

    def look(self) -> None:
        """Somebody misses a queue: see soon whether all are there."""
        self._look = True
        self._wake.set()

    def _held_back(self, window: Sequence[Message]) -> set[str]:
        """Job ids of what would go to a queue that is new."""
        bindings = self._topology.bindings
        return {m.job_id for m in window if not self._fresh.isdisjoint((m.queue,) if m.queue else bindings.get(m.job_type, ()))}

    async def _keep(self, beat: Beat) -> None:
        self._drop(self.down or "beginning anew")
        pauses, loop = Pauses(self._supervisor.chance, _FIRST_PAUSE, _LAST_PAUSE), asyncio.get_running_loop()
        while True:
            beat()
            connection = await self._link.connected(beat)
            began, least = loop.time(), 0.05
            try:
                await self._open(connection, beat)
                await self._watch(connection, beat)
            except BrokerError as error:
                self._tell(str(error), connection)
                self._drop(str(error))
                least = _LAST_PAUSE / 2 if isinstance(error, TopologyMismatch) else least
            if loop.time() - began > _GOOD_AFTER:
                pauses.begin()
            await pauses.sleep(least)

    def _tell(self, reason: str, connection: Connection) -> None:
        """Once for each fault; a lost connection is the link's to tell."""
        if reason != self._told and self._link.connection is connection:
            self._told = reason
            _log.warning("the publishing channel cannot be used; opening it again", why=reason)

    async def _open(self, connection: Connection, beat: Beat) -> None:
        """Returns when jobs can be published. Raises TopologyMismatch, BrokerUnavailable."""
        if self._declared is not connection:
            self._limit.forget()
        if self._declared is not connection or self._look:
            # A first declaration of all quorum queues takes 2 to 3 s on two cores; later ones 0.1 s.
            new = await self._declare(connection, beat)
            # Which log belongs to which quorum queue stands in a DETS table (ra_directory), written 3 s after its last change:
            # killed before, the broker starts the queue again with an empty log. Seen on 3.10.8 in 8 of 8 kills at once, in 0 of 5
            # after 4 s.
            until = asyncio.get_running_loop().time() + (self._settings.new_queue_pause if new else 0.0)
            while (left := until - asyncio.get_running_loop().time()) > 0:
                beat()
                await asyncio.sleep(min(left, TURN))
        with calls():
            async with asyncio.timeout(self._settings.connect_timeout):
                channel = connection.channel(publisher_confirms=True, on_return_raises=False)
                await channel.initialize()
                underneath = await channel.get_underlay_channel()
        assert isinstance(underneath, Channel)  # noqa: S101 - the class whose confirms and returns we take
        publisher = Publisher(underneath, self._settings.publish_timeout, self._limit, self._unroutable)
        if self._refused:  # a channel can be opened all the same
            self._channel = channel
            await publisher.prove()
            self._refused = False
        channel.close_callbacks.add(lambda _, error: self._closed(publisher, error))
        self._channel, self._publisher, self._opened_before, self.down = channel, publisher, True, None
        self.up.set()

    async def _watch(self, connection: Connection, beat: Beat) -> None:
        """Raises BrokerUnavailable when the channel has ended."""
        publisher = self._publisher
        assert publisher is not None  # noqa: S101 - _open made it
        loop = asyncio.get_running_loop()
        due = loop.time() + self._supervisor.chance.uniform(0.8, 1.2) * CHECK_EVERY
        while self._publisher is publisher and not publisher.closed:
            beat()
            if await within(self._wake, TURN):
                self._wake.clear()
                due = min(due, loop.time() + LEAST) if self._look else due
            if self._link.down is None and publisher.timed_out:
                publisher.probe()
            if self._link.down is None and loop.time() >= due:
                due = loop.time() + self._supervisor.chance.uniform(0.8, 1.2) * CHECK_EVERY
                await self._check(connection, beat)
        raise BrokerUnavailable(self._link.down or self.down or "the publishing channel has ended")

    async def _check(self, connection: Connection, beat: Beat) -> None:
        """Declare missing objects again. A declaration that fails is logged, and does not affect the others."""
        try:
            if self._look or await self._missing(connection, beat):
                self._keep_back(await self._declare(connection, beat))
        except BrokerError as error:
            _log.warning("the queues could not be looked at", why=str(error))

    async def _declare(self, connection: Connection, beat: Beat) -> list[str]:
        """Everything; the names of the queues that were not there."""
        self._look = False
        new = await self._missing(connection, beat)
        await self.declaration.declare(connection, beat)
        self._declared = connection
        if new:
            _log.info("new queues: nothing is published to them until the broker has written them down", queues=new)
        for queue in new if self._opened_before else ():
            metrics.QUEUES_REDECLARED.labels(queue).inc()
        return new

    async def _missing(self, connection: Connection, beat: Beat) -> list[str]:
        missing = []
        for queue in self._names:
            beat()
            if await self._asked.ask(connection, queue, self._settings.connect_timeout) is None:
                missing.append(queue)
        return missing

    def _keep_back(self, new: list[str]) -> None:
        if new and self._settings.new_queue_pause:
            self._fresh = frozenset(new)
            asyncio.get_running_loop().call_later(self._settings.new_queue_pause, self._let_go)

    def _let_go(self) -> None:
        self._fresh = frozenset()

    def _unroutable(self, message: Message) -> None:
        if message.job_type in self._topology.bindings or message.queue in self._names:
            self.look()

    def _closed(self, publisher: Publisher, error: BaseException | None) -> None:
        if publisher is self._publisher:
            self._drop(f"the broker closed the publishing channel: {why(error)}" if self._link.down is None else self._link.down)
            self._look = isinstance(error, ChannelNotFoundEntity)  # an exchange was deleted
            self._refused = isinstance(error, ChannelAccessRefused)  # a right was taken

    def _lost(self) -> None:
        """The connection has ended."""
        self._asked.forget()
        self._drop(self._link.down or "the connection ended")

    def _drop(self, reason: str) -> None:
        publisher, self._publisher = self._publisher, None
        channel, self._channel = self._channel, None
        self.down = reason
        self.up.clear()
        if publisher is not None:
            publisher.fail_all(reason)
        if channel is not None and not channel.is_closed:
            self._supervisor.once("rabbitmq channel's end", close_quietly(channel))
        self._wake.set()
