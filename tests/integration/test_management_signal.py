"""RabbitMQ's management API: a real one, and small servers that answer as a broken one does."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web
from pydantic import SecretStr

from adapters.rabbitmq import RabbitMQ
from autoscaler.ports import Sighting
from autoscaler.settings import ControllerSettings
from autoscaler.signals.rabbitmq import MOST_BYTES, STATISTICS_AGE, ManagementSignal
from autoscaler.window import Rate
from core.clock import ManualClock, SystemClock
from core.errors import SignalError
from core.settings import Settings
from tests.contract.broker_suite import TOPOLOGY, Inbox, message, publish, subscribed
from tests.servers import free_port
from tests.servers.http import Answer, serving
from tests.servers.rabbitmq import RabbitMQServer

PATIENCE = 20.0


@asynccontextmanager
async def signal_of(url: Callable[[], str], vhost: str = "/", timeout: float = PATIENCE) -> AsyncIterator[ManagementSignal]:
    signal = ManagementSignal(url, vhost, ManualClock(), timeout)
    await signal.open()
    try:
        yield signal
    finally:
        await signal.close()


async def until(signal: ManagementSignal, queue: str, **wanted: float) -> Sighting:
    """Look until the figures are so: the broker gathers them every 5 s."""
    async with asyncio.timeout(60):
        while True:
            seen = (await signal.look([queue])).get(queue, Sighting())
            if {name: figure.value for name, figure in seen.figures.items() if name in wanted} == wanted:
                return seen
            await asyncio.sleep(0.2)


async def test_what_is_at_consumers_and_what_was_ever_published(managed_rabbitmq: RabbitMQServer) -> None:
    url = managed_rabbitmq.vhost()
    vhost = urlsplit(url).path[1:]
    broker = RabbitMQ(url, TOPOLOGY, Settings(connect_timeout=20), SystemClock())
    await broker.open()
    async with signal_of(lambda: managed_rabbitmq.management_url, vhost) as signal:
        seen = await signal.look(["one", "two", "no such queue"])
        assert "no such queue" not in seen
        assert all("published" not in sighting.figures for sighting in seen.values()), "never published to: unknown, not 0"
        await publish(broker, *(message(f"job{n}") for n in range(7)))
        inbox = Inbox()
        subscription = await subscribed(broker, "one", 4, inbox)
        await inbox.wait_for(4)
        sighting = await until(signal, "one", unacked=4, published=7)
        assert {figure.at for figure in sighting.figures.values()} == {-STATISTICS_AGE}, "they may be so old when they arrive"
        for delivery in list(inbox.got):
            subscription.ack(delivery)
        await inbox.wait_for(7)
        await until(signal, "one", unacked=3, published=7)
        assert (await signal.look(["two"]))["two"].figures.get("unacked", None) in (None, (0.0, -STATISTICS_AGE))
        await subscription.close()
    await broker.close()


async def test_real_refusals(managed_rabbitmq: RabbitMQServer) -> None:
    address = managed_rabbitmq.management_url.partition("@")[2]
    current = [f"http://guest:wrong@{address}"]
    async with signal_of(lambda: current[0]) as signal:
        with pytest.raises(SignalError, match=r"401.*HEADRACE_MANAGEMENT_URL"):
            await signal.look(["one"])
        await asyncio.to_thread(managed_rabbitmq.ctl, "add_user", "watcher", "p@ss:w/ö")
        current[0] = f"http://watcher:p%40ss%3Aw%2F%C3%B6@{address}"
        with pytest.raises(SignalError, match=r"401|403"):  # no tag
            await signal.look(["one"])
        await asyncio.to_thread(managed_rabbitmq.ctl, "set_user_tags", "watcher", "monitoring")
        await asyncio.to_thread(managed_rabbitmq.ctl, "set_permissions", "watcher", "", "", "")
        async with asyncio.timeout(60):
            while True:  # the plugin may remember the refusal for a moment
                try:
                    assert await signal.look(["one"]) == {}
                    break
                except SignalError:
                    await asyncio.sleep(0.2)
        current[0] = managed_rabbitmq.management_url
        assert await signal.look(["one"]) == {}
    async with signal_of(lambda: managed_rabbitmq.management_url, "no such/vhost") as signal:
        with pytest.raises(SignalError, match=r"404.*virtual host"):
            await signal.look(["one"])


async def test_a_user_with_the_tag_management_sees_the_queues_of_its_own_virtual_host(managed_rabbitmq: RabbitMQServer) -> None:
    """As the chart's user of rabbitmq.mode operator, whose credentials are the broker's."""
    url = managed_rabbitmq.vhost()
    vhost = urlsplit(url).path[1:]
    broker = RabbitMQ(url, TOPOLOGY, Settings(connect_timeout=20), SystemClock())
    await broker.open()
    for command in (
        ("add_user", "headrace", "p@ss"),
        ("set_user_tags", "headrace", "management"),
        ("set_permissions", "-p", vhost, "headrace", ".*", ".*", ".*"),
    ):
        await asyncio.to_thread(managed_rabbitmq.ctl, *command)
    address = managed_rabbitmq.management_url.partition("@")[2]
    own = f"amqp://headrace:p%40ss@{urlsplit(url).netloc.rpartition('@')[2]}/{vhost}"
    settings = ControllerSettings(broker=SecretStr(own), management_url=SecretStr(f"http://{address}"))
    async with signal_of(settings.management, vhost) as signal:
        await publish(broker, *(message(f"job{n}") for n in range(3)))
        await until(signal, "one", published=3)
    await broker.close()


def status(code: int) -> Answer:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=code)

    return answer


def body(content: bytes) -> Answer:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=content)

    return answer


async def slow(request: web.BaseRequest) -> web.StreamResponse:
    """The head of an answer, and then nothing."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"[")
    await asyncio.Event().wait()
    return response


async def cut(request: web.BaseRequest) -> web.StreamResponse:
    """An answer that ends before it is whole."""
    response = web.StreamResponse(headers={"content-length": "1000"})
    await response.prepare(request)
    await response.write(b"[{}")
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(MOST_BYTES // 2**20 + 2):
        await response.write(b" " * 2**20)
    return response


async def test_a_count_that_the_broker_has_not_gathered_anew_is_no_new_reading() -> None:
    """300 more each 5 s, asked each second: 60/s, and not 0, 0, 0, 0, 300; and 0/s once nothing more is published."""
    clock, published, rate = ManualClock(), 1000, Rate()

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.json_response([{"name": "one", "message_stats": {"publish": published}}])

    async with serving(answer) as url:
        signal = ManagementSignal(lambda: url, "/", clock, PATIENCE)
        await signal.open()
        levels = []
        for second in range(40):
            published += 300 if second % 5 == 0 and second < 25 else 0
            rate = rate.next((await signal.look(["one"]))["one"].figures["published"])
            levels.append(rate.level)
            clock.advance(1.0)
        await signal.close()
    assert set(levels[6:25]) == {60.0}
    assert levels[-1] < 6.0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status(401), "401.*wrong user or password"),
        (status(403), "403.*monitoring"),
        (status(404), "404.*plugin"),
        (status(500), "500"),
        (status(503), "503"),
        (body(b"<html>hello</html>"), "not JSON"),
        (body(b""), "not JSON"),
        (body(b"\xff\xfe\x00"), "not JSON"),
        (body(b"[" * 100_000), "not JSON"),
        (body(b'{"error": "not_authorised"}'), "not a list"),
        (body(b"[1, 2]"), "not a list"),
        (body(b"null"), "not a list"),
        (cut, "does not answer"),
        (endless, "longer than 32 MiB"),
    ],
)
async def test_answers_that_tell_nothing(answer: Answer, why: str) -> None:
    async with serving(answer) as url, signal_of(lambda: url.replace("://", "://guest:s3cret@")) as signal:
        with pytest.raises(SignalError, match=why) as raised:
            await signal.look(["one"])
        assert "s3cret" not in str(raised.value)


