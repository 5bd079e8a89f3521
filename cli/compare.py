"""Ours against its rivals: at their defaults, and at every setting of a search, on each trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from cli.grids import DEFAULT, curve, our_curve
from simulator.scenarios import Scenario
from simulator.simulate import Score
from simulator.sweep import Point, better_than, least_pods, ratio_at_equal_lateness

HEADS: Final = ("policy", "at its defaults", "at its best setting", "settings tried")


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


class Row(NamedTuple):
    """A rival against ours. default, ratio: our pod-seconds over its own, at its defaults and at `best`, the setting at which it is
    cheapest beside ours; None where ours is later at every setting. ours: our setting that `best` is compared with.
    """

    policy: str
    default: float | None
    ratio: float | None
    best: Point
    ours: Point | None
    tried: int


def rows(found: Comparison) -> list[Row]:
    """One for each policy that was searched."""
    return [_row(found, name, points) for name, points in found.curves.items()]


def _row(found: Comparison, name: str, points: Sequence[Point]) -> Row:
    best = max(points, key=lambda point: found.ratio(point.score) or float("inf"))
    ours = least_pods(found.ours, best.score.late_s)
    return Row(name, found.ratio(points[0].score), found.ratio(best.score), best, ours, len(points))


def title(trace: str) -> str:
    """The meaning of the table's figures."""
    return f"{trace}: our pod-seconds ÷ theirs, with our drain target turned until we are no later"


def sentence(row: Row) -> str:
    """Its best setting in full, how late it is, and which of ours it is compared with."""
    best = f"{row.policy} at its best: {row.best.setting}: {_cost(row.best.score)}"
    return (
        f"{best}; ours is later at every setting"
        if row.ours is None
        else f"{best}; ours {row.ours.setting}: {_cost(row.ours.score)}"
    )


def told(ratio: float | None) -> str:
    return "ours is later" if ratio is None else f"{ratio:.2f}"


def _cost(score: Score) -> str:
    return f"{score.late_s:,g} s late, {score.pod_seconds:,.0f} pod-seconds"


def show(found: Comparison, console: Console) -> None:
    """For each rival: its defaults and its best setting against ours; and which of its settings beat our default in both."""
    table = Table(title=title(found.trace), title_justify="left")
    for name in HEADS:
        table.add_column(name, justify="left" if name == HEADS[0] else "right")
    for row in rows(found):
        table.add_row(row.policy, told(row.default), told(row.ratio), str(row.tried))
    console.print(table)
    for row in rows(found):
        console.print(sentence(row), highlight=False, soft_wrap=True)
    default = next(point.score for point in found.ours if point.setting == DEFAULT)
    rivals = {name: points for name, points in found.curves.items() if name != "oracle"}
    for name, point in better_than(default, rivals):
        both = _cost(point.score)
        console.print(
            f"better than our default in both: {name} {point.setting}: {both}", style="yellow", highlight=False, soft_wrap=True
        )
