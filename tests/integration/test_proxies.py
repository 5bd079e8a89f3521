"""The proxies of the environment, with a real one: requests to an operator's servers use them, and no others do."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from autoscaler.actuators.kubernetes.api import Resource
from autoscaler.actuators.kubernetes.connect import connect
from autoscaler.alerts import Alertmanager
from autoscaler.app import ControllerApp
from autoscaler.model import Alert, AlertKind
from autoscaler.ports import Replica
from autoscaler.settings import ControllerSettings
from autoscaler.signals.consumers import ConsumersSignal
from autoscaler.signals.prometheus import PrometheusSignal
from autoscaler.signals.rabbitmq import ManagementSignal
from cli.api import Address, Gateway, GatewayError
from core import project
from core.clock import SystemClock
from core.errors import SettingsError
from core.outgoing import Outgoing
from tests.servers.forward import forwarding
from tests.servers.http import serving
from tests.servers.tls import Authority

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def _answer(request: web.BaseRequest) -> web.Response:
    """As the management API, as Prometheus, or as a server that takes anything."""
    if request.path.startswith("/api/queues"):
        return web.json_response([])
    return web.json_response({"data": {"result": []}})


async def _all(host: str, outgoing: Outgoing) -> None:
    """Each of them once. host: scheme, name and port of all that they ask."""
    alert = Alert(AlertKind.BACKLOG, "much", "")
    await Alertmanager(f"{host}/alerts", "", SystemClock(), outgoing).tell("w", "q", alert, resolved=False)
    prometheus = PrometheusSignal(lambda: host, SystemClock(), 20, "", outgoing)
    management = ManagementSignal(lambda: host, "/", SystemClock(), 20, outgoing)
    for signal in (prometheus, management):
        await signal.open()
        assert await signal.look(["q"]) == {}
        await signal.close()
    async with Gateway(Address(host)) as gateway:
        await gateway.ask("GET", "/v1/jobs")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_alerts_prometheus_the_management_api_and_the_gateway_go_by_it(
    scheme: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that only the proxy knows: without it none of them could be reached."""
    async with serving(_answer, authority.server() if scheme == "https" else None) as server, forwarding(server) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy.url.replace("//", "//user:p%40ss@"))
        monkeypatch.setenv("HEADRACE_CA_FILE", str(authority.certificate))
        await _all(f"{scheme}://server.example:8443", Outgoing.of(str(authority.certificate)))
        assert set(proxy.asked) == {"server.example:8443"}
        assert len(proxy.asked) >= 4
        assert set(proxy.logins) == {"Basic " + b64encode(b"user:p@ss").decode()}


async def test_what_no_proxy_names_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.0.0.0 is this machine, and no loopback address, which would be reached directly anyway."""
    async with serving(_answer) as server, forwarding(server) as proxy:
        here = server.replace("127.0.0.1", "0.0.0.0")  # noqa: S104
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,0.0.0.0/32")
        await _all(here, Outgoing.of(""))
        assert proxy.asked == []
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
        await _all(here, Outgoing.of(""))
        assert set(proxy.asked) == {here.removeprefix("http://")}


async def test_pods_and_the_api_server_are_reached_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latter goes by a proxy where its own kubeconfig names one."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response({})

    async with serving(answer) as server, forwarding(server) as proxy:
        here = server.replace("127.0.0.1", "0.0.0.0")  # noqa: S104
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert Outgoing.of("").proxy(here) == proxy.url
        signal = ConsumersSignal(lambda _: [Replica("a", ready=True, metrics=f"{here}/metrics")], SystemClock(), 20, {"q": 1.0})
        await signal.open()
        assert list(await signal.look(["q"])) == ["q"]
        await signal.close()
        for asked in ({}, {"proxy-url": proxy.url}):
            config = tmp_path / "kubeconfig"
            config.write_text(json.dumps(_kubeconfig({"server": here, **asked})))
            api = await connect(str(config), "jobs")
            assert await api.call("get", Resource("", "v1", "pods"), "a", timeout=20) == {}
            await api.close()
            assert len(proxy.asked) == len(asked)


def _kubeconfig(cluster: dict[str, str]) -> dict[str, object]:
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    named = {"clusters": [{"name": "here", "cluster": cluster}], "users": [{"name": "me", "user": {"token": "t"}}]}
    return {"apiVersion": "v1", "kind": "Config", "current-context": "here", "contexts": [context], **named}


@pytest.mark.parametrize(
    ("url", "listed", "direct"),
    [
        ("http://a.example", "", False),
        ("http://a.example", "example", True),
        ("http://a.example", ".example", True),
        ("http://a.example", "*.example", True),
        ("http://a.example", " b, A.Example ", True),
        ("http://an-example", "example", False),
        ("http://example", ".example", True),
        ("http://a.example:9093", "a.example:9093", True),
        ("http://a.example:9093", "a.example:80", False),
        ("http://a.example", "*", True),
        ("http://10.1.2.3:80", "10.0.0.0/8", True),
        ("http://11.1.2.3:80", "10.0.0.0/8", False),
        ("http://10.1.2.3", "10.1.2.3", True),
        ("http://[fd00::1]:80", "fd00::/8", True),
        ("http://localhost:8080", "", True),
        ("http://127.0.0.1:8080", "", True),
        ("http://[::1]:8080", "", True),
        ("https://a.example", "", True),  # no proxy for https is named
    ],
)
def test_which_urls_go_directly(url: str, listed: str, direct: bool) -> None:
    outgoing = Outgoing("", {"http": "http://proxy:3128", "no": listed})
    assert (outgoing.proxy(url) is None) is direct


@pytest.mark.parametrize("url", ["socks5://u:secret@h:1", "http://", "proxy.example:3128:1", "http://u:secret@h:x"])
def test_a_proxy_that_cannot_be_used_stops_the_start(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    settings = ControllerSettings(alert_url="https://alerts.example")
    with pytest.raises(SettingsError, match="HTTPS_PROXY") as caught:
        ControllerApp(settings, project.catalogue())
    assert "secret" not in str(caught.value)
    with pytest.raises(GatewayError, match="HTTPS_PROXY"):
        Gateway(Address("https://gateway.example"))
    ControllerApp(ControllerSettings(), project.catalogue())  # what goes nowhere needs none
    Gateway(Address("https://localhost"))


async def test_a_proxy_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    outgoing = Outgoing.of("")
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientProxyConnectionError, match=r"127\.0\.0\.1:1"):
            await client.get("http://a.example", proxy=outgoing.proxy("http://a.example"))
