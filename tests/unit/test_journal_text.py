"""Two versions of the programs read each other's records in one journal; and `headrace watch` shows them."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from adapters.journal_text import from_text, to_text
from cli.watch import panel
from core.journal import ScalingRecord
from service.views import scaling

STEADY = ScalingRecord("email", "consumer", 1.0, asked=5, wanted=3, reason="surplus", text="fewer will do", ready=5)


def test_a_record_without_cordons_is_one_that_0_1_0_reads() -> None:
    """Its ScalingRecord had the fields up to error."""
    assert list(json.loads(to_text(STEADY)))[-1] == "error"
    assert json.loads(to_text(replace(STEADY, cordoned=2)))["cordoned"] == 2


def test_a_field_of_a_later_version_is_left_out() -> None:
    assert from_text(json.dumps(json.loads(to_text(STEADY)) | {"later": 1})) == STEADY


def test_watch_tells_who_is_on_the_way_out() -> None:
    """More are ready than are wanted: the reader need not wonder why none goes."""
    assert "5 ready of 5, 2 cordoned" in _shown(replace(STEADY, cordoned=2))
    assert "cordoned" not in _shown(STEADY)


def _shown(record: ScalingRecord) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(panel([scaling(record)]))
    return console.export_text()
