"""The deliveries that one channel of a consumer holds, and their acks, nacks and requeues, in as few frames as possible."""

from __future__ import annotations

from aiormq.abc import AbstractChannel

from adapters.rabbitmq import frames


class Hold:
    """outstanding: tags in the order of delivery. consumers: their tags, and the credit that each was begun with.

    former: the last delivery tag that a consumer which was cancelled since may have brought.
    """

    def __init__(self, channel: AbstractChannel, prefetch: int) -> None:
        self.channel = channel
        self.outstanding: dict[int, None] = {}
        self.acks: list[int] = []
        self.nacks: list[tuple[int, bool]] = []
        self.consumers: dict[str, int] = {}
        self.former = self.last = 0
        self.prefetch = prefetch

    @property
    def credit(self) -> int:
        """The prefetch that a further consumer may begin with, so that the channel never holds more than its prefetch; 0 is none.

        RabbitMQ gives each consumer its own credit, and goes on counting the deliveries of a cancelled one. So after a pause
        one begins with what is left; and a further one with the rest, once nothing of the former one is held, or that is as much as
        those before have: each doubles it, so that a dozen are enough for any prefetch.
        """
        held = 0
        for tag in self.outstanding:
            if tag > self.former:
                break
            held += 1
        given = sum(self.consumers.values())
        free = self.prefetch - held - given
        return 0 if held and free < given else max(free, 0)

    def cancelled(self) -> None:
        """No consumer brings anything any more."""
        self.consumers.clear()
        self.former = self.last

    def packed(self) -> bytes:
        """Everything that was settled, as one write.

        Single nacks first; then one Ack with `multiple` up to the last tag before the oldest outstanding one, which by then is
        all acked; then single acks for what was settled behind that gap.
        """
        number = self.channel.number
        parts = [frames.nack(number, tag, requeue=requeue) for tag, requeue in self.nacks]
        oldest = next(iter(self.outstanding), None)
        self.acks.sort()
        prefix = [tag for tag in self.acks if oldest is None or tag < oldest]
        if prefix:
            parts.append(frames.ack(number, prefix[-1], multiple=True))
        parts += [frames.ack(number, tag, multiple=False) for tag in self.acks[len(prefix) :]]
        self.acks, self.nacks = [], []
        return b"".join(parts)
