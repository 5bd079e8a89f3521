"""Servers whose certificates an authority of the company's has signed: trusted by HEADRACE_CA_FILE, refused without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, Unpack

import pytest
from aiohttp import web

from adapters import choose
from adapters.rabbitmq import RabbitMQ
from adapters.rabbitmq.bindings import Bindings
from autoscaler.alerts import Alertmanager
from autoscaler.model import Alert, AlertKind
from autoscaler.signals.prometheus import PrometheusSignal
from autoscaler.signals.rabbitmq import ManagementSignal
from cli.api import Address, Gateway, GatewayError
from core.clock import SystemClock
from core.errors import BrokerUnavailable, SettingsError, SignalError, StoreUnavailable
from core.outgoing import CA_FILE, Outgoing
from core.settings import Settings, load
from tests.contract.broker_suite import TOPOLOGY, message, publish, until
from tests.integration.command_line import run
from tests.servers.http import serving
from tests.servers.rabbitmq import RabbitMQServer
from tests.servers.redis import until as whole
from tests.servers.tls import Authority, SecretRedis


class Urls(TypedDict, total=False):
    broker: str
    outcomes: str


def _settings(ca_file: Path | None, **urls: Unpack[Urls]) -> Settings:
    return Settings(ca_file=str(ca_file or ""), connect_timeout=20, publish_timeout=20, store_timeout=20, **urls)


async def test_amqp(secret_rabbitmq: RabbitMQServer, authority: Authority) -> None:
    """The broker's two connections, the one that `headrace check` makes, and the one of bindings."""
    settings = _settings(authority.certificate, broker=secret_rabbitmq.url)
    broker = choose.broker(settings, TOPOLOGY, SystemClock())
    assert isinstance(broker, RabbitMQ)
    await broker.open()
    await publish(broker, message("over TLS"))
    broker.subscribe("one", 1, lambda _: None)
    await until(broker.consuming.up.is_set, within=20)
    await broker.advice()
    await broker.close()
    async with Bindings.at(secret_rabbitmq.url, 20, 1, settings.ca_file) as bindings:
        assert await bindings.recorded() is None


@pytest.mark.parametrize("which", ["none", "another"])
async def test_amqp_refuses_a_server_that_nobody_vouches_for(
    secret_rabbitmq: RabbitMQServer, another_authority: Authority, which: str
) -> None:
    ca_file = str(another_authority.certificate) if which == "another" else ""
    broker = choose.broker(Settings(ca_file=ca_file, broker=secret_rabbitmq.url, connect_timeout=1), TOPOLOGY, SystemClock())
    await broker.open()
    try:
        await until(lambda: CA_FILE in (broker.unready() or ""), within=20)
    finally:
        await broker.close()


async def test_what_the_url_says_of_amqp_goes_before_it(
    secret_rabbitmq: RabbitMQServer, authority: Authority, another_authority: Authority
) -> None:
    ours, other = authority.certificate, str(another_authority.certificate)
    async with Bindings.at(f"{secret_rabbitmq.url}?cafile={ours}", 20, 1, other):
        pass
    async with Bindings.at(f"{secret_rabbitmq.url}?certfile={authority.signed}&keyfile={authority.key}", 20, 1, str(ours)):
        pass
    with pytest.raises(BrokerUnavailable, match="for another name"):
        async with Bindings.at(secret_rabbitmq.url.replace("127.0.0.1", "127.0.0.2"), 20, 1, str(ours)):
            pass


