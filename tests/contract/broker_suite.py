"""The contract of every broker adapter. An adapter's module subclasses `BrokerContract` and gives the `broker` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.clock import SystemClock
from core.errors import Unroutable
from core.model import Reason
from core.ports import Broker, Delivery, Message, Subscription
from core.topology import Topology, dead_queue

TOPOLOGY = Topology({"a.happened": ("one", "two"), "b.happened": ("one",)})
DELIVERY_LIMIT = 3


def message(job: str = "job", job_type: str = "b.happened", **more: Any) -> Message:
    headers = {"cloudEvents_id": job, "note": "grüße, 世界", "empty": ""}
    return Message(job, job_type, headers, more.pop("body", b'{"n": 1}'), **more)


class Inbox:
    """Collects deliveries."""

    def __init__(self) -> None:
        self.got: list[Delivery] = []
        self._arrived = asyncio.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.got.append(delivery)
        self._arrived.set()

    async def wait_for(self, count: int, within: float = 10.0) -> list[Delivery]:
        async with asyncio.timeout(within):
            while len(self.got) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.got


async def subscribed(broker: Broker, queue: str, prefetch: int, inbox: Inbox) -> Subscription:
    subscription = broker.subscribe(queue, prefetch, inbox)
    await subscription.resume()
    return subscription


async def narrowed(broker: Broker, *, jobs: int, prefetch: int, limit: int) -> tuple[Inbox, Subscription, list[Delivery]]:
    """One that holds as much as it may, has its limit lowered and hands back what is beyond; and the deliveries that it keeps."""
    await publish(broker, *(message(str(n)) for n in range(jobs)))
    inbox = Inbox()
    subscription = await subscribed(broker, "one", prefetch, inbox)
    held = list(await inbox.wait_for(prefetch))
    subscription.limit(limit)
    await subscription.pause()
    for delivery in held[limit:]:
        subscription.hand_back(delivery)
    await subscription.resume()
    return inbox, subscription, held[:limit]


async def publish(broker: Broker, *messages: Message) -> None:
    await asyncio.gather(*broker.publish(messages))


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    """Wait for a condition; fails the test when it does not come."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def until_depth(broker: Broker, queue: str, ready: int) -> None:
    async with asyncio.timeout(10.0):
        while (await broker.depth(queue)).ready != ready:
            await asyncio.sleep(0.02)