async def test_slow_is_given_up() -> None:
    async with serving(slow) as url, signal_of(lambda: url, timeout=0.3) as signal:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(SignalError, match="does not answer: TimeoutError"):
                await signal.look(["one"])


@pytest.mark.parametrize("url", ["http://guest:s3cret@127.0.0.1:port", "http://guest:s3cret@[::1", "guest:s3cret", ""])
async def test_a_url_that_is_none_shows_no_password(url: str) -> None:
    async with signal_of(lambda: url) as signal:
        with pytest.raises(SignalError) as raised:
            await signal.look(["one"])
        assert "s3cret" not in str(raised.value)


async def test_nobody_there() -> None:
    async with signal_of(lambda: f"http://127.0.0.1:{free_port()}") as signal:
        with pytest.raises(SignalError, match="does not answer"):
            await signal.look(["one"])


async def test_missing_and_absurd_fields_are_unknown_and_take_no_other_away() -> None:
    rows = [
        {"name": "one"},
        {"name": "two", "messages_unacknowledged": 3},
        {"name": "three", "message_stats": {"publish": 9}, "messages_unacknowledged": "many"},
        {"name": "four", "message_stats": [], "messages_unacknowledged": None},
        {"name": "five", "message_stats": {"publish": True}, "messages_unacknowledged": -1},
        {"name": ["one"]},
        {"messages_unacknowledged": 8},
        {"name": "not ours", "messages_unacknowledged": 8},
    ]
    async with serving(body(orjson.dumps(rows))) as url, signal_of(lambda: url) as signal:
        seen = await signal.look(["one", "two", "three", "four", "five", "six"])
        found = {queue: {name: figure.value for name, figure in of.figures.items()} for queue, of in seen.items()}
        assert found == {"one": {}, "two": {"unacked": 3.0}, "three": {"published": 9.0}, "four": {}, "five": {}}, (
            "and one of -1 jobs too"
        )


async def test_a_long_answer_in_pieces_is_read_whole_with_one_request() -> None:
    rows = [{"name": f"queue{n}", "messages_unacknowledged": n, "message_stats": {"publish": 2 * n}} for n in range(3000)]
    content, asked = orjson.dumps(rows), []

    async def pieces(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path_qs)
        response = web.StreamResponse()
        await response.prepare(request)
        for begin in range(0, len(content), 10_000):
            await response.write(content[begin : begin + 10_000])
            await asyncio.sleep(0)
        return response

    async with serving(pieces) as url, signal_of(lambda: url, "a/b c") as signal:
        seen = await signal.look([row["name"] for row in rows])  # type: ignore[misc]  # names are strings
        assert len(seen) == 3000
        assert seen["queue2999"].figures["published"].value == 5998
    assert len(asked) == 1
    assert asked[0].startswith("/api/queues/a%2Fb%20c?columns=")


async def test_credentials_rotate_without_a_restart() -> None:
    given: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        given.append(base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode())
        return web.json_response([])

    async with serving(answer) as url:
        address, current = url.removeprefix("http://"), ["ada:first"]
        async with signal_of(lambda: f"http://{current[0]}@{address}") as signal:
            await signal.look(["one"])
            current[0] = "bob:sec%40nd"
            await signal.look(["one"])
    assert given == ["ada:first", "bob:sec@nd"]
