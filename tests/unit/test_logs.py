"""Lines of the log: no local variables, bounded texts, no passwords, whatever is raised."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from telemetry.logs import masked

PROGRAM = """
import sys, threading
from telemetry import logs
logs.configure("info", sys.argv[1], "test")

class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")

def inner(payload, key="planted-key"):
    dsn = "planted-dsn"
    raise ValueError("y" * 1_000_000)

def outer(error):
    card = {"number": "planted-card"}
    try:
        inner(card)
    except ValueError as cause:
        raise error from cause

for error in (NoText(), RuntimeError("cannot connect to postgresql://user:planted-password@db/x?password=planted-too"),
              ExceptionGroup("some", [ValueError("z" * 100_000)])):
    try:
        outer(error)
    except Exception:
        logs.get("one").exception("it went wrong", url="redis://:planted-password@h/0", long="w" * 1_000_000)
import logging
try:
    outer(RuntimeError("of another library"))
except Exception:
    logging.getLogger("foreign").exception("said by %s", "amqp://u:planted-password@h/")
thread = threading.Thread(target=outer, args=(RuntimeError("in a thread"),))
thread.start(); thread.join()
secret = "planted-last"
outer(RuntimeError("at the end, amqp://u:planted-password@h/"))
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_holds_what_a_function_knew(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "planted" not in done.stderr
    assert "an error that nobody caught" in done.stderr
    assert len(done.stderr) < 200_000
    if form == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert len(lines) == 6
        assert lines[0]["exception"][0]["exc_type"] == "NoText"
        assert "locals" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:gu/e@st@host:5672/v", "amqp://guest:***@host:5672/v"),
        ("redis://:pw@host/0", "redis://:***@host/0"),
        ("http://host:8080/path", "http://host:8080/path"),
        ("host=db password=pw user=u", "host=db password=*** user=u"),
        ("'postgresql://u:pw@h' and more", "'postgresql://u:***@h' and more"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
