"""Alerts: sent once when they begin and once when they end, however often a decision carries them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import aiohttp

from autoscaler.model import Alert, AlertKind
from autoscaler.ports import AlertSink
from core.clock import Clock, rfc3339
from core.outgoing import Outgoing, untrusted
from telemetry import logs, metrics
from telemetry.supervisor import Supervisor

_log = logs.get("autoscaler.alerts")

# An alert that comes and goes within this number of seconds is one alert: its end is reported only after it.
# A saturated downstream is tried again every two minutes, and stands the test for half a minute: that is no end of it.
CALM_SECONDS = 60.0
# Alertmanager takes an alert for over 5 minutes after it was last posted (`resolve_timeout`): sinks are reminded before.
REMIND_SECONDS = 120.0
_PLAIN = Outgoing()


class Alerts:
    """Knows which alerts stand. Metric and log line are always written; sinks are further receivers."""

    def __init__(self, sinks: Sequence[AlertSink], clock: Clock, supervisor: Supervisor | None = None) -> None:
        self._sinks = sinks
        self._supervisor = supervisor or Supervisor()
        self._clock = clock
        self._standing: dict[tuple[str, str, AlertKind], tuple[Alert, float, float]] = {}  # last carried, last sent
        self._telling: set[asyncio.Task[None]] = set()

    def update(self, workload: str, queue: str, alerts: Sequence[Alert], *, blind: bool = False) -> None:
        """Take the alerts of a decision. Returns at once: sinks are notified in the background.

        blind: of the queue nothing is known, so that nothing is known to be over.
        """
        now = self._clock.steady()
        if blind:
            said = {alert.kind for alert in alerts}
            alerts = [*alerts, *(alert for alert in self._of(workload, queue) if alert.kind not in said)]
        for alert in alerts:
            key = (workload, queue, alert.kind)
            told = self._standing[key][2] if key in self._standing else now
            if key not in self._standing:
                self._announce(workload, queue, alert, resolved=False)
            elif now - told >= REMIND_SECONDS:
                self._tell(workload, queue, alert, resolved=False)
                told = now
            self._standing[key] = (alert, now, told)
        for key, (alert, last, _) in list(self._standing.items()):
            if key[:2] == (workload, queue) and now - last > CALM_SECONDS:
                del self._standing[key]
                self._announce(workload, queue, alert, resolved=True)

    def standing(self, workload: str, queue: str) -> list[list[str]]:
        """Those that stand, as plain values, for the controller that decides next."""
        return [[alert.kind.value, alert.text, alert.trace_id] for alert in self._of(workload, queue)]

    def _of(self, workload: str, queue: str) -> list[Alert]:
        return [alert for key, (alert, *_) in self._standing.items() if key[:2] == (workload, queue)]

    def adopt(self, workload: str, queue: str, kept: Sequence[Sequence[str]]) -> None:
        """Take over the alerts of another controller: the end of one that no decision carries any more is reported as for ours.
        Raises TypeError or ValueError for what `standing` has not given."""
        now = self._clock.steady()
        for kind, text, trace_id in kept:
            alert = Alert(AlertKind(kind), str(text), str(trace_id))
            # It is unknown when the other controller last reminded of it: the first decision that carries it does.
            self._standing.setdefault((workload, queue, alert.kind), (alert, now, now - REMIND_SECONDS))
            metrics.ALERTS.labels(queue, alert.kind.value).set(1)

    def forget(self, workload: str) -> None:
        """Another controller decides about it now, and tells what stands. Its metrics must not stand here as well."""
        for key in [key for key in self._standing if key[0] == workload]:
            del self._standing[key]
            metrics.ALERTS.labels(key[1], key[2].value).set(0)

    async def close(self) -> None:
        if self._telling:
            await asyncio.wait(self._telling, timeout=5.0)

    def _announce(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        metrics.ALERTS.labels(queue, alert.kind.value).set(0 if resolved else 1)
        word = "resolved" if resolved else "alert"
        _log.warning(word, workload=workload, queue=queue, kind=alert.kind.value, text=alert.text, trace_id=alert.trace_id or None)
        self._tell(workload, queue, alert, resolved=resolved)

    def _tell(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        for sink in self._sinks:
            task = self._supervisor.once("alert", sink.tell(workload, queue, alert, resolved=resolved))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)


class Alertmanager:
    """Posts to Alertmanager's API v2, or to any webhook that takes its list of alerts. outgoing: by what way."""

    def __init__(self, url: str, trace_url: str, clock: Clock, outgoing: Outgoing = _PLAIN) -> None:
        self._url = url
        self._trace_url = trace_url
        self._clock = clock
        self._outgoing = outgoing

    async def tell(self, workload: str, queue: str, alert: Alert, *, resolved: bool) -> None:
        body = [alert_document(workload, queue, alert, self._trace_url, self._clock.wall(), resolved=resolved)]
        for pause in (0.5, 2.0, 0.0):
            try:
                status = await self._post(body)
                if status < 300:
                    return
                why = f"status {status}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: the file of authorities has changed
                why = f"{type(error).__name__}: {error}{untrusted(error)}"
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        _log.error("an alert could not be posted", kind=alert.kind.value, queue=queue, why=why)

    async def _post(self, body: list[dict[str, object]]) -> int:
        connector, timeout = aiohttp.TCPConnector(ssl=self._outgoing.context()), aiohttp.ClientTimeout(5.0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
            client.post(self._url, json=body, proxy=self._outgoing.proxy(self._url)) as answer,
        ):
            return answer.status


def alert_document(workload: str, queue: str, alert: Alert, trace_url: str, now: float, *, resolved: bool) -> dict[str, object]:
    """One alert of Alertmanager's API v2 (postableAlert). now: Unix seconds."""
    trace = trace_link(trace_url, alert.trace_id)
    document: dict[str, object] = {
        "labels": {"alertname": f"Headrace{alert.kind.value.title().replace('-', '')}", "workload": workload, "queue": queue},
        "annotations": {"summary": alert.text} | ({"trace": trace} if trace else {}),
        "generatorURL": trace if "://" in trace else "",
    }
    if resolved:
        document["endsAt"] = rfc3339(now)
    return document


def trace_link(template: str, trace_id: str) -> str:
    """The link to a trace, or its bare id where there is no template, or "" where there is no trace."""
    return template.replace("{trace_id}", trace_id) if template and trace_id else trace_id
