"""An alert about slow handlers, as it reaches a receiver in the cluster. Its end, a calm minute later, is looked at at the end."""

from __future__ import annotations

import re

from tests.e2e.release import Json

LIMIT = 5.0  # seconds: the policy's default


def test_slow_handlers_raise_an_alert_with_a_trace(raised: Json) -> None:
    """How long the jobs waited for their pods besides is the cluster's affair: it may be longer still. The figures are rounded to a
    tenth: just above the limit is the limit."""
    figures = re.search(r"mean latency ([0-9.]+) s .* ([0-9.]+) s in the handler", raised["annotations"]["summary"])
    assert figures, raised
    assert float(figures[1]) >= float(figures[2]) >= LIMIT
    assert re.fullmatch(r"https://traces\.example/[0-9a-f]{32}", raised["generatorURL"])
    assert "endsAt" not in raised
