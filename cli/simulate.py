"""`headrace simulate`: policies against recorded or generated arrivals, scored in a table and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cli import tune as tuning
from cli import workloads
from cli.compare import Comparison, compare, rows, show
from cli.policies import ORACLE, build
from cli.workloads import Options
from core.errors import SettingsError
from simulator import arrivals as make
from simulator.scenarios import Scenario, pod_hours, sizing
from simulator.simulate import Run, Score
from simulator.sweep import bound_of, run_of


def run(options: Options) -> None:
    """Simulate each policy on each trace; print the table, write the report. Raises SettingsError for what cannot be used."""
    console = Console()
    if options.out is not None:
        _require_matplotlib()
    for name in options.policies:
        if name != ORACLE:
            build(name)  # an unknown one is refused before anything is read or computed
    scenarios = workloads.scenarios(options, console)
    for found in scenarios:
        for name in options.policies:
            if name != ORACLE:
                build(name)(found.world, found.arrivals)  # a fleet that is too large is refused before anything is computed
    if options.tune is not None:
        tuning.show(scenarios[0], scenarios[1:], options.tune, options.seed, console)
        return
    sections: list[Compared] = []
    for found in scenarios:
        with console.status(f"{found.name} ..."):
            runs = [_simulated(found, name, options.seed) for name in options.policies]
            others = options.policies if options.sweep else ()
            comparison = compare(found, others, options.seed, knob=options.sweep or _is_short(found))
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
_FEW: Final = 20_000  # jobs, where each is followed: the same


def _is_short(found: Scenario) -> bool:
    return len(found.arrivals) <= _SHORT and len(found.jobs or ()) <= _FEW


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


def _simulated(found: Scenario, name: str, seed: int) -> Run:
    if name == ORACLE:
        return bound_of(found, seed)
    return run_of(found, build(name)(found.world, found.arrivals), seed)


_HEADS: Final = (
    "policy",
    "late\ns",
    "p50\nwait s",
    "p95\nwait s",
    "p99\nwait s",
    "pod-\nsec.",
    "scale\nactions",
    "max\nbacklog",
    "re-\nturned",
    "drain\ns",
    "late\njobs",
)


def _table(found: Scenario, scores: Sequence[Score]) -> Table:
    world, peak = found.world, _rate(make.peak_rate(found.arrivals))
    table = Table(
        title=f"{found.name}: {len(found.arrivals):,} s, peak {peak} jobs/s (highest mean of 5 s);\n"
        f"a replica does {_rate(world.replica_rate)} jobs/s; late is above {world.objective:g} s",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
        pad_edge=False,
    )
    for name in _HEADS:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=name == "policy")
    for score in scores:
        table.add_row(score.policy, *(_short(getattr(score, field.name)) for field in fields(Score)[2:]))
    return table


def _short(value: float) -> str:
    """At most 6 characters, so that the table fits a terminal of 80; the exact figures are in the JSON."""
    for least, unit, letter in ((1e6, 1e6, "M"), (1e5, 1e3, "k")):
        if value >= least - 0.5:
            return f"{value / unit:.{2 if value < 9.995 * unit else 1 if value < 99.95 * unit else 0}f}{letter}"
    return f"{value:,.0f}" if value >= 99.995 or value == int(value) else f"{value:.2f}"


def _rate(value: float) -> str:
    """Jobs/s, of which a replica may do fewer than one."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


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

    def section(of: Compared) -> Section:
        return Section(
            trace=of.scenario.name,
            world=of.scenario.world,
            runs=of.runs,
            more=of.comparison.points(),
            followed=of.scenario.jobs is not None,
            compared=rows(of.comparison),
            peak=make.peak_rate(of.scenario.arrivals),
        )

    files = write(out, [section(of) for of in sections])
    console.print("written:", *(str(file) for file in files), soft_wrap=True, highlight=False)
