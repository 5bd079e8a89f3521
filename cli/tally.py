"""The counts of a demo, and how they look while it runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_LINES = 6
DELIVERIES = 2  # of a user.registered
_SETTLED = re.compile(r'^headrace_deliveries_total\{queue="(\w+)",settlement="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


@dataclass
class Tally:
    """latencies: seconds from acceptance to the last success, of each job that succeeded.

    most_consumers: processes at once. scaling: what the controller did, a line each.
    outcomes: deliveries by how they ended, from the records of the jobs that have; `retry` is their attempts but the first.
    counts: the same by (consumer, queue, settlement); kept: those of processes that died, by settlement.
    """

    users: int
    accepted: int = 0
    latencies: list[float] = field(default_factory=list)
    most_consumers: int = 0
    scaling: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    counts: dict[tuple[str, str, str], float] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)

    @property
    def dead(self) -> int:
        """Deliveries."""
        return self.outcomes["dead"]

    def settled(self, word: str) -> int:
        """Deliveries by how they were settled, in all consumers so far."""
        return int(sum(value for (_, _, w), value in self.counts.items() if w == word) + self.kept.get(word, 0))

    def end(self, deliveries: Iterable[Mapping[str, Any]]) -> None:
        """Take over the records of a job whose deliveries have ended."""
        for delivery in deliveries:
            self.outcomes[delivery["state"]] += 1
            self.outcomes["retry"] += max(0, delivery["attempts"] - 1)

    def read(self, consumer: str, exposition: str) -> None:
        """Take over a consumer's counters. One that went back belongs to a new process: the counts of the old one are kept."""
        for queue, word, text in _SETTLED.findall(exposition):
            key, value = (consumer, queue, word), float(text)
            if value < self.counts.get(key, 0.0):
                self.kept[word] = self.kept.get(word, 0.0) + self.counts[key]
            self.counts[key] = value

    def quantile(self, q: float) -> float:
        """The nearest-rank quantile of the latencies, in seconds; 0 where there is none."""
        values = sorted(self.latencies)
        return round(values[min(int(q * len(values)), len(values) - 1)], 3) if values else 0.0

    def view(self, seconds: float, *, over: bool = False) -> Group:
        """The live view, `seconds` after the start: bars, and what the controller did last.

        over: the counts are those of the outcomes. Consumers that were scaled away have taken their last counts with them.
        """
        settled = self.outcomes.__getitem__ if over else self.settled
        return Group(self._bars(seconds, settled), *(Text(line, "dim", overflow="fold") for line in self.scaling[-_LINES:]))

    def _bars(self, seconds: float, settled: Callable[[str], int]) -> Table:
        table = Table.grid(padding=(0, 1))
        deliveries = self.users * DELIVERIES
        rows = (
            ("jobs accepted", self.accepted, self.users, "cyan"),
            ("deliveries succeeded", settled("succeeded"), deliveries, "green"),
            ("tried again", settled("retry"), deliveries, "yellow"),
            ("dead", settled("dead"), deliveries, "red"),
        )
        for name, value, total, colour in rows:
            table.add_row(name, ProgressBar(total, value, width=40, complete_style=colour, finished_style=colour), f"{value:,}")
        done = len(self.latencies)
        rate = f"{done / seconds:,.0f} jobs/s" if seconds > 0 else ""
        table.add_row("jobs succeeded", f"{rate}   p50 {self.quantile(0.5):.2f} s   p95 {self.quantile(0.95):.2f} s", f"{done:,}")
        return table
