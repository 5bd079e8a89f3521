"""Alerts: sent once, repeated, ended once; and posted to a real HTTP server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from autoscaler.alerts import CALM_SECONDS, REMIND_SECONDS, Alertmanager, Alerts
from autoscaler.model import Alert, AlertKind
from core.clock import ManualClock, SystemClock
from tests.servers import free_port
from tests.servers.http import serving
from tests.unit.controlled import Ear, sample

SLOW = Alert(AlertKind.LATENCY, "mean latency 6.0 s is above 5 s", "4bf92f3577b34da6a3ce929d0e0e4736")
FULL = Alert(AlertKind.AT_MAX, "more than max_replicas=10 are wanted")


class Standing:
    """Alerts of the queue `jobs`, decided about every two seconds."""

    def __init__(self) -> None:
        self.clock, self.ear = ManualClock(), Ear()
        self.alerts = Alerts([self.ear], self.clock)

    async def decided(self, *alerts: Alert, seconds: float = 2.0, blind: bool = False) -> list[tuple[str, bool]]:
        """The notices sent during `seconds` of decisions with these alerts."""
        heard = len(self.ear.heard)
        for _ in range(int(seconds / 2)):
            self.clock.advance(2.0)
            self.alerts.update("work", "jobs", alerts, blind=blind)
        await self.alerts.close()  # waits for the notices that are under way
        return self.ear.kinds[heard:]


async def test_told_once_when_it_begins_and_once_when_it_has_been_over_for_a_while() -> None:
    standing = Standing()
    with capture_logs() as logs:
        assert await standing.decided(SLOW) == [("latency", False)]
        assert await standing.decided(SLOW, seconds=40) == []
        assert sample("headrace_scaling_alert", queue="jobs", kind="latency") == 1
        assert await standing.decided(seconds=CALM_SECONDS) == [], "not over yet"
        assert await standing.decided() == [("latency", True)]
        assert await standing.decided(seconds=100) == []
        assert sample("headrace_scaling_alert", queue="jobs", kind="latency") == 0
    assert [(line["event"], line["trace_id"]) for line in logs] == [("alert", SLOW.trace_id), ("resolved", SLOW.trace_id)]


async def test_what_is_not_known_is_not_over() -> None:
    standing, dark = Standing(), Alert(AlertKind.BLIND, "nothing is known")
    assert await standing.decided(SLOW) == [("latency", False)]
    assert await standing.decided(dark, seconds=CALM_SECONDS + 10, blind=True) == [("blind", False)]
    assert ("latency", False) in await standing.decided(dark, seconds=REMIND_SECONDS, blind=True), "sinks are reminded"
    told = await standing.decided(seconds=CALM_SECONDS + 10)
    assert sorted(told) == [("blind", True), ("latency", True)]


async def test_one_that_comes_and_goes_is_one() -> None:
    standing = Standing()
    told = []
    for _ in range(10):
        told += await standing.decided(SLOW)
        told += await standing.decided(seconds=CALM_SECONDS - 10)
    assert [resolved for _, resolved in told if not resolved][:1] == [False]
    assert ("latency", True) not in told


async def test_sinks_are_reminded_and_the_log_is_not() -> None:
    standing = Standing()
    with capture_logs() as logs:
        await standing.decided(SLOW)
        assert await standing.decided(SLOW, seconds=3 * REMIND_SECONDS) == [("latency", False)] * 3
    assert len(logs) == 1


async def test_each_kind_and_each_queue_stands_alone() -> None:
    standing = Standing()
    assert await standing.decided(SLOW, FULL) == [("latency", False), ("at-max", False)]
    standing.alerts.update("work", "other", [SLOW])
    assert await standing.decided(FULL, seconds=CALM_SECONDS + 2) == [("latency", False), ("latency", True)]
    assert {(workload, queue) for workload, queue, _, _ in standing.ear.heard} == {("work", "jobs"), ("work", "other")}


class Receiver:
    """Answers each post with the next of these statuses, and then with the last one."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.got: list[Any] = []
        self.arrived = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.got.append(await request.json())
        self.arrived.set()
        return web.Response(status=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


async def test_alertmanager_gets_it_after_a_refusal_with_the_trace_and_later_its_end() -> None:
    receiver = Receiver(500, 200)
    async with serving(receiver.answer) as url:
        sink = Alertmanager(f"{url}/api/v2/alerts", "https://tempo.example/trace/{trace_id}", ManualClock())
        await sink.tell("work", "jobs", SLOW, resolved=False)
        await sink.tell("work", "jobs", SLOW, resolved=True)
    refused, told, resolved = (document for (document,) in receiver.got)
    link = f"https://tempo.example/trace/{SLOW.trace_id}"
    assert refused == told
    assert told == {
        "labels": {"alertname": "HeadraceLatency", "workload": "work", "queue": "jobs"},
        "annotations": {"summary": SLOW.text, "trace": link},
        "generatorURL": link,
    }
    assert resolved == told | {"endsAt": "2025-06-15T15:06:40.000Z"}, "the same labels: the same alert"


async def test_without_a_template_the_bare_trace_id_is_shown_and_without_a_trace_nothing() -> None:
    receiver = Receiver(200)
    async with serving(receiver.answer) as url:
        sink = Alertmanager(url, "", ManualClock())
        await sink.tell("work", "jobs", SLOW, resolved=False)
        await sink.tell("work", "jobs", FULL, resolved=False)
    (slow,), (full,) = receiver.got
    assert (slow["annotations"]["trace"], slow["generatorURL"]) == (SLOW.trace_id, "")
    assert full["labels"]["alertname"] == "HeadraceAtMax"
    assert "trace" not in full["annotations"]


@pytest.mark.parametrize("listening", [True, False])
async def test_what_cannot_be_posted_is_logged_and_nothing_is_raised(listening: bool) -> None:
    receiver = Receiver(503)
    with capture_logs() as logs:
        async with serving(receiver.answer) as url:
            await Alertmanager(url if listening else f"http://127.0.0.1:{free_port()}", "", SystemClock()).tell(
                "work", "jobs", FULL, resolved=False
            )
    assert len(receiver.got) == (3 if listening else 0)
    assert [(line["event"], line["kind"]) for line in logs] == [("an alert could not be posted", "at-max")]
