"""The simulated broker's server: queues on a log that is synced now and then, and what can go wrong with it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context

from adapters.simulated.queues import Channel, Consumer, Entry, Queue
from adapters.simulated.wire import ConnectionLost, Wire
from core.chance import Chance
from core.model import Reason
from core.ports import Message
from core.topology import Topology, dead_queue, delay_seconds

# A queue that is younger when the server is killed is empty after it (RabbitMQ 3.10.8 writes its directory of logs every 3 s).
NEW_FOR = 3.0
# The maximum delay that the ladder adds without faults, in seconds.
LATE = 0.5
Settlement = tuple[str, int, bool]  # "ack", "back" or "reject"; a delivery's tag; with all before it


class BrokerServer:
    """latency: seconds that a frame takes, least and most. sync: seconds until what was written is durable, at most.

    watch: called with each ("enqueued" | "given" | "acked" | "back" | "dead" | "lost", queue, entry).
    """

    def __init__(self, chance: Chance, *, latency: tuple[float, float] = (0.0002, 0.002), sync: float = 0.004) -> None:
        self.latency = latency
        self.sync = sync
        self.slowness = 1.0
        self.running = True
        self.stalled = False
        self.alarm = False
        self.unbound: dict[str, None] = {}  # job types that lead nowhere now
        self.unreachable: dict[str, None] = {}  # names of programs whose network is silent
        self.flapping: dict[str, None] = {}  # names of programs whose connections end within 20 ms
        self.farewell: Callable[[], BaseException] = lambda: ConnectionLost("the connection has ended")
        self.queues: dict[str, Queue] = {}
        self.wires: dict[Wire, str] = {}
        self.channels: dict[Channel, None] = {}
        self.delayed: list[tuple[float, int, str, Message]] = []
        self.watch: list[Callable[[str, str, Entry], None]] = []
        self._bindings: dict[str, list[str]] = {}
        self._chance = chance
        self._context = copy_context()
        self._numbers = itertools.count(1)
        self._log: list[Callable[[], None]] = []
        self._confirms: dict[Channel, list[tuple[int, bool]]] = {}
        self._syncing = False

    # ------------------------------------------------------------------------------------------------ connections

    async def connect(self, name: str, *, publishes: bool) -> Wire:
        """Raises ConnectionLost where no server runs; does not return while it is stalled or cannot be reached."""
        await asyncio.sleep(3 * self._delay())
        while self.stalled or name in self.unreachable:  # noqa: ASYNC110 - of several conditions none has an event
            await asyncio.sleep(0.5)
        if not self.running:
            raise ConnectionLost("connection refused")
        wire = Wire(self._context, self._delay, self._farewell, publishes=publishes)
        wire.to_server.held = self.alarm and publishes
        wire.server_told.append(lambda: self._lost(wire))
        self.wires[wire] = name
        if name in self.flapping:
            asyncio.get_running_loop().call_later(self._chance.uniform(0.0, 0.02), wire.cut, context=self._context)
        return wire

    def open_channel(self, channel: Channel) -> None:
        self.channels[channel] = None

    def close_channel(self, channel: Channel) -> None:
        """Requeue the deliveries that the channel holds, each with its count raised."""
        self._end(channel, lost=False)

    def hold(self, name: str) -> None:
        """Nothing reaches the program called `name`, and nothing of it arrives."""
        self.unreachable[name] = None
        for wire in self._of(name):
            wire.to_server.held = wire.to_client.held = True

    def release(self, name: str) -> None:
        self.unreachable.pop(name, None)
        for wire in self._of(name):
            wire.to_client.release()
            if not (self.stalled or (self.alarm and wire.publishes)):
                wire.to_server.release()

    def _farewell(self) -> BaseException:
        return self.farewell()

    def _of(self, name: str) -> list[Wire]:
        return [wire for wire, of in self.wires.items() if of == name]

    def _delay(self) -> float:
        return self._chance.uniform(*self.latency) * self.slowness

    def _lost(self, wire: Wire) -> None:
        self.wires.pop(wire, None)
        for channel in [c for c in self.channels if c.wire is wire]:
            self._end(channel, lost=True)

    def _end(self, channel: Channel, *, lost: bool) -> None:
        if channel.closed:
            return
        channel.closed = True
        self.channels.pop(channel, None)
        for consumer in channel.consumers.values():
            consumer.queue.end(consumer)
        unacked, channel.unacked = channel.unacked, {}
        for entry, consumer in unacked.values():
            self._write(lambda e=entry, c=consumer: self._back(c, e, lost=lost))  # type: ignore[misc]

    # ------------------------------------------------------------------------------------------- what clients ask for

    def declare(self, topology: Topology, limit: int) -> list[str]:
        """The queues that were not there."""
        now = asyncio.get_running_loop().time()
        missing = [queue for queue in topology.queues if queue not in self.queues]
        for queue in missing:
            self.queues[queue] = Queue(queue, now, limit)
            self.queues[dead_queue(queue)] = Queue(dead_queue(queue), now)
        for job_type, queues in topology.bindings.items():
            bound = self._bindings.setdefault(job_type, [])
            bound += [queue for queue in queues if queue not in bound]
        return missing

    def depth(self, queue: str) -> tuple[int, int]:
        """The number of ready messages, and of consumers. Raises LookupError."""
        found = self.queues[queue]
        return found.depth, len(found.consumers)

    def publish(self, channel: Channel, window: Sequence[tuple[str, Message]]) -> None:
        """window: messages with their names. Each gets the channel's next tag; confirms come once it is durable."""
        for name, message in window:
            channel.published += 1
            queues = self._route(message)
            if not queues:
                channel.wire.to_client.send(channel.returned, name)  # mandatory: before its confirm
            taken = [queue for queue in queues if not queue.full]
            self._write(lambda m=message, q=taken: self._enqueue(m, q))  # type: ignore[misc]
            confirm = channel.published, len(taken) == len(queues)
            self._write(lambda c=channel, a=confirm: self._confirms.setdefault(c, []).append(a))  # type: ignore[misc]

    def consume(self, channel: Channel, queue: str, prefetch: int, deliver: Callable[..., None]) -> str:
        """The tag of the new consumer. Raises LookupError where there is no such queue."""
        consumer = Consumer(f"ctag-{next(self._numbers)}", self.queues[queue], channel, prefetch, deliver)
        channel.consumers[consumer.tag] = consumer
        consumer.queue.consumers.append(consumer)
        self._write(lambda: self._hand_out(consumer.queue))
        return consumer.tag

    def cancel(self, channel: Channel, tag: str) -> None:
        consumer = channel.consumers.pop(tag, None)
        if consumer is not None:
            consumer.queue.end(consumer)

    def settle(self, channel: Channel, settlements: Iterable[Settlement]) -> None:
        """A tag that is not outstanding costs the channel (PRECONDITION_FAILED), unless the ack is one of all before it."""
        for how, tag, multiple in settlements:
            tags = [t for t in channel.unacked if t <= tag] if multiple else [tag]
            if tag not in channel.unacked:
                self._end(channel, lost=False)
                channel.wire.to_client.send(channel.ended, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
                return
            for each in tags:
                entry, consumer = channel.unacked.pop(each)
                self._write(lambda h=how, c=consumer, e=entry: self._settled(h, c, e))  # type: ignore[misc]

    # ----------------------------------------------------------------------------------------------------- the log

    def _write(self, change: Callable[[], None]) -> None:
        self._log.append(change)
        if not self._syncing:
            self._syncing = True
            later = self._chance.uniform(0.0, self.sync) * self.slowness
            asyncio.get_running_loop().call_later(later, self._sync, context=self._context)

    def _sync(self) -> None:
        self._syncing = False
        if self.stalled or not self.running:
            return
        log, self._log = self._log, []
        for change in log:
            change()
        confirms, self._confirms = self._confirms, {}
        for channel, tags in confirms.items():
            self._confirm(channel, tags)

    def _confirm(self, channel: Channel, tags: list[tuple[int, bool]]) -> None:
        """Deliveries without a gap between their tags are settled by one frame, up to the last tag; the others one by one."""
        send = channel.wire.to_client.send
        taken = [tag for tag, was in tags if was]
        prefix = [tag for number, tag in enumerate(taken) if tag == channel.settled_to + 1 + number]
        if prefix:
            channel.settled_to = prefix[-1]
            send(channel.confirmed, prefix[-1], len(prefix) > 1, True)
        for tag, was in tags:
            if tag not in prefix:
                send(channel.confirmed, tag, False, was)

    def _route(self, message: Message) -> list[Queue]:
        if message.queue is not None:
            return [self.queues[message.queue]] if message.queue in self.queues else []
        names = [] if message.job_type in self.unbound else self._bindings.get(message.job_type, [])
        return [self.queues[name] for name in names if name in self.queues]

    def _enqueue(self, message: Message, queues: list[Queue]) -> None:
        for queue in queues:
            if message.delay > 0:
                self._delay_until_due(queue.name, message)
            else:
                self.put(queue, message)

    def put(self, queue: Queue, message: Message) -> None:
        """Durable and ready."""
        entry = Entry(next(self._numbers), message)
        queue.ready.append(entry)
        self._tell("enqueued", queue, entry)
        self._hand_out(queue)

    def _delay_until_due(self, queue: str, message: Message) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_seconds(message.delay) + self._chance.uniform(0.0, LATE)
        heapq.heappush(self.delayed, (due, next(self._numbers), queue, message))
        loop.call_at(due, self._due, context=self._context)

    def _due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self.running and not self.stalled and self.delayed and self.delayed[0][0] <= now:
            _, _, queue, message = heapq.heappop(self.delayed)
            self.put(self.queues[queue], message)

    def _hand_out(self, queue: Queue) -> None:
        while (given := queue.next()) is not None:
            consumer, entry = given
            channel = consumer.channel
            channel.given += 1
            channel.unacked[channel.given] = entry, consumer
            self._tell("given", queue, entry)
            channel.wire.to_client.send(consumer.deliver, channel.given, entry.message, entry.count, entry.death)

    def _settled(self, how: str, consumer: Consumer, entry: Entry) -> None:
        if how == "back":
            self._back(consumer, entry, lost=False)
            return
        self._let_go(consumer, entry)
        if how == "reject":
            self._dead(consumer.queue, entry, Reason.REJECTED)
        else:
            self._tell("acked", consumer.queue, entry)
        self._hand_out(consumer.queue)

    def _let_go(self, consumer: Consumer, entry: Entry) -> None:
        consumer.held -= 1
        consumer.queue.held.pop(entry, None)

    def _back(self, consumer: Consumer, entry: Entry, *, lost: bool) -> None:
        if entry not in consumer.queue.held:
            return
        self._let_go(consumer, entry)
        self._return(consumer.queue, entry, lost=lost)
        self._hand_out(consumer.queue)

    def _return(self, queue: Queue, entry: Entry, *, lost: bool) -> None:
        entry.count += 1
        entry.lost += lost
        self._tell("back", queue, entry)
        if queue.limit is not None and entry.count > queue.limit:
            self._dead(queue, entry, Reason.DELIVERY_LIMIT)
        else:
            queue.put_back(entry)

    def _dead(self, queue: Queue, entry: Entry, why: Reason) -> None:
        self._tell("dead", queue, entry)
        grave = self.queues.get(dead_queue(queue.name))
        if grave is not None:
            grave.ready.append(Entry(next(self._numbers), entry.message, death=why, lost=entry.lost))
            self._hand_out(grave)

    def _tell(self, what: str, queue: Queue, entry: Entry) -> None:
        for watcher in self.watch:
            watcher(what, queue.name, entry)

    # ---------------------------------------------------------------------------------------------- what goes wrong

    def kill(self) -> None:
        """Of writes that were not synced only the first ones are kept, without any notice. New queues are empty afterwards."""
        now = asyncio.get_running_loop().time()
        kept = int(self._chance.uniform(0, len(self._log) + 1))
        log, self._log = self._log[:kept], []
        self.running = self.stalled = False
        for wire in self.wires:
            wire.cut()
        self.wires.clear()
        for channel in self.channels:
            channel.closed = True
        self.channels.clear()
        for change in log:
            change()
        self._confirms = {}
        for queue in self.queues.values():
            if now - queue.declared_at < NEW_FOR:
                for entry in [*queue.purge(), *queue.held]:
                    self._tell("lost", queue, entry)
                queue.held.clear()

    def start(self) -> None:
        """Start again with the durable messages: deliveries are ready again, and counted."""
        self.running, self._log = True, []
        for queue in self.queues.values():
            queue.consumers.clear()
            held, queue.held = queue.held, {}
            for entry in held:
                self._return(queue, entry, lost=True)
        self._due()

    def stall(self) -> None:
        """It answers nothing, and its connections stay."""
        self.stalled = True
        for wire in self.wires:
            wire.to_server.held = True

    def go_on(self) -> None:
        self.stalled = False
        for wire, name in self.wires.items():
            if name not in self.unreachable and not (self.alarm and wire.publishes):
                wire.to_server.release()
        self._sync()
        self._due()

    def block(self) -> None:
        """An alarm: nothing that is published is read, while consuming goes on."""
        self.alarm = True
        for wire in self.wires:
            if wire.publishes:
                wire.to_server.held = True

    def unblock(self) -> None:
        self.alarm = False
        for wire, name in self.wires.items():
            if wire.publishes and not self.stalled and name not in self.unreachable:
                wire.to_server.release()
