"""`headrace simulate`: policies against recorded or generated arrivals, scored in a table and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from autoscaler.simulate import Run, Score, simulate
from autoscaler.simulation import arrivals as make
from autoscaler.simulation.scenarios import SHAPES, WHOLE, Scenario, pod_hours, scenario, sizing, to_peak
from autoscaler.simulation.world import World
from cli import tune as tuning
from cli.compare import Comparison, compare, show
from cli.policies import Build, build
from jobs.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. None: as the scenario has it. compress: so many times shorter is the trace played.

    broker_rate: jobs/s that one broker takes and gives, for the sizing table. sweep: also every setting of a search.
    tune: what a late second costs, in pod-seconds; the first trace is tuned on.
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


def run(options: Options) -> None:
    """Simulate each policy on each trace; print the table, write the report. Raises SettingsError for what cannot be used."""
    console = Console()
    if options.out is not None:
        _require_matplotlib()
    builds = [build(name) for name in options.policies]
    scenarios = [_scenario(name, options) for name in options.traces]
    if options.tune is not None:
        tuning.show(scenarios[0], scenarios[1:], options.tune, options.seed, console)
        return
    sections: list[Compared] = []
    for found in scenarios:
        with console.status(f"{found.name} ..."):
            runs = [_simulated(found, make_scaler, options.seed) for make_scaler in builds]
            others = options.policies if options.sweep else ()
            comparison = compare(found, others, options.seed, knob=options.sweep or len(found.arrivals) <= _SHORT)
        sections.append(Compared(found, runs, comparison))
        console.print(_table(found, [run.score for run in runs]), "")
        if options.sweep:
            show(comparison, console)
        if found.name == "day":
            console.print(_sizing(found, options.broker_rate))
    if options.out is not None:
        _report(options.out, sections, console)
    if options.as_json:
        print(json.dumps([row for section in sections for row in _rows(section)]))  # one line, whatever the width


_SHORT: Final = 60_000  # seconds: turning our knob on a longer trace takes minutes, and is done only when asked for


class Compared(NamedTuple):
    """One trace: the runs that were asked for, and ours with its knob turned."""

    scenario: Scenario
    runs: Sequence[Run]
    comparison: Comparison


def _rows(section: Compared) -> list[dict[str, object]]:
    """A row for each run; a rival's with our pod-seconds over its own, where we are no later."""
    ratio = section.comparison.ratio
    return [
        asdict(run.score) | ({} if run.score.policy == "ours" else {"ours_at_equal_lateness": ratio(run.score)})
        for run in section.runs
    ]


def _simulated(found: Scenario, make_scaler: Build, seed: int) -> Run:
    scaler = make_scaler(found.world, found.arrivals)
    return simulate(found.world, found.arrivals, scaler, seed=seed, trace=found.name)


def _scenario(name: str, options: Options) -> Scenario:
    """By its name, or from a file; in the world that was asked for; scaled to the peak where it is a shape or that was asked."""
    found = scenario(name, options.seed) or _recorded(Path(name))
    asked = {key: getattr(options, key) for key in ("objective", "service_seconds", "concurrency", "dt")}
    world = replace(found.world, **{key: value for key, value in asked.items() if value is not None})
    arrivals = found.arrivals if options.compress == 1 else make.compressed(found.arrivals, options.compress)
    found = replace(found, world=world, arrivals=arrivals)
    if not arrivals:
        raise SettingsError(f"trace {name!r} has no arrivals")
    return to_peak(found, options.peak_replicas or 100) if found.to_scale or options.peak_replicas else found


def _recorded(path: Path) -> Scenario:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted([*SHAPES, *WHOLE]))
        raise SettingsError(f"trace {str(path)!r} is not a file that can be read ({error}), nor one of {known}") from None
    return Scenario(path.stem, World(), make.parse_trace(text), to_scale=True)


_HEADS: Final = (
    "policy",
    "late\ns",
    "p50\nwait s",
    "p95\nwait s",
    "p99\nwait s",
    "pod-\nseconds",
    "scale\nsteps",
    "most\nbacklog",
    "given\nback",
    "drain\ns",
)


def _table(found: Scenario, scores: Sequence[Score]) -> Table:
    world = found.world
    table = Table(
        title=f"{found.name}: {len(found.arrivals):,} s, peak {make.peak_rate(found.arrivals):,.0f} jobs/s;\n"
        f"a replica does {world.replica_rate:,.0f} jobs/s; late is above {world.objective:g} s",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    for name in _HEADS:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=name == "policy")
    for score in scores:
        table.add_row(score.policy, *(_short(getattr(score, field.name)) for field in fields(Score)[2:]))
    return table


def _short(value: float) -> str:
    """At most 9 characters, so that the table fits a terminal of 80; the exact figures are in the JSON."""
    if value >= 1e7:
        return f"{value / 1e6:,.1f}M"
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.2f}"


def _sizing(found: Scenario, broker_rate: float) -> Table:
    rows = sizing(found.arrivals, found.world.replica_rate)
    table = Table(title=f"Sizing at 80 % busy: {pod_hours(rows):,} pod-hours in all", title_justify="left")
    for name in ("hour", "arrivals/s", "peak/s", "replicas", "brokers"):
        table.add_column(name, justify="right")
    for row in rows:
        brokers = ceil(row.peak / broker_rate)
        table.add_row(f"{row.hour:02d}:00", f"{row.mean:,.0f}", f"{row.peak:,.0f}", f"{row.replicas:,}", f"{brokers:,}")
    table.caption = (
        f"a replica does {found.world.replica_rate:,.0f} jobs/s, a broker {broker_rate:,.0f}: give your own measured rates"
    )
    return table


def _require_matplotlib() -> None:
    """Before a simulation of minutes, not after it. Raises SettingsError."""
    try:
        import matplotlib  # noqa: F401 - asked whether it is there
    except ModuleNotFoundError:
        raise SettingsError("--out draws with matplotlib, which is not installed. Run: make report-tools") from None


def _report(out: Path, sections: Sequence[Compared], console: Console) -> None:
    from cli.report import Section, write

    files = write(out, [Section(s.scenario.name, s.scenario.world, s.runs, s.comparison.points()) for s in sections])
    console.print("written:", *(str(file) for file in files), soft_wrap=True, highlight=False)
