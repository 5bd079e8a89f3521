"""`headrace bindings`: bindings of an earlier release are removed, by the management API or by the record."""

from __future__ import annotations

import aiormq
import pytest

from adapters.rabbitmq import RabbitMQ
from adapters.rabbitmq.bindings import Bindings, of
from core import project
from core.clock import SystemClock
from core.settings import Settings
from core.topology import Topology
from tests.contract.broker_suite import message, publish, until_depth
from tests.integration.command_line import run
from tests.servers.rabbitmq import RabbitMQServer

NOW = project.catalogue().topology()
SETTINGS = Settings(connect_timeout=20, replication_factor=1)


def earlier() -> Topology:
    """An earlier release, in which one job type had a queue more."""
    return Topology({**NOW.bindings, "user.registered": (*NOW.bindings["user.registered"], "dropped")})


async def declared(url: str, topology: Topology) -> RabbitMQ:
    broker = RabbitMQ(url, topology, SETTINGS, SystemClock())
    await broker.open()
    assert broker.unready() is None
    return broker


@pytest.mark.parametrize("managed", [True, False], ids=["management", "recorded"])
async def test_jobs_go_no_longer_to_a_queue_that_no_contract_names(managed_rabbitmq: RabbitMQServer, managed: bool) -> None:
    url = managed_rabbitmq.vhost()
    await (await declared(url, earlier())).close()
    settings = {
        "HEADRACE_BROKER": url,
        "HEADRACE_OUTCOMES": "none:",
        "HEADRACE_CONNECT_TIMEOUT": "20",
        "HEADRACE_REPLICATION_FACTOR": "1",
    }
    if managed:
        settings["HEADRACE_MANAGEMENT_URL"] = managed_rabbitmq.management_url
        await _audit(url)
    else:
        code, out, _ = await run("bindings", **settings)
        assert (code, "is not known" in " ".join(out.split())) == (0, True), out
        async with Bindings.at(url, 20, 1) as then:
            await then.record(of(earlier()))
    broker = await declared(url, NOW)
    await publish(broker, message("a", "user.registered"))
    await until_depth(broker, "dropped", 1)
    code, out, _ = await run("check", **settings)
    assert (code, "bindings --prune" in " ".join(out.split())) == (1, True), out
    for _ in range(2):  # to look changes nothing
        code, out, _ = await run("bindings", **settings)
        assert (code, "jobs still go there" in out, "audit" in out) == (0, True, False), out
    late = {"HEADRACE_WORKLOADS": '[{"name": "slow", "queues": ["email"], "policy": {"drain_seconds": 19}}]'}
    code, out, _ = await run("bindings", "--prune", "--advise", **settings, **late)
    told = " ".join(out.split())
    assert (code, "dropped" in told, "points" in told, "1 removed" in told) == (0, True, False, True), out
    assert "! queue email: user.registered may run for 20 s, the drain of slow is 19 s" in told
    await publish(broker, message("b", "user.registered"))
    await until_depth(broker, NOW.bindings["user.registered"][0], 2)
    assert (await broker.depth("dropped")).ready == 1
    code, out, _ = await run("bindings", "--prune", **settings)
    assert (code, "0 removed" in out) == (0, True), out
    await broker.close()


async def _audit(url: str) -> None:
    """An operator's own queue."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    await channel.queue_declare("audit", durable=True)
    await channel.queue_bind("audit", "jobs", "#")
    await connection.close()


async def test_the_first_prune_says_what_it_recorded_and_the_next_one_removes(rabbitmq: RabbitMQServer) -> None:
    url = rabbitmq.vhost()
    settings = {"HEADRACE_BROKER": url, "HEADRACE_OUTCOMES": "none:", "HEADRACE_CONNECT_TIMEOUT": "20"}
    settings["HEADRACE_REPLICATION_FACTOR"] = "1"
    await (await declared(url, NOW)).close()
    _, out, _ = await run("bindings", **settings)
    assert "`headrace bindings --prune` has never run with this broker." in " ".join(out.split()), out
    code, out, _ = await run("bindings", "--prune", **settings)
    told = " ".join(out.split())
    assert (code, f"It has now recorded the {len(of(NOW))} bindings of this release" in told, "is not known" in told) == (
        0,
        True,
        False,
    )
    code, out, _ = await run("bindings", "--prune", **settings)
    assert (code, out.splitlines()[-1], "first" in out) == (0, "0 removed", False), out


async def test_what_is_recorded_is_read_as_often_as_one_likes(rabbitmq: RabbitMQServer) -> None:
    async with Bindings.at(rabbitmq.vhost(), 20, 1) as bindings:
        assert await bindings.recorded() is None
        await bindings.record({("a.b", "one")})
        await bindings.record({("a.b", "one"), ("a.b", "two")})
        for _ in range(3):
            assert await bindings.recorded() == {("a.b", "one"), ("a.b", "two")}
        await bindings.unbind({("a.b", "nowhere")})


async def test_the_embedded_broker_keeps_no_binding() -> None:
    code, out, _ = await run("bindings", HEADRACE_BROKER="memory:")
    assert (code, "not a RabbitMQ URL" in out) == (0, True)
