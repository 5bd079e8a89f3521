"""The report of `headrace simulate`: one HTML file that needs nothing beside it, and its pictures as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from cli import plots
from cli.compare import HEADS, Row, sentence, title, told
from simulator.simulate import Run, Score, World


@dataclass(frozen=True, slots=True)
class Section:
    """One trace. runs: drawn over time, one at least. more: scores of other settings; "keda 100" is a point of the curve "keda".

    followed: the discrete engine followed each job, so that neighbouring settings differ by chance too. compared: of a search, each
    rival against ours. peak: jobs/s, the highest mean of 5 s in a row.
    """

    trace: str
    world: World
    runs: Sequence[Run]
    more: Sequence[Score] = ()
    followed: bool = False
    compared: Sequence[Row] = ()
    peak: float | None = None

    @property
    def scores(self) -> list[Score]:
        return [run.score for run in self.runs] + list(self.more)


_COLUMNS: Final = (
    ("late_s", "late", "s"),
    ("p50_wait_s", "p50 wait", "s"),
    ("p95_wait_s", "p95 wait", "s"),
    ("p99_wait_s", "p99 wait", "s"),
    ("pod_seconds", "pod-seconds", ""),
    ("scale_actions", "scale actions", ""),
    ("max_backlog", "max backlog", "jobs"),
    ("returned", "returned", "jobs"),
    ("drain_s", "drain", "s"),
    ("late_jobs", "late", "jobs"),
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }}
svg {{ width: 100%; min-width: 40rem; height: auto; font-family: system-ui, sans-serif; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .35rem .4rem; text-align: right; border-bottom: 1px solid #e4e4e4; }}
th {{ vertical-align: bottom; line-height: 1.25; }}
th:first-child, td:first-child {{ text-align: left; }}
th small {{ display: block; color: #666; font-weight: normal; }}
summary {{ padding: .5rem .4rem; cursor: pointer; }}
@media (max-width: 760px) {{
  thead {{ display: none; }}
  tr {{ display: grid; grid-template-columns: 1fr 1fr; column-gap: 1.2rem; padding: .5rem 0; border-bottom: 1px solid #ddd; }}
  td {{ display: flex; justify-content: space-between; padding: .1rem 0; border: 0; }}
  td:first-child {{ grid-column: 1 / -1; justify-content: flex-start; align-items: baseline; font-weight: bold; }}
  td::before {{ color: #666; font-size: .85rem; white-space: nowrap; }}
{labels}
  table.compared td::before {{ content: none; }}
}}
caption {{ text-align: left; padding: 1rem .4rem .35rem; font-weight: bold; }}
table.compared td:last-child {{ text-align: left; }}
.key {{ display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }}
p.note, figcaption {{ color: #555; font-size: .9rem; }} figure {{ margin: 1rem 0; overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="note">late (s): seconds in which the oldest waiting job had waited longer than the objective; late (jobs): the jobs that
waited so long, 0 just where there is no late second. p50, p95 and p99 wait: from arrival to begin, over all jobs. pod-seconds: each
replica from being asked for until it has stopped. scale actions: changes of the number of replicas asked for. max backlog: the most
jobs that waited or were in handlers at a time. returned: jobs given back by replicas that were stopped before they had finished.
drain: from the moment when most jobs waited, until fewer wait than arrive in 1 s. oracle is no policy but a bound: none can be less
late, nor, being equally late, have fewer pod-seconds; its line in the picture of replicas is the load, the replicas that would be
busy if each job began as it arrived, which can be more than there may be.</p>
{sections}
</body>
</html>
"""


def write(out: Path, sections: Sequence[Section]) -> list[Path]:
    """Write the page to `out`, and two PNG files a section beside it. All files written, the page first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files, parts = [out], []
    for number, section in enumerate(sections):
        figures = {"course": plots.course(section.runs), "cost": plots.cost(section.scores, joined=not section.followed)}
        drawn = {}
        for kind, figure in figures.items():
            drawn[kind] = plots.svg(figure, f"{number}-{kind}")
            files.append(out.with_name(f"{out.stem}-{section.trace}-{kind}.png"))
            files[-1].write_bytes(plots.png(figure))
        parts.append(_section(section, drawn["course"], drawn["cost"]))
    title = "Scaling, simulated: " + ", ".join(section.trace for section in sections)
    out.write_text(_PAGE.format(title=escape(title), labels=_labels(), sections="\n".join(parts)), encoding="utf-8")
    return files


def _section(section: Section, course: str, cost: str) -> str:
    world = section.world
    startup = f"{world.startup[0]:g} to {world.startup[1]:g} s"
    return f"""<section>
<h2>{escape(section.trace)}</h2>
<p class="note">A replica runs {world.concurrency:,} jobs at once, {world.service_seconds:g} s each:
{world.replica_rate:,.3g} jobs/s. It is ready after {startup}. Objective: no job waits longer than {world.objective:g} s.
At most {world.max_replicas:,} replicas.{_peak(section)}</p>
{_table([run.score for run in section.runs])}
{_compared(section)}
{_more(section)}
<figure role="img" aria-label="Arrivals, backlog and replicas over time">{course}</figure>
<figure role="img" aria-label="Late seconds against pod-seconds">{cost}</figure>
</section>"""


def _more(section: Section) -> str:
    """The settings that were tried beside, folded away."""
    if not section.more:
        return ""
    return f"<details><summary>{len(section.more)} more settings</summary>\n{_table(section.more)}\n</details>"


def _peak(section: Section) -> str:
    return "" if section.peak is None else f" The peak of the arrivals, the highest mean of 5 s, is {section.peak:,.3g} jobs/s."


def _compared(section: Section) -> str:
    """Of a search: each rival at its defaults and at its best setting."""
    if not section.compared:
        return ""
    heads = "".join(f"<th>{head}</th>" for head in (*HEADS, "that setting, and ours beside it"))
    cells = [(row.policy, told(row.default), told(row.ratio), str(row.tried), sentence(row)) for row in section.compared]
    lines = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    head = f"<thead><tr>{heads}</tr></thead>"
    caption = f"<caption>{escape(title(section.trace))}</caption>"
    return f'<table class="compared">\n{caption}\n{head}\n<tbody>\n{lines}\n</tbody>\n</table>'


def _labels() -> str:
    """On a narrow page a row is a card, and each of its figures stands behind its column's name."""
    names = [f"{label} {unit}".strip() for _, label, unit in _COLUMNS]
    return "\n".join(f'  td:nth-child({at})::before {{ content: "{name}"; }}' for at, name in enumerate(names, 2))


def _table(scores: Sequence[Score]) -> str:
    heads = "".join(f"<th>{label}{f' <small>{unit}</small>' if unit else ''}</th>" for _, label, unit in _COLUMNS)
    colours = plots.colours(score.policy for score in scores)
    rows = "\n".join(_row(score, colours[plots.family(score.policy)]) for score in scores)
    return f"<table>\n<thead><tr><th>policy</th>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(score: Score, colour: str) -> str:
    cells = "".join(f"<td>{_number(getattr(score, name))}</td>" for name, _, _ in _COLUMNS)
    return f'<tr><td><span class="key" style="background:{colour}"></span>{escape(score.policy)}</td>{cells}</tr>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.2f}"
