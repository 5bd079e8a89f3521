"""The pictures of a simulation: its course over time, and what each policy costs for how late it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO, StringIO
from itertools import cycle
from math import log10
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from simulator.simulate import Run, Score, Series

# Okabe and Ito's palette, which the colour-blind can tell apart; a policy has the same colour in every picture.
_COLOURS: Final[Mapping[str, str]] = {
    "ours": "#0072b2",
    "keda": "#d55e00",
    "kpa": "#009e73",
    "practo": "#cc79a7",
    "oracle": "#222222",
    "fixed": "#8a8a8a",
}
_OTHERS: Final = ("#e69f00", "#56b4e9", "#7b5ea7", "#a0522d")
_DASHES: Final[Mapping[str, str]] = {"oracle": "--", "fixed": ":"}
_MARKS: Final = "Ds^vPX*"  # ours has the dot
_LINEAR: Final = 100  # jobs: a backlog up to this one is drawn on a linear axis
_POINTS: Final[dict[str, Any]] = {"markersize": 7, "linewidth": 1.3, "alpha": 0.9, "clip_on": False}
_STYLE: Final[dict[Any, Any]] = {  # matplotlib types the keys as one literal each
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "lines.solid_joinstyle": "round",
    "svg.fonttype": "none",  # text stays text: it can be searched, and the file is a third of the size
    "font.family": "sans-serif",
}


def family(policy: str) -> str:
    """The first word of a policy's name: its settings follow."""
    return policy.split(maxsplit=1)[0]


def colours(policies: Iterable[str]) -> dict[str, str]:
    """A colour for each family."""
    names = list(dict.fromkeys(family(policy) for policy in policies))
    strangers = [name for name in names if name not in _COLOURS]
    return {name: _COLOURS.get(name) or _OTHERS[strangers.index(name) % len(_OTHERS)] for name in names}


def course(runs: Sequence[Run]) -> Figure:
    """Arrivals, each run's backlog, and the replicas of all, on one time axis. Thin lines are the replicas that run."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 6.4 + 0.85 * len(runs)), layout="constrained")
        rates, *backlogs, replicas = figure.subplots(2 + len(runs), 1, sharex=True, height_ratios=(1.6, *[0.85] * len(runs), 3.8))
        colour = colours(run.score.policy for run in runs)
        length = _length(runs[0].series)
        divisor, unit = _time_unit(length)
        _arrivals(rates, runs[0].series, divisor)
        for run, axes in zip(runs, backlogs, strict=True):
            _backlog(axes, run, colour[family(run.score.policy)], divisor)
            _backlog_scale(axes, max(run.score.max_backlog for run in runs), linear=_is_low(runs))
            _replicas(replicas, run, colour[family(run.score.policy)], divisor)
        scale = "" if _is_low(runs) else " (logarithmic from 10 jobs on)"
        backlogs[0].set_title(f"Backlog: jobs waiting and in handlers{scale}")
        _label(
            replicas, "Replicas asked for (thin: those that run, with those that take no more and end what they run)", "replicas"
        )
        replicas.set_xlabel(f"time ({unit})")
        replicas.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 3, 6, 10] if unit == "h" else [1, 2, 5, 10]))
        replicas.set_xlim(0, length / divisor)
        figure.legend(*replicas.get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
        return figure


def _arrivals(axes: Axes, series: Series, divisor: float) -> None:
    axes.fill_between(_over(series.at, divisor), series.arrivals, step="post", color="#8fa9b8", linewidth=0)
    _label(axes, "Arrivals", "jobs/s")
    some = [rate for rate in series.arrivals if rate] or [0.0]
    most, mean = max(some), sum(some) / len(some)
    if most > 20 * mean:  # a burst beside which the rest would be a flat line
        axes.set_yscale("symlog", linthresh=max(1.0, mean / 6), linscale=0.3)
        axes.set_ylim(0, most * 1.4)
        _decades(axes, [10.0**power for power in range(2, 10) if 10.0**power <= max(100.0, most)])
        axes.set_title(f"Arrivals (logarithmic from {max(1.0, mean / 6):.2g} jobs/s on)")


def _is_low(runs: Sequence[Run]) -> bool:
    return max(run.score.max_backlog for run in runs) <= _LINEAR


def _backlog(axes: Axes, run: Run, colour: str, divisor: float) -> None:
    at, series = _over(run.series.at, divisor), run.series
    axes.fill_between(at, series.backlog, step="post", color=colour, alpha=0.35, linewidth=0)
    axes.plot(at, series.backlog, drawstyle="steps-post", color=colour, linewidth=0.9)
    axes.set_ylabel(run.score.policy, rotation=0, ha="right", va="center", color=colour, fontweight="bold", labelpad=8)


def _replicas(axes: Axes, run: Run, colour: str, divisor: float) -> None:
    name, at = run.score.policy, _over(run.series.at, divisor)
    kind = family(name)
    width, order = (2.0, 5.0) if kind == "ours" else (1.1, 3.0) if kind in _DASHES else (1.4, 4.0)
    dash = _DASHES.get(kind, "-")
    label = "oracle (the load)" if kind == "oracle" else name
    axes.plot(at, run.series.asked, dash, drawstyle="steps-post", color=colour, linewidth=width, zorder=order, label=label)
    axes.plot(at, run.series.ready, dash, drawstyle="steps-post", color=colour, linewidth=0.6, zorder=2.5, alpha=0.6)


def _backlog_scale(axes: Axes, most: int, *, linear: bool) -> None:
    """The same for all runs: linear, or with a place for 0 and for 100,000, and a tick at every second decade, the highest too."""
    if linear:
        axes.set_ylim(0, max(2, most * 1.15))
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return
    axes.set_yscale("symlog", linthresh=10, linscale=0.3)
    axes.set_ylim(0, most * 1.5)
    _decades(axes, [10.0**power for power in range(int(log10(most)), 0, -2)])


def _decades(axes: Axes, ticks: Sequence[float]) -> None:
    """Ticks of a scale from 0."""
    axes.set_yticks([0.0, *sorted(ticks)])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_SHORT)


def cost(scores: Sequence[Score], *, joined: bool = True) -> Figure:
    """Late seconds against pod-seconds: down and to the left is better. joined: a line through the points of a family of which one
    parameter is turned, cheapest first; with several parameters a line would jump between them, and where each job is drawn,
    neighbours differ by chance: neither is a curve."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(11, 6), layout="constrained")
        axes = figure.subplots()
        found = colours(score.policy for score in scores)
        marks = {"ours": "o"} | dict(zip((name for name in found if name != "ours"), cycle(_MARKS), strict=False))
        for name, colour in found.items():
            points = sorted((score.pod_seconds, score.late_s) for score in scores if family(score.policy) == name)
            x, y = zip(*points, strict=True)
            line = _DASHES.get(name, "-") if joined and len(points) > 1 and _one_parameter(name, scores) else "none"
            axes.plot(x, y, linestyle=line, marker=marks[name], color=colour, label=name, **_POINTS)
        _label(
            axes,
            "What being in time costs: down and to the left is better",
            "seconds in which the oldest job was late (logarithmic from 1 s on)",
        )
        axes.set_xlabel("pod-seconds")
        axes.xaxis.set_major_formatter(_SHORT)
        axes.set_yscale("symlog", linthresh=1, linscale=0.4)
        axes.yaxis.set_major_formatter(_SHORT)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=6, frameon=False)
        if caption := caption_of(scores):
            figure.supxlabel(caption, fontsize=9.5, color="#555555")
        return figure


