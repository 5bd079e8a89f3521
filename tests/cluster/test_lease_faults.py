"""Leader election and the actuator against a real API server that is killed, or stalls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from autoscaler.actuators.kubernetes import Lease, connect
from core.errors import ActuatorError
from tests.cluster.steps import aside, opened, seen, until
from tests.servers.kubernetes import Namespace


class Tunnel:
    """A TCP port in front of the API server, which can be made to pass nothing on."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.passing = asyncio.Event()
        self.passing.set()
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.passing.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            behind, ahead = await asyncio.open_connection(*self._target)
            await asyncio.gather(self._pass(reader, ahead), self._pass(behind, writer), return_exceptions=True)
            for end in (ahead, writer):
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while some := await reader.read(65536):
                await self.passing.wait()
                writer.write(some)
                await writer.drain()
        finally:
            writer.transport.abort()


def _through(namespace: Namespace, port: int, folder: Path) -> str:
    whole = json.loads(namespace.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    whole["clusters"][0]["cluster"] |= {"server": f"https://127.0.0.1:{port}", "tls-server-name": "kubernetes"}
    (folder / "tunnel").write_text(json.dumps(whole))
    return str(folder / "tunnel")


async def _tunnel(namespace: Namespace) -> Tunnel:
    whole = json.loads(namespace.kubectl("config", "view", "--minify", "--output=json"))
    at = urlsplit(whole["clusters"][0]["cluster"]["server"])
    tunnel = Tunnel(str(at.hostname), at.port or 443)
    await tunnel.open()
    return tunnel


class Watcher:
    """Looks every 5 ms who leads; two at once fail the test at its end."""

    def __init__(self, leases: Sequence[Lease]) -> None:
        self._leases = leases
        self.most = 0
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, sum(lease.leading for lease in self._leases))
            await asyncio.sleep(0.005)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        assert self.most <= 1


async def _timed(condition: Callable[[], object], seconds: float) -> float:
    began = time.monotonic()
    await until(condition, seconds, 0.005)
    return time.monotonic() - began


async def test_one_of_two_leads_and_hands_over(namespace: Namespace, record_property: Callable[[str, object], None]) -> None:
    api = await connect(namespace.cluster.kubeconfig, namespace.name)
    first, second, third = leases = [Lease(api, "controller", identity=name) for name in ("first", "second", "third")]
    watcher = Watcher(leases)
    await first.open()
    record_property("first_s", await _timed(lambda: first.leading, 5.0))
    await second.open()
    await asyncio.sleep(2.0)
    assert not second.leading
    await first.close()
    took = await _timed(lambda: second.leading, 5.0)
    record_property("clean_stop_s", took)
    print(f"take-over after a clean stop: {took:.2f} s")
    await third.open()
    await asyncio.sleep(2.0)
    assert second._standing is not None
    await second._standing.stop()  # as a kill: it renews no more, and releases nothing
    took = await _timed(lambda: third.leading, 30.0)  # its lease of 10 s, and as much again for a busy machine
    record_property("kill_s", took)
    print(f"take-over after a kill: {took:.2f} s")
    spec = namespace.get("lease", "controller")["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("third", 2)
    await watcher.end()
    await third.close()
    assert "holderIdentity" not in namespace.get("lease", "controller")["spec"]
    await api.close()


async def test_a_connection_that_stalls_is_noticed_and_made_anew(namespace: Namespace, tmp_path: Path) -> None:
    namespace.workload("email", 0)
    tunnel = await _tunnel(namespace)
    kubeconfig = _through(namespace, tunnel.port, tmp_path)
    async with opened(namespace, "email", kubeconfig=kubeconfig, period=2.0) as actuator:
        lease = Lease(actuator._api, "controller")
        await lease.open()
        await until(lambda: lease.leading and actuator.seen("email"))
        tunnel.passing.clear()
        stalled = time.monotonic()
        with pytest.raises(ActuatorError, match=r"within 4 s|did not answer"):
            await asyncio.wait_for(actuator.scale("email", 1, [], "more"), 15.0)
        await until(lambda: not lease.leading, 7.0)
        await until(lambda: actuator._followed["email"].down, 10.0)
        assert seen(actuator, "email").at <= stalled + 0.1
        tunnel.passing.set()
        await until(lambda: lease.leading and seen(actuator, "email").at > stalled + 1.0, 15.0)
        await actuator.scale("email", 2, [], "more")
        await lease.close()
    await tunnel.close()


async def test_an_api_server_that_is_killed_and_comes_back(namespace: Namespace) -> None:
    namespace.workload("email", 1)
    cluster = namespace.cluster
    async with opened(namespace, "email") as actuator:
        leases = [Lease(actuator._api, "controller") for _ in range(2)]
        watcher = Watcher(leases)
        for lease in leases:
            await lease.open()
        await until(lambda: any(lease.leading for lease in leases) and actuator.seen("email"))
        try:
            await aside(cluster.component, "stop", "kube-apiserver", "KILL")
            killed = time.monotonic()
            gave_up = await _timed(lambda: not any(lease.leading for lease in leases), 7.0)
            with pytest.raises(ActuatorError, match="did not answer"):
                await actuator.scale("email", 2, [], "more")
            await asyncio.sleep(20.0 - (time.monotonic() - killed))
            assert seen(actuator, "email").at <= killed
            assert not any(lease.leading for lease in leases)
        finally:
            await aside(cluster.component, "start", "kube-apiserver")
        back = await _timed(lambda: seen(actuator, "email").at > killed, 40.0)
        led = await _timed(lambda: any(lease.leading for lease in leases), 20.0)
        print(f"gave up after {gave_up:.2f} s; view {back:.2f} s after the start, leader {led:.2f} s later")
        await actuator.scale("email", 2, [], "more")
        assert (await aside(namespace.get, "deployment", "email"))["spec"]["replicas"] == 2
        await watcher.end()
        for lease in leases:
            await lease.close()
