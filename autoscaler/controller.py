"""The controller: for each workload, again and again, observe, decide, act, record."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping, Sequence

import orjson

from autoscaler import state as states
from autoscaler.ahead import TakenAhead
from autoscaler.alerts import Alerts
from autoscaler.cordons import Cordons
from autoscaler.decide import decide
from autoscaler.model import UNKNOWN, Decision, Pause, Policy
from autoscaler.ports import Actuator, Leadership, Workload
from autoscaler.recorder import Recorder
from autoscaler.records import Verdict, measure, record_of, unmeasure
from autoscaler.state import State
from autoscaler.watchers import Watchers
from core.clock import Clock
from core.errors import ActuatorError, StoreUnavailable
from telemetry import logs, metrics
from telemetry.supervisor import Beat, Supervised, Supervisor

_log = logs.get("autoscaler.controller")

# A poll without a result after this number of intervals is not waited for.
_OVERDUE = 1.5


class WorkloadController:
    """One workload. policies: by queue. A decision is about its active replicas; `cordons` knows those on their way out."""

    def __init__(
        self,
        name: str,
        policies: Mapping[str, Policy],
        watchers: Watchers,
        actuator: Actuator,
        recorder: Recorder,
        alerts: Alerts,
        cordons: Cordons,
        clock: Clock,
        *,
        dry_run: bool,
        trace_url: str,
        ahead: TakenAhead | None = None,
    ) -> None:
        self.name = name
        self._policies = policies
        self._watchers = watchers
        self._actuator = actuator
        self._recorder = recorder
        self._alerts = alerts
        self._cordons = cordons
        self._ahead = ahead
        self._clock = clock
        self._dry_run = dry_run
        self._trace_url = trace_url
        self._states: dict[str, State] = {}
        self._complained = ""
        metrics.SCALE_ERRORS.labels(name)  # from 0, so that the first one is an increase

    async def begin(self) -> None:
        """Take the lead: the learned state is loaded, and without it no replica is removed at first."""
        self._cordons.begin()
        for queue, policy in self._policies.items():
            self._states[queue] = await self._found(queue, policy)

    def end(self) -> None:
        """The lead is lost: this controller's last observations and decisions are out of date."""
        self._alerts.forget(self.name)
        unmeasure(self.name, self._policies)

    async def step(self) -> None:
        """One round."""
        workload = self._actuator.seen(self.name)
        if workload is None:
            self._complain("the workload is not there, or nothing is known of it")
            return
        before, active = dict(self._states), self._cordons.active(workload)
        verdicts = [self._decided(queue, active) for queue in self._policies]
        leader = max(verdicts, key=lambda verdict: verdict.decision.replicas)
        if leader.decision.replicas >= active.asked:
            self._shrink_later(before)
        blind = any(verdict.decision.backlog is UNKNOWN for verdict in verdicts)
        scaled, error = await self._act(workload, active, leader.decision, blind=blind)
        self._record(workload, verdicts, leader, scaled, error)
        if self._ahead is not None:
            await self._ahead.settle(workload, self._policies)

    def _decided(self, queue: str, workload: Workload) -> Verdict:
        seen = self._watchers.observation(queue, workload)
        began = self._clock.steady()
        decision, self._states[queue] = decide(self._policies[queue], self._states[queue], seen, began)
        metrics.DECISION_SECONDS.observe(self._clock.steady() - began)
        return Verdict(queue, seen, decision)

    def failed(self, error: Exception) -> None:
        """A round ended by a mistake, ours or an adapter's."""
        metrics.SCALE_ERRORS.labels(self.name).inc()
        self._complain(f"{type(error).__name__}: {error}", traceback=True)

    def _shrink_later(self, before: Mapping[str, State]) -> None:
        """A queue that wanted fewer than another one has taken none away: it waits for no cooldown.

        Otherwise the cooldowns of two idle queues could take turns, and each would hold what the other lets go, for ever.
        """
        for queue, state in self._states.items():
            self._states[queue] = state._replace(down_at=before[queue].down_at)

    async def _act(self, workload: Workload, active: Workload, decision: Decision, *, blind: bool) -> tuple[int | None, str]:
        """The desired replicas that the workload was set to, or None; and why they could not be set, or "".

        blind: a backlog is not known. Then nothing is removed, whatever was cordoned when it was.
        """
        hold = blind or workload.pause in (Pause.ALL, Pause.IN)
        replicas, first = await self._cordons.towards(workload, active, decision.replicas, hold=hold)
        if replicas == workload.asked:
            self._complain("")
            return None, ""
        why = decision.text if decision.replicas != active.asked else f"{len(first)} cordoned replicas run nothing for longer"
        try:
            await self._actuator.scale(self.name, replicas, first, why)
        except ActuatorError as error:
            metrics.SCALE_ERRORS.labels(self.name).inc()
            self._complain(str(error))
            return None, str(error)
        self._complain("")
        if self._dry_run:
            return None, ""
        self._cordons.removed(first)
        return replicas, ""

    def _record(self, workload: Workload, verdicts: Sequence[Verdict], leader: Verdict, scaled: int | None, error: str) -> None:
        now, cordoned = self._clock.steady(), self._cordons.standing
        for verdict in verdicts:
            measure(workload, leader.decision.replicas, cordoned, verdict)
            decision = verdict.decision
            self._alerts.update(self.name, verdict.queue, decision.alerts, blind=decision.backlog is UNKNOWN)
            record = record_of(
                verdict,
                workload,
                now,
                scaled=scaled,
                cordoned=cordoned,
                dry_run=self._dry_run,
                error=error,
                trace_url=self._trace_url,
            )
            kept = states.saved(self._states[verdict.queue], now) | {"alerts": self._alerts.standing(self.name, verdict.queue)}
            self._recorder.note(record, orjson.dumps(kept).decode())

    async def _found(self, queue: str, policy: Policy) -> State:
        now = self._clock.steady()
        try:
            kept = await self._recorder.recall(queue)
            if kept is not None:
                values = orjson.loads(kept[0])
                found = states.restored(values, now, kept[1])
                self._alerts.adopt(self.name, queue, values.get("alerts", ()))  # 0.1.0 kept none
                return found
        except (StoreUnavailable, KeyError, TypeError, ValueError) as error:
            _log.warning("what was learned before is not found; starting anew", queue=queue, why=f"{type(error).__name__}: {error}")
        return states.fresh(now, policy.down_window)

    def _complain(self, why: str, *, traceback: bool = False) -> None:
        """Say it when it changes, not in every round."""
        if why and why != self._complained:
            _log.error("cannot scale", workload=self.name, why=why, exc_info=traceback)
        self._complained = why


