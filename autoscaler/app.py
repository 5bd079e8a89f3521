"""The controller program: the only place here that names adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from adapters import choose
from autoscaler.actuators.dry_run import DryRun
from autoscaler.ahead import TakenAhead
from autoscaler.alerts import Alertmanager, Alerts
from autoscaler.controller import Controller, WorkloadController
from autoscaler.cordons import Cordons
from autoscaler.leadership import Always
from autoscaler.model import Policy
from autoscaler.ports import Actuator, AlertSink, Leadership, Replica, Signal
from autoscaler.recorder import Recorder
from autoscaler.settings import ControllerSettings, policy_of
from autoscaler.signals.consumers import ConsumersSignal
from autoscaler.signals.depth import DepthSignal
from autoscaler.signals.prometheus import PrometheusSignal
from autoscaler.signals.rabbitmq import ManagementSignal
from autoscaler.watchers import Watchers
from autoscaler.workloads import workloads_of
from core.catalogue import Catalogue
from core.clock import SystemClock
from core.errors import SettingsError
from core.outgoing import Outgoing
from telemetry import eventloop, logs, signals
from telemetry.probes import Probes
from telemetry.supervisor import Supervisor

_log = logs.get("autoscaler")


def _check_interval(interval: float, policies: Mapping[str, Policy]) -> None:
    """Raises SettingsError where figures would be too old before the next look, or a window would hold one look alone."""
    for name, policy in policies.items():
        if 2 * interval > policy.freshness:
            raise SettingsError(
                f"HEADRACE_INTERVAL={interval:g}: {name} takes figures that are older than freshness={policy.freshness:g} s for "
                f"unknown; give {policy.freshness / 2:g} at most, or more freshness in its policy"
            )
        if policy.down_window and interval > policy.down_window:
            raise SettingsError(
                f"HEADRACE_INTERVAL={interval:g}: within down_window={policy.down_window:g} s {name} would be looked at once; "
                "give a shorter interval, or a longer window in its policy"
            )


def _shared(settings: ControllerSettings) -> dict[str, Any]:
    """Fields of every policy that does not set them: processes of ours have one drain, in every program that reads it."""
    return {"drain_seconds": settings.drain_seconds} if settings.actuator == "processes" else {}


def _outgoing(settings: ControllerSettings) -> Outgoing:
    """Raises SettingsError where a URL of the settings would go by a proxy that cannot be used."""
    outgoing = Outgoing.of(settings.ca_file)
    for url in (settings.management_url, settings.prometheus_url, settings.alert_url):
        outgoing.proxy(url.get_secret_value())
    return outgoing


class Outside(NamedTuple):
    """The parts that differ between one machine and a cluster."""

    actuator: Actuator
    leadership: Leadership
    sinks: Sequence[AlertSink]


class ControllerApp:
    """One process that scales some workloads."""

    def __init__(self, settings: ControllerSettings, catalogue: Catalogue, supervisor: Supervisor | None = None) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._outgoing = _outgoing(settings)
        self._named = workloads_of(settings, catalogue)
        self._workloads = self._named.known
        self._policies = {name: policy_of(_shared(settings) | of.policy) for name, of in self._workloads.items()}
        _check_interval(settings.interval, self._policies)
        self._queues = {name: of.queues for name, of in self._workloads.items()}
        self._catalogue = catalogue
        self._stop = asyncio.Event()
        self._failed = False
        self._supervisor = supervisor or Supervisor()
        self._supervisor.give_up = self._give_up

    async def run(self) -> bool:
        """Run until SIGTERM or SIGINT; one a second later ends the process at once. False: it has ended since a task that must not
        end could not be kept running. Raises SettingsError for a port that is taken, or where there is no Kubernetes."""
        signals.listen(self._stop.set)
        async with self._outside() as outside:
            await self._run(outside)
        await self._supervisor.close()
        _log.info("stopped")
        return not self._failed

    def _give_up(self, reason: str) -> None:
        _log.critical("a task cannot be kept running; the program ends, to be started anew", why=reason)
        self._failed = True
        self._stop.set()

    async def _run(self, outside: Outside) -> None:
        settings, clock, actuator = self._settings, self._clock, outside.actuator
        drains = {queue: self._policies[name].drain_seconds for name, of in self._queues.items() for queue in of}
        consumers = ConsumersSignal(self._replicas_of(actuator), clock, settings.signal_timeout, drains)
        owner, queues = self._supervisor, [q for of in self._queues.values() for q in of]
        watchers = Watchers(self._signals(consumers), queues, clock, settings.interval, owner)
        recorder = Recorder(choose.journal(settings, clock, owner), owner)
        alerts = Alerts([*self._sinks(), *outside.sinks], clock, owner)
        controller = Controller(
            [self._workload(name, watchers, actuator, recorder, alerts, consumers) for name in self._workloads],
            watchers,
            outside.leadership,
            clock,
            settings.interval,
            owner,
        )
        probes = Probes(
            settings.controller_host,
            settings.controller_port,
            lambda: owner.wrong,
            lambda: self._not_ready(actuator),
            {},
            owner,
            "HEADRACE_CONTROLLER",
        )
        probes.open()
        async with signals.unless(self._stop):
            for opened in (actuator, recorder, watchers, outside.leadership, controller):
                await opened.open()
        watch = owner.start("event loop", eventloop.watch)
        self._named.warn(", ".join(self._catalogue.topology().queues))
        _log.info("controlling", workloads={name: list(of) for name, of in self._queues.items()}, dry_run=settings.dry_run)
        await self._stop.wait()
        await controller.close()
        for part in (outside.leadership, watchers, recorder, alerts, actuator, probes):  # the lead first: another one may take over
            await part.close()
        await watch.stop()

    def _workload(
        self, name: str, watchers: Watchers, actuator: Actuator, recorder: Recorder, alerts: Alerts, consumers: ConsumersSignal
    ) -> WorkloadController:
        policies: Mapping[str, Policy] = dict.fromkeys(self._queues[name], self._policies[name])
        drain = self._policies[name].drain_seconds
        return WorkloadController(
            name,
            policies,
            watchers,
            actuator,
            recorder,
            alerts,
            Cordons(consumers.runs, None if self._settings.dry_run else consumers.cordon, self._clock, drain),
            self._clock,
            dry_run=self._settings.dry_run,
            trace_url=self._settings.trace_url,
            ahead=TakenAhead(consumers.runs, None if self._settings.dry_run else consumers.take_nothing_ahead, self._clock),
        )

    @asynccontextmanager
    async def _outside(self) -> AsyncIterator[Outside]:
        """The actuator that starts consumers, and the election. Watches wait for a Kubernetes API that cannot be reached now."""
        settings = self._settings
        if settings.actuator == "processes":
            from autoscaler.actuators.processes import Processes

            folder, owner = Path(settings.registry), self._supervisor
            drains = {name: policy.drain_seconds for name, policy in self._policies.items()}
            processes = Processes(self._queues, folder, drains=drains, clock=self._clock, supervisor=owner)
            yield Outside(self._maybe_dry(processes), Always(), [])
            return
        from autoscaler.actuators.kubernetes import EventSink, Kubernetes, Lease, connect

        api = await connect(namespace=settings.namespace)
        try:
            kubernetes = Kubernetes(
                api, list(self._workloads), metrics_port=settings.consumer_port, clock=self._clock, supervisor=self._supervisor
            )
            lease = Lease(api, settings.lease_name, clock=self._clock, supervisor=self._supervisor)
            yield Outside(self._maybe_dry(kubernetes), lease, [EventSink(kubernetes)])
        finally:
            await api.close()

    def _maybe_dry(self, actuator: Actuator) -> Actuator:
        return DryRun(actuator) if self._settings.dry_run else actuator

    def _signals(self, consumers: ConsumersSignal) -> list[Signal]:
        """The broker's depths first: they are true at the moment of asking. The management API's figures are 5 s old."""
        settings, clock = self._settings, self._clock
        broker = choose.broker(settings, self._catalogue.topology(), clock, self._supervisor)
        signals: list[Signal] = [DepthSignal(broker, clock, settings.signal_timeout), consumers]
        if settings.management():
            vhost = unquote(urlsplit(settings.broker.get_secret_value()).path[1:]) or "/"
            signals.append(ManagementSignal(settings.management, vhost, clock, settings.signal_timeout, self._outgoing))
        if settings.prometheus_url.get_secret_value():
            url, selector = settings.prometheus_url.get_secret_value, settings.prometheus_selector
            signals.append(PrometheusSignal(url, clock, settings.signal_timeout, selector, self._outgoing))
        return signals

    def _sinks(self) -> list[AlertSink]:
        url = self._settings.alert_url.get_secret_value()
        return [Alertmanager(url, self._settings.trace_url, self._clock, self._outgoing)] if url else []

    def _replicas_of(self, actuator: Actuator) -> Replicas:
        return Replicas(actuator, {queue: name for name, queues in self._queues.items() for queue in queues})

    def _not_ready(self, actuator: Actuator) -> list[str]:
        """With processes of our own we are ready when they are; pods have probes of their own."""
        reasons = []
        for name, policy in self._policies.items():
            workload = actuator.seen(name)
            if workload is None:
                reasons.append(f"{name}: nothing is known of it")
            elif self._settings.actuator == "processes" and not self._settings.dry_run and not _enough(workload.replicas, policy):
                reasons.append(f"{name}: its first consumers are not ready yet")
        return reasons


class Replicas:
    """The replicas that consume a queue, as the actuator sees them now."""

    def __init__(self, actuator: Actuator, workload_of: Mapping[str, str]) -> None:
        self._actuator = actuator
        self._workload_of = workload_of

    def __call__(self, queue: str) -> Sequence[Replica] | None:
        """None while nothing is known of the workload: that is not the same as none."""
        workload = self._actuator.seen(self._workload_of[queue])
        return None if workload is None else workload.replicas


def _enough(replicas: Sequence[Replica], policy: Policy) -> bool:
    return sum(replica.ready for replica in replicas) >= policy.min_replicas
