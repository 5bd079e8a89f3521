"""Every setting that the chart names is one of the programs'."""

from __future__ import annotations

import re

from tests.deploy.checks.environment import known
from tests.deploy.render import CHART


def test_every_setting_that_the_chart_names_exists() -> None:
    for path in CHART.rglob("*"):
        if path.is_file():
            named = set(re.findall(r"HEADRACE_[A-Z][A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
            assert named <= known(), f"{path.name} names settings that there are not"