@pytest.fixture(params=["single", "cluster", "sentinel"])
def secret_redis(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> Iterator[str]:
    """The URL of one server, of a cluster of one, or of a primary that one Sentinel watches; all over TLS."""
    more = ("--cluster-enabled", "yes", "--tls-cluster", "yes") if request.param == "cluster" else ()
    servers = [SecretRedis(tmp_path / "server", authority, "--appendonly", "yes", *more)]
    servers[0].start()
    url = servers[0].url
    if request.param == "cluster":
        servers[0].ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        whole(lambda: "'cluster_state': 'ok'" in str(servers[0].ask("CLUSTER INFO")), "the cluster is whole")
        url = f"rediss+cluster://127.0.0.1:{servers[0].port}"
    if request.param == "sentinel":
        servers.append(SecretRedis(tmp_path / "sentinel", authority, sentinel_of=servers[0].port))
        servers[1].start()
        url = f"rediss+sentinel://127.0.0.1:{servers[1].port}/headrace"
    yield url
    for server in servers:
        server.kill()


@pytest.mark.needs("redis")
async def test_redis(secret_redis: str, authority: Authority, another_authority: Authority) -> None:
    for trusted, works in ((authority, True), (another_authority, False), (None, False)):
        store = choose.outcomes(_settings(trusted.certificate if trusted else None, outcomes=secret_redis))
        assert store is not None
        try:
            if works:
                await store.open()
                await store.ping()
            else:
                with pytest.raises(StoreUnavailable, match=CA_FILE):
                    await store.open()
        finally:
            await store.close()


async def test_the_management_api(secret_rabbitmq: RabbitMQServer, authority: Authority) -> None:
    for outgoing, works in ((Outgoing(str(authority.certificate)), True), (Outgoing(), False)):
        signal = ManagementSignal(lambda: secret_rabbitmq.management_url, "/", SystemClock(), 20, outgoing)
        await signal.open()
        if works:
            await signal.look(["email"])
        else:
            with pytest.raises(SignalError, match=CA_FILE):
                await signal.look(["email"])
        await signal.close()


async def test_alerts_prometheus_and_the_gateway(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with the authority, and then without it."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.json_response({"data": {"result": []}})

    alert = Alert(AlertKind.BACKLOG, "much", "")
    async with serving(answer, authority.server()) as url:
        for ca_file in (str(authority.certificate), ""):
            outgoing = Outgoing(ca_file)
            await Alertmanager(f"{url}/alerts", "", SystemClock(), outgoing).tell("w", "q", alert, resolved=False)
            signal = PrometheusSignal(lambda: url, SystemClock(), 20, "", outgoing)
            await signal.open()
            monkeypatch.setenv(CA_FILE, ca_file)
            async with Gateway(Address(url)) as gateway:
                if ca_file:
                    assert await signal.look(["q"]) == {}
                    await gateway.ask("GET", "/v1/jobs")
                    assert {"/alerts", "/api/v1/query", "/v1/jobs"} == set(asked)
                    asked.clear()
                else:
                    with pytest.raises(SignalError, match=CA_FILE):
                        await signal.look(["q"])
                    with pytest.raises(GatewayError, match=CA_FILE):
                        await gateway.ask("GET", "/v1/jobs")
            await signal.close()
    assert asked == []


@pytest.mark.needs("redis")
@pytest.mark.parametrize("secret_redis", ["single"], indirect=True)
async def test_check_and_bindings_as_a_whole(
    secret_rabbitmq: RabbitMQServer, secret_redis: str, authority: Authority, another_authority: Authority
) -> None:
    """The command line on a broker, its management API and a store that are all the company's."""
    url = await asyncio.to_thread(secret_rabbitmq.vhost)
    servers = {"HEADRACE_BROKER": url, "HEADRACE_OUTCOMES": secret_redis, "HEADRACE_MANAGEMENT_URL": secret_rabbitmq.management_url}
    servers |= {"HEADRACE_REPLICATION_FACTOR": "1"}
    code, out, err = await run("check", **servers, HEADRACE_CA_FILE=str(authority.certificate))
    assert (code, "nothing to mend" in out) == (0, True), out + err
    code, out, err = await run("bindings", "--prune", **servers, HEADRACE_CA_FILE=str(authority.certificate))
    assert (code, "0 removed" in out) == (0, True), out + err
    code, out, _ = await run("check", **servers, HEADRACE_CA_FILE=str(another_authority.certificate))
    said = [line for line in out.splitlines() if line.startswith("✗") and CA_FILE in line]
    assert (code, len(said)) == (1, 2), out  # of the broker, and of the store


@pytest.mark.parametrize(
    ("held", "said"), [(None, "cannot be read: No such file"), ("", "holds no certificate"), ("x", "holds no")]
)
def test_a_file_without_certificates_stops_the_start(
    tmp_path: Path, held: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.crt"
    if held is not None:
        file.write_text(held)
    monkeypatch.setenv(CA_FILE, str(file))
    with pytest.raises(SettingsError, match=said) as caught:
        load(Settings)
    assert CA_FILE in str(caught.value)
    assert "caBundle" in str(caught.value), "the remedy"
