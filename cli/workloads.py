"""The workload that `headrace simulate` plays: from a name, a file, or a queue's own past; in the world that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console

from autoscaler.settings import is_selector
from cli.history import past, seconds_of
from core.clock import SystemClock, from_rfc3339, rfc3339
from core.errors import SettingsError
from simulator import arrivals as make
from simulator.discrete import Job
from simulator.fixed import replicas_for
from simulator.followed import Consumers
from simulator.scenarios import SHAPES, WHOLE, Scenario, scenario, to_peak
from simulator.sizes import LIMIT, Sizes, by_second, drawn, parse_jobs, parse_sizes
from simulator.world import World

MOST_JOBS: Final = 1_000_000  # that are followed: 10 s and 500 MB for each policy
_CONCURRENCY: Final = 32  # HEADRACE_CONCURRENCY's default: how many jobs a consumer runs at once
_LONG: Final = 60.0  # seconds: consumers take no job ahead of a queue with a longer time limit


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line. None: as the scenario has it. compress: the factor by which the trace is played faster.

    broker_rate: jobs/s that one broker takes and gives, for the sizing table. sweep: also every setting of a search.
    tune: what a late second costs, in pod-seconds; the first trace is tuned on.
    engine: fluid or discrete. sizes: how long jobs take, a law or a CSV file. prefetch: jobs that a replica holds at most, 0 is as
    consumers have it. time_limit, drain_seconds: seconds. lasting: consumers report how long their runs last.
    prometheus: the URL of a server, from whose metrics the past of `queue` is taken, `since` long, until `until` (RFC 3339).
    """

    traces: Sequence[str]
    policies: Sequence[str]
    out: Path | None = None
    as_json: bool = False
    peak_replicas: int | None = None
    objective: float | None = None
    service_seconds: float | None = None
    concurrency: int | None = None
    dt: float | None = None
    compress: int = 1
    seed: int = 0
    sweep: bool = False
    tune: float | None = None
    broker_rate: float = 6000.0
    engine: str | None = None
    sizes: str | None = None
    prefetch: int = 0
    time_limit: float | None = None
    drain_seconds: float | None = None
    startup: tuple[float, float] | None = None
    max_replicas: int | None = None
    lasting: bool = True
    prometheus: str | None = None
    queue: str | None = None
    since: str = "7d"
    until: str | None = None
    selector: str = ""


def startup_of(text: str | None) -> tuple[float, float] | None:
    """Two numbers with a comma between. Raises SettingsError."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"--startup {text}: write two seconds, the lower first, as in 1,7") from None
    return low, high


def scenarios(options: Options, console: Console) -> list[Scenario]:
    """One for each trace; or one for a queue's past, or for a file of jobs. Raises SettingsError and PrometheusError."""
    _require_consistent(options)
    if options.prometheus is not None:
        return [_from_past(options, console)]
    text = _jobs_file(options.sizes)
    if text is not None:
        return [_from_jobs(options, text, console)]
    if not options.traces:
        raise SettingsError("--jobs with a law says how long jobs take, and not when they come: give --trace")
    sizes = None if options.sizes is None else parse_sizes(options.sizes)
    return [_from_trace(name, options, sizes, console) for name in options.traces]


def _require_consistent(options: Options) -> None:
    if options.engine not in (None, "fluid", "discrete"):
        raise SettingsError(f"--engine {options.engine}: there are fluid and discrete")
    if options.service_seconds is not None and options.sizes is not None:
        raise SettingsError("--service-seconds and --jobs both say how long a job takes: give one of them")
    if options.prometheus is not None and (options.queue is None or options.traces or options.sizes):
        raise SettingsError("--from-prometheus takes arrivals and durations of one --queue: no --trace, no --jobs beside it")
    if options.prometheus is None and (options.queue is not None or options.until is not None):
        raise SettingsError("--queue and --until belong to --from-prometheus")
    if not is_selector(options.selector):
        raise SettingsError(f"--selector {options.selector}: write label matchers as in PromQL, with commas between")


def _world(world: World, options: Options) -> World:
    names = ("objective", "service_seconds", "concurrency", "dt", "drain_seconds", "startup", "max_replicas")
    asked = {name: getattr(options, name) for name in names}
    return replace(world, **{name: value for name, value in asked.items() if value is not None})


def _from_trace(name: str, options: Options, sizes: Sizes | None, console: Console) -> Scenario:
    """By its name, or from a file; scaled to the peak where it is a shape or that was asked."""
    found = scenario(name, options.seed) or _recorded(Path(name))
    world = _world(found.world, options)
    if sizes is not None:
        world = replace(world, service_seconds=sizes.mean, service_cv=min(10.0, sizes.cv))
    arrivals = found.arrivals if options.compress == 1 else make.compressed(found.arrivals, options.compress)
    found = replace(found, world=world, arrivals=arrivals)
    if not arrivals:
        raise SettingsError(f"trace {name!r} has no arrivals")
    if found.to_scale or options.peak_replicas:
        found = to_peak(found, options.peak_replicas or 100)
        found = replace(found, world=_world(found.world, replace(options, service_seconds=None)))
    if (options.engine or ("fluid" if sizes is None else "discrete")) == "fluid":
        return found
    return _followed(found, sizes or parse_sizes(str(world.service_seconds)), options, console)


