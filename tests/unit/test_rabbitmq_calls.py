"""The border to the AMQP library: the errors of a call, and their texts."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionNotAllowed, ProbableAuthenticationError

from adapters.rabbitmq.calls import Pauses, calls, why, within
from adapters.rabbitmq.connection import connection_to
from core.chance import SeededChance
from core.clock import ManualClock
from core.errors import BrokerUnavailable, TopologyMismatch
from telemetry.supervisor import cancelled


@pytest.mark.parametrize("error", [Exception, RuntimeError("closed"), OSError("reset"), TimeoutError, asyncio.CancelledError])
async def test_whatever_the_library_raises_is_a_brokers_error(error: BaseException) -> None:
    with pytest.raises(BrokerUnavailable, match=r"\w"), calls():
        raise error


async def test_our_own_errors_pass() -> None:
    with pytest.raises(TopologyMismatch), calls():
        raise TopologyMismatch("other arguments")


async def test_a_cancellation_of_ours_passes() -> None:
    async def call() -> None:
        with calls():
            await asyncio.sleep(3600)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    assert await cancelled(task)
    assert task.cancelled()


async def test_a_time_limit_is_told_as_one() -> None:
    with pytest.raises(BrokerUnavailable, match="no answer in time"), calls():
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)


def test_what_is_said_names_the_remedy_and_no_address() -> None:
    assert "HEADRACE_BROKER" in why(ProbableAuthenticationError("ACCESS_REFUSED"))
    assert "add_vhost" in why(ConnectionNotAllowed("NOT_ALLOWED - vhost x not found"))
    assert why(RuntimeError('<Channel: "1" at 0x7f6560ab90e0> closed')) == 'RuntimeError: <Channel: "1"> closed'
    assert why(Exception()) == "Exception: the connection ended during a call"
    assert "size 5" in why(ChannelPreconditionFailed("PRECONDITION_FAILED - message size 5"))


@pytest.mark.looptime
async def test_pauses_grow_to_the_last_and_begin_again() -> None:
    loop, pauses = asyncio.get_running_loop(), Pauses(SeededChance(1, ManualClock()), 0.1, 5.0)
    slept = []
    for _ in range(40):
        began = loop.time()
        await pauses.sleep()
        slept.append(loop.time() - began)
    assert all(0.05 <= pause <= 5.0 for pause in slept)
    assert max(slept[:2]) <= 0.2
    assert max(slept) > 2.0
    pauses.begin()
    began = loop.time()
    await pauses.sleep()
    assert loop.time() - began <= 0.1


@pytest.mark.looptime
async def test_an_event_is_waited_for_but_not_for_longer() -> None:
    event = asyncio.Event()
    assert not await within(event, 1.0)
    event.set()
    assert await within(event, 1.0)


async def test_a_connection_that_was_never_made_goes_in_silence_in_whichever_thread() -> None:
    made = [connection_to("amqp://127.0.0.1:1/", "nobody", 10)]

    def collect() -> None:
        made.clear()
        gc.collect()

    tasks = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        await asyncio.to_thread(collect)
        made.append(connection_to("amqp://127.0.0.1:1/", "nobody", 10))
        collect()
    assert [str(one.message) for one in told if "never awaited" in str(one.message)] == []
    assert asyncio.all_tasks() == tasks
