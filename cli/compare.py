"""Ours against its rivals: at their defaults, and at every setting of a search, on each trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from autoscaler.simulate import Score
from autoscaler.simulation.scenarios import Scenario
from autoscaler.sweep import Point, better_than, ratio_at_equal_lateness
from cli.grids import DEFAULT, curve, our_curve


@dataclass(frozen=True, slots=True)
class Comparison:
    """One trace. ours: our knob turned. curves: of each other policy, its documented defaults first."""

    trace: str
    ours: Sequence[Point]
    curves: Mapping[str, Sequence[Point]]

    def ratio(self, score: Score) -> float | None:
        """Our pod-seconds over another's, where we are no later; rounded, for people and for JSON."""
        found = ratio_at_equal_lateness(self.ours, score)
        return None if found is None else round(found, 3)

    def points(self) -> list[Score]:
        """All scores, each named by its policy and setting, for the plot."""
        named = {"ours": self.ours, **self.curves}
        return [replace(p.score, policy=f"{name} {p.setting}") for name, points in named.items() for p in points]


def compare(scenario: Scenario, policies: Sequence[str], seed: int, *, knob: bool) -> Comparison:
    """policies: those to search, as they are called in `cli/policies.py`. knob: whether to turn ours."""
    curves = {name: curve(name, scenario, seed) for name in policies if name != "ours" and not name.startswith("fixed")}
    return Comparison(scenario.name, our_curve(scenario, seed) if knob else (), curves)


def show(found: Comparison, console: Console) -> None:
    """For each rival: its defaults and its best setting against ours; and which of its settings beat our default in both."""
    table = Table(title=f"{found.trace}: our pod-seconds ÷ theirs, where we are no later", title_justify="left")
    for name in ("policy", "at its defaults", "at its best setting", "which is", "settings tried"):
        table.add_column(name, justify="left" if name in ("policy", "which is") else "right")
    for name, points in found.curves.items():
        worst = max(points, key=lambda point: found.ratio(point.score) or float("inf"))
        table.add_row(name, _ratio(found.ratio(points[0].score)), _ratio(found.ratio(worst.score)), worst.setting, str(len(points)))
    console.print(table)
    default = next(point.score for point in found.ours if point.setting == DEFAULT)
    rivals = {name: points for name, points in found.curves.items() if name != "oracle"}
    for name, point in better_than(default, rivals):
        both = f"{point.score.late_s:g} s late and {point.score.pod_seconds:,.0f} pod-seconds"
        console.print(f"better than our default in both: {name} {point.setting}: {both}", style="yellow", highlight=False)


def _ratio(value: float | None) -> str:
    return "never so punctual" if value is None else f"{value:.2f}"