class BrokerContract:
    """Each test gets an opened broker with TOPOLOGY, empty queues and DELIVERY_LIMIT."""

    async def test_every_bound_queue_gets_it_once(self, broker: Broker) -> None:
        await publish(broker, message("x", "a.happened"))
        for queue in ("one", "two"):
            inbox = Inbox()
            subscription = await subscribed(broker, queue, 10, inbox)
            (delivery,) = await inbox.wait_for(1)
            assert (delivery.queue, delivery.body, delivery.count) == (queue, b'{"n": 1}', 0)
            assert delivery.headers == {"cloudEvents_id": "x", "note": "grüße, 世界", "empty": ""}
            subscription.ack(delivery)
            await subscription.close()

    async def test_only_the_named_queue(self, broker: Broker) -> None:
        await publish(broker, message("x", "a.happened", queue="two"))
        assert (await broker.depth("one")).ready == 0
        await until_depth(broker, "two", 1)

    @pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", b"x" * 1_000_000], ids=["empty", "binary", "1 MB"])
    async def test_the_body_is_kept_byte_for_byte(self, broker: Broker, body: bytes) -> None:
        await publish(broker, message(body=body))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        assert (await inbox.wait_for(1))[0].body == body
        await subscription.close()

    async def test_in_the_order_of_publishing(self, broker: Broker) -> None:
        await publish(broker, *(message(str(n)) for n in range(50)))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 100, inbox)
        assert [d.headers["cloudEvents_id"] for d in await inbox.wait_for(50)] == [str(n) for n in range(50)]
        await subscription.close()

    async def test_what_is_bound_nowhere_is_unroutable(self, broker: Broker) -> None:
        lost, kept = broker.publish([message(job_type="c.happened"), message()])
        with pytest.raises(Unroutable):
            await lost
        await kept

    async def test_prefetch_bounds_what_is_unsettled(self, broker: Broker) -> None:
        await publish(broker, *(message(str(n)) for n in range(5)))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 2, inbox)
        first, _ = await inbox.wait_for(2)
        await until_depth(broker, "one", 3)
        assert len(inbox.got) == 2
        subscription.ack(first)
        assert len(await inbox.wait_for(3)) == 3
        await subscription.close()

    async def test_acked_is_forgotten_and_the_rest_comes_back(self, broker: Broker) -> None:
        await publish(broker, *(message(str(n)) for n in range(6)))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 10, inbox)
        got = await inbox.wait_for(6)
        for delivery in (got[0], got[1], got[3], got[5]):  # a contiguous prefix, and two behind gaps
            subscription.ack(delivery)
        await subscription.close()
        await until_depth(broker, "one", 2)
        again = Inbox()
        subscription = await subscribed(broker, "one", 10, again)
        assert {d.headers["cloudEvents_id"] for d in await again.wait_for(2)} == {"2", "4"}
        await subscription.close()

    async def test_handed_back_comes_again_with_its_count(self, broker: Broker) -> None:
        await publish(broker, message())
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        subscription.hand_back((await inbox.wait_for(1))[0])
        assert (await inbox.wait_for(2))[1].count == 1
        await subscription.close()

    async def test_rejected_goes_to_the_dead_letter_queue(self, broker: Broker) -> None:
        await publish(broker, message(body=b"junk"))
        inbox, dead = Inbox(), Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        subscription.reject((await inbox.wait_for(1))[0])
        graveyard = await subscribed(broker, dead_queue("one"), 1, dead)
        (delivery,) = await dead.wait_for(1)
        assert (delivery.body, delivery.death) == (b"junk", Reason.REJECTED)
        await subscription.close()
        await graveyard.close()

    async def test_handed_out_too_often_is_given_up(self, broker: Broker) -> None:
        await publish(broker, message())
        inbox, dead = Inbox(), Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        graveyard = await subscribed(broker, dead_queue("one"), 1, dead)
        for time in range(DELIVERY_LIMIT + 1):
            subscription.hand_back((await inbox.wait_for(time + 1))[time])
        assert (await dead.wait_for(1))[0].death == Reason.DELIVERY_LIMIT
        assert len(inbox.got) == DELIVERY_LIMIT + 1
        await subscription.close()
        await graveyard.close()

    async def test_postponed_is_never_early_and_replaces_the_old(self, broker: Broker) -> None:
        await publish(broker, message())
        inbox, clock = Inbox(), SystemClock()
        subscription = await subscribed(broker, "one", 5, inbox)
        (delivery,) = await inbox.wait_for(1)
        began = clock.steady()
        later = Message("job", "b.happened", {"attempt": "2"}, delivery.body, queue="one", delay=1.2)
        await subscription.postpone(delivery, later)
        second = (await inbox.wait_for(2))[1]
        assert clock.steady() - began >= 1.2
        assert (second.headers, second.body) == ({"attempt": "2"}, delivery.body)
        subscription.ack(second)
        await subscription.close()
        assert (await broker.depth("one")).ready == 0

    async def test_a_long_delay_does_not_block_a_short_one(self, broker: Broker) -> None:
        await publish(broker, message("long", queue="one", delay=600.0), message("short", queue="one", delay=1.0))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 5, inbox)
        assert (await inbox.wait_for(1))[0].headers["cloudEvents_id"] == "short"
        await subscription.close()

    async def test_paused_takes_nothing_until_resumed(self, broker: Broker) -> None:
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 5, inbox)
        await until(lambda: subscription.active)
        await subscription.pause()
        assert not subscription.active
        await publish(broker, message())
        await until_depth(broker, "one", 1)
        assert not inbox.got
        await subscription.resume()
        await inbox.wait_for(1)
        await subscription.close()

    async def test_resumed_again_and_again_it_never_holds_more_than_its_prefetch(self, broker: Broker) -> None:
        await publish(broker, *(message(str(n)) for n in range(200)))
        inbox, prefetch, settled = Inbox(), 4, 0
        subscription = await subscribed(broker, "one", prefetch, inbox)
        await inbox.wait_for(prefetch)
        for round_ in range(20):
            await subscription.pause()
            if round_ % 2:  # some of what it holds, all of it, or nothing
                for delivery in inbox.got[settled : settled + round_ % 3 + 1]:
                    subscription.ack(delivery)
                    settled += 1
            await subscription.resume()
            await inbox.wait_for(settled + prefetch)
            await until_depth(broker, "one", 200 - settled - prefetch)
            assert len(inbox.got) == settled + prefetch
        await subscription.close()
        await until_depth(broker, "one", 200 - settled)

    async def test_it_holds_no_more_than_a_lower_limit_and_again_as_much_as_before(self, broker: Broker) -> None:
        inbox, subscription, (kept,) = await narrowed(broker, jobs=20, prefetch=6, limit=1)
        await until_depth(broker, "one", 19)
        assert len(inbox.got) == 6, "it holds what it may"
        subscription.ack(kept)
        seventh = (await inbox.wait_for(7))[6]
        assert seventh.headers["cloudEvents_id"] == "1", "what went back comes first"
        await until_depth(broker, "one", 18)
        subscription.limit(6)
        await subscription.resume()
        await inbox.wait_for(12)
        await until_depth(broker, "one", 13)
        assert len(inbox.got) == 12
        await subscription.close()

    async def test_beside_one_that_is_held_for_long_at_least_half_of_the_limit_is_used(self, broker: Broker) -> None:
        inbox, subscription, (long, *others) = await narrowed(broker, jobs=60, prefetch=16, limit=8)
        await until_depth(broker, "one", 52)
        for delivery in others:  # apart, so that room grows by one each
            subscription.ack(delivery)
            await asyncio.sleep(0.05)
        assert len(await inbox.wait_for(16 + 4)) <= 16 + 7
        subscription.ack(long)
        await inbox.wait_for(16 + 8)
        await until_depth(broker, "one", 44)
        assert len(inbox.got) == 16 + 8
        await subscription.close()

    async def test_two_subscriptions_share_without_overlap(self, broker: Broker) -> None:
        left, right = Inbox(), Inbox()
        subscriptions = [await subscribed(broker, "one", 10, left), await subscribed(broker, "one", 10, right)]
        await publish(broker, *(message(str(n)) for n in range(20)))
        await until(lambda: len(left.got) + len(right.got) == 20)
        assert len({d.headers["cloudEvents_id"] for d in left.got + right.got}) == 20
        for subscription in subscriptions:
            await subscription.close()

    async def test_settling_late_or_twice_does_no_harm(self, broker: Broker) -> None:
        await publish(broker, message())
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 1, inbox)
        (delivery,) = await inbox.wait_for(1)
        subscription.ack(delivery)
        subscription.ack(delivery)
        subscription.hand_back(delivery)
        await subscription.close()
        subscription.reject(delivery)
        assert (await broker.depth("one")).ready == 0
        assert (await broker.depth(dead_queue("one"))).ready == 0

    async def test_who_gives_up_on_a_publish_harms_nobody(self, broker: Broker) -> None:
        gone, kept = broker.publish([message("gone"), message("kept")])
        gone.cancel()
        await kept
        await until_depth(broker, "one", 2)
        assert broker.unready() is None