class Controller:
    """All workloads, each in a loop of its own, as long as this controller has the lead."""

    def __init__(
        self,
        workloads: Sequence[WorkloadController],
        watchers: Watchers,
        leadership: Leadership,
        clock: Clock,
        interval: float,
        supervisor: Supervisor | None = None,
    ) -> None:
        """interval: seconds between two rounds of one workload. supervisor: the program's, which keeps them coming."""
        self._workloads = workloads
        self._watchers = watchers
        self._leadership = leadership
        self._clock = clock
        self._interval = interval
        self._supervisor = supervisor or Supervisor()
        self._rounds: list[Supervised] = []
        self._led: set[str] = set()  # names of the workloads that are led: also by a loop that begins again

    async def open(self) -> None:
        for one in self._workloads:
            work = functools.partial(self._loop, one)
            self._rounds.append(self._supervisor.start(f"workload {one.name}", work, patience=max(30.0, 10 * self._interval)))

    async def close(self) -> None:
        await asyncio.gather(*(one.stop() for one in self._rounds))

    async def _loop(self, workload: WorkloadController, beat: Beat) -> None:
        if not self._watchers.rounds:  # a decision before the first look would be about nothing
            await self._until(self._watchers.looked)
        while True:
            beat()
            looked = self._watchers.looked  # of before the round: a look that ends within it is not missed
            leads = self._leadership.leading
            metrics.LEADING.set(leads)
            if leads:
                await self._round(workload)
            elif workload.name in self._led:
                self._led.remove(workload.name)
                workload.end()
            await self._until(looked)

    async def _round(self, workload: WorkloadController) -> None:
        """An error of one workload is logged; its next round tries again."""
        began = self._clock.steady()
        try:
            if workload.name not in self._led:
                await workload.begin()
                self._led.add(workload.name)
            await workload.step()
        except Exception as error:
            workload.failed(error)
        metrics.TICK_SECONDS.observe(self._clock.steady() - began)

    async def _until(self, looked: asyncio.Event) -> None:
        """Until the signals have looked, so that a decision is about this moment; or until no look has ended for long.

        Looks are jittered: to wait for less than the longest pause would decide twice, once on figures of the last look.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval * _OVERDUE):
                await looked.wait()
