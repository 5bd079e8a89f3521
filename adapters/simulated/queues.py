"""A simulated server's queues: the ready messages, the held ones with their holders, and the next receiver."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from adapters.simulated.wire import Wire
from core.model import Reason
from core.ports import Message


@dataclass(eq=False, slots=True)
class Entry:
    """One message in one queue.

    count: how often it came back. lost: how many of these times with the connection that held it.
    """

    number: int
    message: Message
    count: int = 0
    lost: int = 0
    death: Reason | None = None


@dataclass(eq=False, slots=True)
class Consumer:
    """prefetch: as it was when the consumer began; later changes do not reach it (RabbitMQ, Consumer Prefetch).

    deliver: called at the client's end with (tag, message, count, death).
    """

    tag: str
    queue: Queue
    channel: Channel
    prefetch: int
    deliver: Callable[[int, Message, int, Reason | None], None]
    held: int = 0


@dataclass(eq=False, slots=True)
class Channel:
    """One client's channel. unacked: its deliveries, by tag, with the consumer that it was given to.

    confirmed, returned, cancelled, ended: called at the client's end.
    """

    wire: Wire
    confirmed: Callable[[int, bool, bool], None]  # tag, multiple, whether it was taken
    returned: Callable[[str], None]  # the message's name; before its confirm
    cancelled: Callable[[str], None]  # a consumer that the server ended
    ended: Callable[[str], None]  # the server closed the channel, and why
    closed: bool = False
    published: int = 0
    settled_to: int = 0  # all up to this one were confirmed
    given: int = 0
    unacked: dict[int, tuple[Entry, Consumer]] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)


@dataclass(eq=False)
class Queue:
    """limit: how often a message may come back before it is given up; None is for ever. full: it refuses what is published.

    held: handed out, or on its way back; a killed server finds these again.
    """

    name: str
    declared_at: float
    limit: int | None = None
    full: bool = False
    ready: deque[Entry] = field(default_factory=deque)
    returned: list[tuple[int, Entry]] = field(default_factory=list)
    consumers: deque[Consumer] = field(default_factory=deque)
    held: dict[Entry, None] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return len(self.ready) + len(self.returned)

    def put_back(self, entry: Entry) -> None:
        """Before what was never handed out, in the old order."""
        heapq.heappush(self.returned, (entry.number, entry))

    def next(self) -> tuple[Consumer, Entry] | None:
        """The next to hand out, and the consumer whose turn it is: each in turn, and none beyond its prefetch."""
        if not self.ready and not self.returned:
            return None
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.held < consumer.prefetch and not consumer.channel.closed:
                consumer.held += 1
                entry = heapq.heappop(self.returned)[1] if self.returned else self.ready.popleft()
                self.held[entry] = None
                return consumer, entry
        return None

    def purge(self) -> list[Entry]:
        """Empty it of what is ready; messages that a consumer holds stay. Returns the removed ones."""
        gone = [*self.ready, *(entry for _, entry in self.returned)]
        self.returned.clear()
        self.ready.clear()
        return gone

    def end(self, consumer: Consumer) -> None:
        """It gets nothing more; the messages that it has stay its channel's."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