def _followed(found: Scenario, sizes: Sizes, options: Options, console: Console) -> Scenario:
    count = sum(found.arrivals)
    if count > MOST_JOBS:
        raise _too_many(found.name, count)
    jobs = drawn(found.arrivals, sizes, Random(options.seed), options.time_limit or LIMIT)
    return _with(found, jobs, options, console)


def _too_many(name: str, count: float) -> SettingsError:
    return SettingsError(
        f"{name}: {count:,.0f} jobs are too many to follow each, {MOST_JOBS:,} is the most: use --engine fluid, fewer "
        "--peak-replicas, --compress or a shorter --since"
    )


def _with(found: Scenario, jobs: Sequence[Job], options: Options, console: Console) -> Scenario:
    """The same with its jobs, and with as many seconds after the last arrival as the longest job needs to end."""
    taken = [min(job.takes, job.limit) for job in jobs]
    broken = sum(job.takes > job.limit for job in jobs)
    if broken:
        console.print(f"{found.name}: {broken:,} jobs reach their time limit, at which a run ends as failed", highlight=False)
    prefetch = options.prefetch or (1 if (options.time_limit or max(taken, default=0.0)) > _LONG else 2) * found.world.concurrency
    tail = ceil(max(taken, default=0.0)) if max(taken, default=0.0) > found.world.objective else 0
    how = Consumers(prefetch, takeable=options.lasting)
    return replace(found, arrivals=[*found.arrivals, *[0.0] * tail], jobs=jobs, how=how)


def _jobs_file(sizes: str | None) -> str | None:
    if sizes is None or not (sizes.endswith(".csv") or Path(sizes).is_file()):
        return None
    try:
        # Spreadsheets put a byte order mark before UTF-8.
        return Path(sizes).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--jobs {sizes}: the file cannot be read: {error}") from None


def _from_jobs(options: Options, text: str, console: Console) -> Scenario:
    """From a file with each job's arrival and duration."""
    if options.traces or options.peak_replicas or options.compress != 1:
        raise SettingsError("--jobs with a CSV file has the arrivals too: no --trace, --peak-replicas or --compress beside it")
    jobs = parse_jobs(text, options.time_limit or LIMIT)
    mean = sum(job.takes for job in jobs) / len(jobs)
    cv = sqrt(sum((job.takes - mean) ** 2 for job in jobs) / len(jobs)) / mean
    name = Path(options.sizes or "jobs").stem
    found = _as_large_as_needed(Scenario(name, World(service_seconds=mean, service_cv=min(10.0, cv)), by_second(jobs)), options)
    if options.engine == "fluid":
        return found
    if len(jobs) > MOST_JOBS:
        raise _too_many(name, len(jobs))
    return _with(found, jobs, options, console)


def _from_past(options: Options, console: Console) -> Scenario:
    queue = options.queue or ""
    until = SystemClock().wall() if options.until is None else _moment(options.until)
    with console.status(f"{queue}: asking Prometheus ..."):
        found = asyncio.run(past(options.prometheus or "", queue, seconds_of(options.since), until, options.selector))
    sizes, count = found.sizes, sum(found.arrivals)
    engine = options.engine or ("discrete" if count <= MOST_JOBS else "fluid")
    said = f"{queue}: {count:,.0f} runs since {rfc3339(found.begin)}, {sizes.mean:.3g} s in the mean; engine {engine}"
    console.print(said, highlight=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"  {note}", highlight=False, soft_wrap=True)
    world = World(
        concurrency=_CONCURRENCY, service_seconds=sizes.mean, service_cv=min(10.0, sizes.cv), start_wall=found.begin
    )  # as consumers have it
    arrivals = found.arrivals if options.compress == 1 else make.compressed(found.arrivals, options.compress)
    scenario = _as_large_as_needed(Scenario(queue, world, arrivals), options)
    return scenario if engine == "fluid" else _followed(scenario, sizes, options, console)


def _as_large_as_needed(found: Scenario, options: Options) -> Scenario:
    """It begins with what its first minutes need; twice what the peak needs is the most, where no other is given."""
    world = _world(found.world, options)
    window = ceil(max(5.0, world.service_seconds))
    peak = max(1, ceil(make.peak_rate([*found.arrivals, *[0.0] * window], window) / world.replica_rate))
    most = options.max_replicas or 2 * peak
    first = max(300, window)
    initial = min(most, replicas_for(world, sum(found.arrivals[:first]) / first))
    return replace(found, world=replace(world, max_replicas=most, initial=initial))


def _moment(text: str) -> float:
    try:
        return from_rfc3339(text)
    except ValueError:
        raise SettingsError(f"--until {text}: write a moment as 2026-01-31T09:30:00Z") from None


def _recorded(path: Path) -> Scenario:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted([*SHAPES, *WHOLE]))
        raise SettingsError(f"trace {str(path)!r} is not a file that can be read ({error}), nor one of {known}") from None
    return Scenario(path.stem, World(), make.parse_trace(text), to_scale=True)
