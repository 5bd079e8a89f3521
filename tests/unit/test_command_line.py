"""The command line's output for given answers, without a system behind it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from cli import operate
from cli.__main__ import app
from cli.api import Address, GatewayError, said
from cli.demo import check_what_it_needs
from cli.system import workloads
from cli.tally import Tally
from cli.up import submit
from core import project
from core.catalogue import Catalogue
from core.errors import SettingsError
from core.model import Contract

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


JOB: dict[str, Any] = {
    "job_type": "user.registered",
    "job_id": ID,
    "deliveries": [
        {
            "queue": "notifications",
            "state": "succeeded",
            "attempts": 12,
            "started_at": "2026-01-31T09:30:00.123Z",
            "ended_at": "2026-01-31T09:30:01.456Z",
            "error": None,
            "result": {"message_id": "<email." + ID + "@example.com>", "bracketed": "[red]"},
        },
        {
            "queue": "points",
            "state": "dead",
            "attempts": 1,
            "started_at": None,
            "ended_at": "2026-01-31T09:31:02.000Z",
            "error": {"kind": "E", "message": "refused for good"},
            "result": None,
        },
    ],
}


@pytest.mark.parametrize("terminal", ["0", "1"], ids=["pipe", "terminal"])
def test_a_job_is_shown_whole_in_80_columns(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    operate.show_job(JOB)
    head, columns, _, *rows = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert (head, "…" in "".join(rows)) == (f"user.registered {ID}", False)
    assert columns.split() == ["queue", "state", "tries", "started,", "UTC", "ended,", "UTC"]
    assert rows[0].split() == ["notifications", "succeeded", "12", "2026-01-31", "09:30:00", "2026-01-31", "09:30:01"]
    assert rows[1].split() == ["points", "dead", "1", "2026-01-31", "09:31:02"]
    assert max(map(len, [columns, *rows[:2]])) <= 80
    result = {"message_id": f"<email.{ID}@example.com>", "bracketed": "[red]"}
    assert json.loads(rows[2].removeprefix("notifications: ")) == result
    assert rows[3] == "points: refused for good"


def test_a_job_in_a_long_queue_fits_80_columns_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    queue = "a-queue-with-thirty-characters"
    for name, value in (("COLUMNS", "80"), ("TTY_COMPATIBLE", "1"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    operate._print_whole(operate._deliveries([JOB["deliveries"][0] | {"queue": queue}]))
    shown = capsys.readouterr().out
    shown = re.sub(r"\x1b\[\d*m", "", shown)  # bold heads
    assert max(map(len, shown.splitlines())) <= 80
    assert all(word in shown for word in (queue, "2026-01-31", "09:30:00", "09:30:01"))
    assert "…" not in shown


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "localhost", "ftp://h", "http://", "http://h:port", "http://h:0", "http://h/prefix", "http://h?a=b"]
)
def test_a_url_that_is_not_one_names_the_option(url: str) -> None:
    with pytest.raises(GatewayError, match=r"--url .*: write scheme, host and port, as in http://127.0.0.1:8080"):
        Address(url).base()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://jobs.example/", "http://[::1]:8080"])
def test_a_url_that_is_one(url: str) -> None:
    assert Address(url).base() == url.rstrip("/")


def test_a_key_file_may_begin_with_a_byte_order_mark_and_holds_ascii(tmp_path: Path) -> None:
    note = tmp_path / "key"
    note.write_text("hr_abc\n", encoding="utf-8-sig")
    assert Address("http://h", note).key() == "hr_abc"
    for wrong in ("hr_\u00e4".encode(), "hr_abc".encode("utf-16"), b"\xef\xbb\xbf"):
        note.write_bytes(wrong)
        with pytest.raises(GatewayError, match="this is not an API key"):
            Address("http://h", note).key()


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


def test_the_most_processes_bound_each_queue_of_jobs_too() -> None:
    found = {one["name"]: one["policy"] for one in json.loads(workloads((1, 3), ["points", "email"]))}
    assert {name: policy["max_replicas"] for name, policy in found.items()} == {"consumer": 3, "job/points": 3, "job/email": 3}
    shown = " ".join(CliRunner().invoke(app, ["up", "--help"]).output.replace("│", " ").split())
    assert "Also the most of each --job queue" in shown


class Order(BaseModel):
    note: str


def test_up_shows_how_to_submit_a_job_that_there_is() -> None:
    few = Contract(name="order.noted", payload=Order, queues=("notes",), examples=({"note": "it's here"},))
    many = Contract(name="order.paid", payload=Order, queues=("a", "b"), examples=({"note": "paid"},))
    bare = Contract(name="order.gone", payload=Order, queues=("a", "b", "c"))
    command = submit(Catalogue([few, bare]), "http://h:1")
    assert command is not None
    assert shlex.split(command.replace("\\\n", "")) == [
        *("curl", "-i", "http://h:1/v1/jobs/order.noted", "-H", "content-type: application/json"),
        *("-d", '{"note": "it\'s here"}'),
    ]
    assert "/v1/jobs/order.paid" in str(submit(Catalogue([few, many]), "http://h:1"))
    assert submit(Catalogue([bare]), "http://h:1") is None
    assert submit(Catalogue([]), "http://h:1") is None


def test_a_demo_without_the_example_says_what_it_needs() -> None:
    mine = Contract(name="order.noted", payload=Order, queues=("notes",))
    with pytest.raises(SettingsError, match=r"the demo needs the example's job type user\.registered"):
        check_what_it_needs(Catalogue([mine]))
    check_what_it_needs(project.catalogue())
