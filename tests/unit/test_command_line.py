"""What the command line makes of answers, without a system behind it."""

from __future__ import annotations

import pytest

from cli import operate
from cli.api import Address, GatewayError, said
from cli.tally import Tally

ID = "01a20c57-040c-7584-a42e-6f91a24065d8"
LETTER = {
    "dead_id": ID,
    "queue": "a-queue-with-a-long-name-for-some-purpose",
    "job_type": "a.job.type.with.a.long.name",
    "reason": "attempts-exhausted",
    "attempts": 12,
    "died_at": "2026-01-31T09:30:00.123Z",
    "replayed_at": None,
}


@pytest.mark.parametrize("width", ["20", "80", "300"])
@pytest.mark.parametrize("terminal", ["0", "1"], ids=["pipe", "terminal"])
def test_no_word_of_a_dead_letter_is_cut(
    width: str, terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    operate._print_whole(operate._letters([LETTER]))
    shown = capsys.readouterr().out
    assert all(str(LETTER[name]) in shown for name in ("dead_id", "queue", "job_type", "reason"))
    assert "…" not in shown
    if terminal == "0":
        (row,) = (line for line in shown.splitlines() if ID in line)
        assert row.split()[-2:] == ["2026-01-31", "09:30:00"]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "localhost", "ftp://h", "http://", "http://h:port", "http://h:0", "http://h/prefix", "http://h?a=b"]
)
def test_a_url_that_is_not_one_names_the_option(url: str) -> None:
    with pytest.raises(GatewayError, match=r"--url .*: write scheme, host and port, as in http://127.0.0.1:8080"):
        Address(url).base()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://jobs.example/", "http://[::1]:8080"])
def test_a_url_that_is_one(url: str) -> None:
    assert Address(url).base() == url.rstrip("/")


def test_a_problem_is_its_title_and_its_detail() -> None:
    assert said(404, {"title": "Unknown job type", "detail": "no job type is called 'x'"}) == (
        "Unknown job type: no job type is called 'x'"
    )
    assert (said(503, {"detail": "away"}), said(500, {}), said(502, None)) == ("away", "status 500", "status 502")


def test_what_became_of_the_jobs_does_not_depend_on_who_still_runs() -> None:
    tally = Tally(users=2)
    tally.read("gone-soon", 'headrace_deliveries_total{queue="email",settlement="succeeded"} 1\n')
    tally.end([{"state": "succeeded", "attempts": 3}, {"state": "succeeded", "attempts": 1}])
    tally.end([{"state": "dead", "attempts": 1}, {"state": "succeeded", "attempts": 1}])
    assert tally.settled("succeeded") == 1
    assert dict(tally.outcomes) == {"succeeded": 3, "retry": 2, "dead": 1}
    assert tally.dead == 1
