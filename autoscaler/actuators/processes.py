"""Consumers as local processes: for one machine, and for `headrace up`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from autoscaler.actuators.lock import FolderLock, Taken, unusable
from autoscaler.actuators.pace import Pace
from autoscaler.actuators.process import KeptProcess, Program
from autoscaler.actuators.reasons import cut, together
from autoscaler.ports import Replica, Workload
from autoscaler.settings import takes_one
from core.clock import Clock
from core.errors import ActuatorError, SettingsError
from telemetry import logs
from telemetry.supervisor import Supervisor

_log = logs.get("autoscaler.processes")

# More processes than this on one machine are a mistake in a policy, not a wish.
MOST = 256
# A controller whose `headrace up` was killed gives its folder up when it begins to drain, within the sum of these seconds.
_TAKEN_PAUSES = (0.5, 1.0, 2.0)


class Processes:
    """queues: by workload. folder: gets a file for each process that runs (name, pid, URL), and the logs.

    Of a workload `job/NAME` each process takes one delivery and ends. It is not started again, however it ended; none is stopped.
    """

    def __init__(
        self,
        queues: Mapping[str, Sequence[str]],
        folder: Path,
        *,
        drains: Mapping[str, float],
        clock: Clock,
        supervisor: Supervisor | None = None,
    ) -> None:
        """drains: by workload, the seconds that its consumers have for their runs at the end. supervisor: the program's."""
        self._supervisor = supervisor or Supervisor()
        self._queues = queues
        self._folder = folder
        self._drains = drains
        self._lock = FolderLock(folder / "controller.lock")
        self._clock = clock
        self._kept: dict[str, dict[str, KeptProcess]] = {workload: {} for workload in queues}
        self._paces = {workload: Pace() for workload in queues if takes_one(workload)}
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises SettingsError where another controller has the folder, or where it cannot be made."""
        await self._take()
        for stale in self._folder.glob("*.json"):
            stale.unlink(missing_ok=True)

    async def close(self) -> None:
        """Drain every consumer. The next controller need not wait for that."""
        self._lock.release()
        for workload in self._kept:
            self._end(workload, list(self._kept[workload]))
        if self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)

    def seen(self, workload: str) -> Workload | None:
        kept = self._kept.get(workload)
        if kept is None:
            return None
        replicas = tuple(Replica(name, process.ready, _url(process)) for name, process in kept.items())
        pace = self._paces.get(workload)
        return Workload(
            workload,
            len(kept),
            replicas,
            self._clock.steady(),
            unschedulable="" if pace is None else pace.failure,
            ends_itself=pace is not None,
            unready=together("process", "processes", (cut(process.unready) for process in kept.values())),
        )

    async def scale(self, workload: str, replicas: int, idlest: Sequence[str], why: str) -> None:
        kept = self._kept.get(workload)
        if kept is None:
            raise ActuatorError(f"there is no workload {workload!r}; there are: {', '.join(self._kept)}")
        if replicas > MOST:
            raise ActuatorError(f"{workload}: {replicas} processes on one machine are more than {MOST}; lower max_replicas")
        pace = self._paces.get(workload)
        if pace is not None and (replicas <= len(kept) or pace.holds(self._clock.steady())):
            return
        _log.info("scaling", workload=workload, asked=len(kept), replicas=replicas, why=why)
        for _ in range(replicas - len(kept)):
            await self._begin(workload)
        # Of processes that no caller ranked the youngest go first: they have the least to lose.
        order = [name for name in idlest if name in kept]
        order += [name for name in reversed(kept) if name not in order]
        self._end(workload, order[: max(0, len(kept) - replicas)])

    async def _begin(self, workload: str) -> None:
        taken = {name for kept in self._kept.values() for name in kept}
        name = next(name for n in itertools.count(1) if (name := f"{workload.replace('/', '-')}-{n}") not in taken)
        port = _free_port()
        once = workload in self._paces
        program = Program(
            name,
            ("-m", "consumer", "--queues", ",".join(self._queues[workload]), *(("--once",) if once else ())),
            {
                "HEADRACE_PROBE_PORT": str(port),
                "HEADRACE_PROBE_HOST": "127.0.0.1",
                "HEADRACE_DRAIN_SECONDS": str(self._drains[workload]),
            },
            self._folder / f"{name}.log",
            f"http://127.0.0.1:{port}/readyz",
        )
        note = self._folder / f"{name}.json"

        def born(pid: int) -> None:
            note.write_bytes(orjson.dumps({"name": name, "pid": pid, "url": f"http://127.0.0.1:{port}"}))

        ended = self._ender(workload, name) if once else None
        process = KeptProcess(program, said=_log.warning, born=born, supervisor=self._supervisor, ended=ended)
        self._kept[workload][name] = process
        try:
            await process.start()
        except OSError as error:
            del self._kept[workload][name]
            raise ActuatorError(f"{workload}: no process could be started: {error}") from None

    def _ender(self, workload: str, name: str) -> Callable[[int], None]:
        def ended(code: int) -> None:
            process = self._kept[workload].get(name)
            if process is None:
                return
            self._paces[workload].ended(self._clock.steady(), well=code == 0)
            if code:
                _log.warning("a process for one delivery failed", process=name, code=code, last_words=process.last_words())
            self._end(workload, [name])

        return ended

    def _end(self, workload: str, names: Sequence[str]) -> None:
        for name in names:
            process = self._kept[workload].pop(name)
            task = self._supervisor.once(f"drain of {name}", self._drained(name, process, self._drains[workload]))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _drained(self, name: str, process: KeptProcess, drain: float) -> None:
        (self._folder / f"{name}.json").unlink(missing_ok=True)
        await process.stop(drain)

    async def _take(self) -> None:
        """Hold the folder alone: two controllers would write over each other's notes, and have twice the consumers."""
        setting = f"HEADRACE_REGISTRY={self._folder}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for pause in _TAKEN_PAUSES:
                with contextlib.suppress(Taken):
                    return self._lock.take()
                await asyncio.sleep(pause)
            self._lock.take()
        except Taken as who:
            what = f"a controller has this folder already, {who}; stop that one, or name another folder"
            raise SettingsError(f"{setting}: {what}") from None
        except OSError as error:
            raise unusable(setting, error) from None


def _url(process: KeptProcess) -> str:
    return (process.program.ready or "").replace("/readyz", "/metrics")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
