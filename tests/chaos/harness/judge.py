"""The fate of every job, and of every program, once the harm is undone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from types import TracebackType

from tests.chaos.harness import effects
from tests.chaos.harness.harm import Harm
from tests.chaos.harness.load import Job, Load
from tests.chaos.harness.system import QUEUES, System

_QUIET_WITHIN = 120.0  # heartbeats, leases, backoffs and retries, one after another
_READY_WITHIN = 60.0
# RabbitMQ counts what is in its queues every 5 s: one count may be from before the last job was published. The longest takes 2 s.
_STATISTICS = 8.0
_MOST_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """programs: whose promise it breaks."""

    programs: tuple[str, ...]
    what: str


Left = Callable[[], Awaitable[dict[str, int]]]


class Judge:
    """One load on one system, after one harm. left: how many messages there are, by queue, those that are not 0."""

    def __init__(self, system: System, load: Load, harm: Harm, left: Left) -> None:
        self._system, self._load, self._harm, self._left = system, load, harm, left
        self.findings: list[Finding] = []

    async def judge(self) -> list[Finding]:
        late = await self._system.unready(_READY_WITHIN)
        for program in late:
            self._find(f"{program.name}: not ready {_READY_WITHIN:g} s after; {program.last_lines(3)[-600:]}", _kind(program.name))
        letters = await self._until_quiet()
        self._answers()
        self._lost(letters)
        await self._stuck(letters)
        await self._repeated()
        return self.findings

    def figures(self) -> dict[str, object]:
        """The figures of the run, good or bad."""
        answers, runs = self._load.answers, effects.read(self._system.effects, self._load.name)
        during = [a for a in answers if a.method == "POST" and self._harm.began_at <= a.at <= self._harm.healed_at]
        return {
            "jobs": len(self._load.jobs),
            "during": dict(Counter(answer.status for answer in during)),
            "broken off": sum(run.ended is None for of in runs.values() for run in of),
            "run again": sum(len(of) > 1 for of in runs.values()),
        }

    def _find(self, what: str, *programs: str) -> None:
        self.findings.append(Finding(programs, what))

    # ------------------------------------------------------------------------------------------------------------ waiting

    async def _until_quiet(self) -> set[effects.Key]:
        """Wait until every accepted delivery is done, for a bounded time; the dead letters by then."""
        letters: set[effects.Key] = set()
        empty_since: float | None = None
        async with _deadline(_QUIET_WITHIN):
            while self._missing(letters):
                await asyncio.sleep(0.5)
                if not self._missing(letters) or await self._left():
                    empty_since = None
                    continue
                letters = await self._dead()
                empty_since = empty_since or asyncio.get_running_loop().time()
                if self._harm.broker_forgets and asyncio.get_running_loop().time() - empty_since > _STATISTICS:
                    break  # what it forgot does not come any more
        return letters

    def _missing(self, letters: Collection[effects.Key]) -> list[tuple[Job, str]]:
        """Accepted jobs that have neither an effect nor a dead letter."""
        runs = effects.read(self._system.effects, self._load.name)
        wanted = [(job, (job.job_id, queue)) for job in self._load.jobs if job.job_id for queue in QUEUES[job.job_type]]
        return [(job, key[1]) for job, key in wanted if key not in letters and not effects.done(runs.get(key, ()))]

    async def _dead(self) -> set[effects.Key]:
        assert self._system.client is not None
        found: set[effects.Key] = set()
        cursor = ""
        while True:
            path = f"/v1/dead-letters?limit=200{f'&cursor={cursor}' if cursor else ''}"
            status, page = await self._system.gateway.ask(self._system.client, path)
            if status != 200:
                return found
            found |= {(item["job_id"], item["queue"]) for item in page["items"]}
            if not (cursor := page["cursor"]):
                return found

    # ------------------------------------------------------------------------------------------------------------ promises

    def _answers(self) -> None:
        """202 or 503, each within its bound; a request that a client repeated was accepted in the end."""
        welcome = {"POST": {202, 503}, "GET": {200, 404, 503}}
        broken = {0} if "gateway" in self._harm.kills + self._harm.stops else set()
        wrong = Counter(
            (answer.method, answer.status, answer.said)
            for answer in self._load.answers
            if answer.status not in welcome[answer.method] | broken
        )
        if wrong:
            self._find(f"answers that are neither 202 nor 503, or late (0): {wrong.most_common(_MOST_SHOWN)}", "gateway")
        refused = [job.n for job in self._load.jobs if job.job_id is None]
        if refused:
            self._find(f"{len(refused)} jobs were never accepted, of {len(self._load.jobs)}: {refused[:_MOST_SHOWN]}", "gateway")

    def _lost(self, letters: Collection[effects.Key]) -> None:
        lost = self._missing(letters)
        if self._harm.broker_forgets:  # a job that it had confirmed, and forgot with everything else
            lost = [(job, queue) for job, queue in lost if (job.accepted or 0) > self._harm.healed_at]
        if lost:
            shown = [(job.job_id, queue) for job, queue in lost[:_MOST_SHOWN]]
            self._find(f"lost: {len(lost)} deliveries were accepted and not done, such as {shown}", "gateway", "consumer")

    async def _stuck(self, letters: Collection[effects.Key]) -> None:
        left: dict[str, int] = {}
        async with _deadline(30):
            while left := await self._left():
                await asyncio.sleep(1.0)
        if left:
            self._find(f"stuck: messages are left in {left}", "consumer")
        open_: list[str] = []
        async with _deadline(20):
            while open_ := await self._open():
                await asyncio.sleep(1.0)
        if open_:
            self._find(f"stuck: {len(open_)} records are not settled, such as {open_[:_MOST_SHOWN]}", "consumer")

    async def _open(self) -> list[str]:
        """Records of accepted jobs that have not ended."""
        assert self._system.client is not None
        found = []
        for job in self._load.jobs:
            if job.job_id is None or self._may_be_forgotten(job):
                continue
            status, document = await self._system.gateway.ask(self._system.client, f"/v1/jobs/{job.job_id}")
            states = {d["queue"]: d["state"] for d in document["deliveries"]} if status == 200 else {}
            if any(states.get(queue) not in ("succeeded", "dead") for queue in QUEUES[job.job_type]):
                found.append(f"{job.job_id}: {states or status}")
        return found

    def _may_be_forgotten(self, job: Job) -> bool:
        forgets = self._harm.broker_forgets or self._harm.store_forgets
        return forgets and (job.accepted or 0) <= self._harm.healed_at

    async def _repeated(self) -> None:
        """A second effect is excused by a run that was broken off, a program that was killed, or a claim that was lost."""
        killed = self._harm.killed
        runs = effects.read(self._system.effects, self._load.name)
        ends = {key: sum(run.effect for run in of) for key, of in runs.items()}
        repeated = [
            key
            for key, of in runs.items()
            if ends[key] > 1 and not any(run.ended is None or run.pid in killed for run in of) and not self._excused(of[0].began)
        ]
        lost = await self._claims_lost()
        if len(repeated) > lost:
            shown = [(key, [(r.pid, r.attempt, r.began, r.ended) for r in runs[key]]) for key in repeated[:_MOST_SHOWN]]
            self._find(f"repeated: {len(repeated)} effects, where {lost:g} claims were lost: {shown}", "consumer")

    def _excused(self, began: float) -> bool:
        """A store that came back empty has none of the records from before."""
        return self._harm.store_forgets and began <= self._harm.healed_at

    async def _claims_lost(self) -> float:
        assert self._system.client is not None
        total = 0.0
        for program in self._system.of("consumer"):
            _, text = await program.ask(self._system.client, "/metrics")
            lines = [line for line in str(text).splitlines() if line.startswith("headrace_claims_lost_total{")]
            total += sum(float(line.rpartition(" ")[2]) for line in lines)
        return total


def _kind(program: str) -> str:
    return program.partition("-")[0]


class _deadline:  # noqa: N801 - reads as asyncio.timeout does, and ends the block in silence
    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            return True
        return False