def _one_parameter(name: str, scores: Sequence[Score]) -> bool:
    """Of a name such as "keda value=20 polling=5" the parameters are value and polling."""
    words = [word for score in scores if family(score.policy) == name for word in score.policy.split()[1:]]
    return len({word.partition("=")[0] for word in words if "=" in word}) <= 1


def caption_of(scores: Sequence[Score]) -> str:
    """The meaning of the marks in a picture of costs, where a policy has several; "" where each has one."""
    settings: dict[str, set[str]] = {}
    for score in scores:
        settings.setdefault(family(score.policy), set()).add(score.policy)
    many = {name for name, of in settings.items() if len(of) > 1 and name != "fixed"}
    ours = ["Each dot is our policy with another drain target."] if "ours" in many else []
    rivals = ["Each other mark is a rival with another setting."] if many - {"ours"} else []
    return " ".join(ours + rivals)


def svg(figure: Figure, salt: str) -> str:
    """As an <svg> element to stand in a page: no prologue, no metadata; the same for the same figure. salt: keeps ids apart."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def png(figure: Figure) -> bytes:
    """As a picture file, 1,540 points wide."""
    with mpl.rc_context(_STYLE):
        out = BytesIO()
        figure.savefig(out, format="png", dpi=140)
    return out.getvalue()


def _label(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_ylim(bottom=0)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(_SHORT)


def _length(series: Series) -> float:
    """Seconds, to the end of the last stretch."""
    return 2 * series.at[-1] - series.at[-2] if len(series.at) > 1 else 1.0


def _over(values: Sequence[float], divisor: float) -> list[float]:
    return [value / divisor for value in values]


def _time_unit(seconds: float) -> tuple[float, str]:
    """Seconds in the unit that suits a run of this length, and its name."""
    if seconds <= 900:
        return 1.0, "s"
    if seconds <= 3 * 3600:
        return 60.0, "min"
    return (3600.0, "h") if seconds <= 3 * 86_400 else (86_400.0, "days")


def _shortened(value: float, _: object = None) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g} {letter}"
    return f"{value:,g}"


_SHORT: Final = FuncFormatter(_shortened)
