"""Lines of the log: no local variables, bounded texts, no passwords, whatever is raised."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from core.masking import masked
from core.text import text_of
from telemetry import tracebacks
from telemetry.logs import brief

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
        ("connect(host='db', password='p w', user='u')", "connect(host='db', password='***', user='u')"),
        ('connect(password = "p\\"w", user="u")', 'connect(password = "***", user="u")'),
        ('{"password": "p w", "user": "u"}', '{"password": "***", "user": "u"}'),
        ("{'passwd': 'pw', 'pin': 1}", "{'passwd': '***', 'pin': 1}"),
        ("DB_PASSWORD=x PGPASSWORD=y", "DB_PASSWORD=*** PGPASSWORD=***"),
        ('{"dbPassword":"x","db_password":"x"}', '{"dbPassword":"***","db_password":"***"}'),
        ("rediss://h/0?ssl_password=x&a=b", "rediss://h/0?ssl_password=***&a=b"),
        ("postgresql://ada@srv1:x@db/x", "postgresql://ada@srv1:***@db/x"),
        ("amqp://ada:hun'ter2@h/", "amqp://ada:***@h/"),
        ("smtp:\n  password: x\n  host: h", "smtp:\n  password: ***\n  host: h"),
        ("('password', 'x'), ['--password', 'x']", "('password', '***'), ['--password', '***']"),
        ("ALTER ROLE a PASSWORD 'x'", "ALTER ROLE a PASSWORD '***'"),
        ("password=b'x', password => 'x'", "password='***', password => '***'"),
        ("Authorization: Basic dTpw, 'authorization': 'Bearer a.b'", "Authorization: Basic ***, 'authorization': 'Bearer ***'"),
        ("api_key=x client_secret='x' access_token=x", "api_key=*** client_secret='***' access_token=***"),
        ("GET https://a.example:8443/users/ada@b.example", "GET https://a.example:8443/users/ada@b.example"),
        ("http://h:8080/?mail=ada@b.example", "http://h:8080/?mail=ada@b.example"),
        ('{"a":"http://h:8080","mail":"ada@b.example"}', '{"a":"http://h:8080","mail":"ada@b.example"}'),
        ("pwd = /home/app", "pwd = /home/app"),
        ('field "password": it\'s too short', 'field "password": it\'s too short'),
        ('{"reset-password": 17, "forgot-password": true}', '{"reset-password": 17, "forgot-password": true}'),
        ('("user", "password", "host")', '("user", "password", "host")'),
        ('{"said": "{\\"pwd\\": \\"pw\\", \\"user\\": 1}"}', '{"said": "{\\"pwd\\": \\"***\\", \\"user\\": 1}"}'),
        ('{"password": 1234}', '{"password": ***}'),
        ("the password: it is wrong; password=", "the password: it is wrong; password="),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_text_is_masked_before_it_is_cut() -> None:
    for before in range(270, 300):
        said = RuntimeError("x" * before + " amqp://user:planted-password@host:5672/v")
        assert "plant" not in brief(said)
        assert "plant" not in text_of(said, 300)
        assert "plant" not in tracebacks.as_text(said, 60)


def _nested(depth: int, width: int) -> Exception:
    error: Exception = ValueError("inmost")
    for _ in range(depth):
        error = ExceptionGroup("some", [error] * width)
    return error


def _chained(length: int) -> Exception:
    first = error = ValueError("first")
    for _ in range(length):
        error.__cause__ = ValueError("y" * 10_000)
        error = error.__cause__
    error.__cause__ = first
    return first


@pytest.mark.parametrize("error", [_nested(500, 1), _nested(5, 9), _chained(5000)], ids=["deep", "wide", "long"])
def test_an_exception_of_any_shape_is_bounded(error: Exception) -> None:
    assert len(tracebacks.as_text(error, 8000)) <= 8000
    assert len(json.dumps(tracebacks.as_dicts(error))) < 60_000


def test_a_chain_is_told_as_python_tells_it() -> None:
    try:
        try:
            raise KeyError("one")  # noqa: TRY301
        except KeyError as cause:
            cause.add_note("a note")
            raise ValueError("two") from cause
    except ValueError as error:
        told, dicts = tracebacks.as_text(error, 8000), tracebacks.as_dicts(error)
    lines = re.sub(r", line \d+", "", told.replace(__file__, "F")).splitlines()
    assert [line for line in lines if set(line) - set(" ^~") or not line] == [
        "Traceback (most recent call last):",
        '  File "F", in test_a_chain_is_told_as_python_tells_it',
        '    raise KeyError("one")  # noqa: TRY301',
        "KeyError: 'one'",
        "a note",
        "",
        "The exception above was the direct cause of this one:",
        "",
        "Traceback (most recent call last):",
        '  File "F", in test_a_chain_is_told_as_python_tells_it',
        '    raise ValueError("two") from cause',
        "ValueError: two",
    ]
    assert [(one["exc_type"], one["exc_value"], one["is_cause"]) for one in dicts] == [
        ("ValueError", "two", False),
        ("KeyError", "'one'", True),
    ]


HOSTILE = """
import sys, logging
from telemetry import logs
logs.configure("info", sys.argv[1], "test")

class Broken:
    def __repr__(self):
        raise RuntimeError("no repr")
    __str__ = __repr__

deep = found = []
for _ in range(5000):
    found.append([])
    found = found[0]
log = logs.get("one")
log.info("said", value=Broken(), of=[Broken()], by={Broken: Broken()})
log.info("said", value=float("nan"), of=10 ** 5000, by=b"bytes", nested=deep)
log.info("said", value={n: "x" * 5000 for n in range(100_000)}, of=list(range(100_000)))
log.info("said", password="planted", db_password=b"planted", of={"password": "planted", "x": {"pwd": "planted"}})
log.info("said", by_kind={"reset-password": 17}, errors={"password": ["too short"]}, ok={"password": True, "old-password": None})
log.info('said password="abc', after="field")
log.info("said", **{"k" * 5000 + str(n): n for n in range(200)})
log.info("said", why="x" * 1990 + " amqp://u:planted@h/")
log.info("%s and %d", "one")
log.info("said", _record="x", _from_structlog=False)
class Ends:
    def __repr__(self):
        raise SystemExit
log.info("said", value=Ends())
logging.getLogger("foreign").warning("%d of them", "many")
logging.getLogger("foreign").warning("%s", Broken())
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_is_lost_for_what_it_holds(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE, form], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 13
    assert "Traceback" not in done.stderr
    assert "plant" not in done.stderr
    assert max(map(len, lines)) < 40_000
    assert sum("cannot be written" in line for line in lines) == 4
    if form == "json":
        said = [json.loads(line) for line in lines]
        assert sum(line["event"].startswith("said") for line in said) == 9
        assert all({"event", "level", "logger", "timestamp", "program"} <= line.keys() for line in said)
        assert any(line.get("by_kind") == {"reset-password": 17} and line["errors"] == {"password": ["too short"]} for line in said)


def test_a_handlers_own_rich_tracebacks_work_and_nothing_else_loads_rich() -> None:
    program = (
        "import sys, io; from telemetry import logs; assert 'rich' not in sys.modules\n"
        "from structlog.dev import RichTracebackFormatter\n"
        "to = io.StringIO()\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: RichTracebackFormatter()(to, sys.exc_info())\n"
        "assert 'ZeroDivisionError' in to.getvalue()"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
