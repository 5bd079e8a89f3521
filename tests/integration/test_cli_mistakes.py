"""A mistyped command is refused in one line, before anything is begun."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.command_line import run
from tests.servers import free_port


def there(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


@pytest.mark.parametrize(
    "command",
    [
        ("try", "user.registered", "{}"),
        ("submit", "user.registered", "-"),
        ("status", "01a20c57-040c-7584-a42e-6f91a24065d8"),
        ("watch",),
        ("dead", "list"),
    ],
    ids=" ".join,
)
async def test_a_url_without_a_scheme(command: tuple[str, ...]) -> None:
    code, _, err = await run(*command, "--url", "127.0.0.1:8080")
    assert code == 2
    assert "--url 127.0.0.1:8080: write scheme, host and port, as in http://127.0.0.1:8080" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["up", "demo"])
@pytest.mark.parametrize(
    ("more", "told"),
    [(("--broker", "foo://x"), "allowed: sqlite, amqp"), (("--min", "5", "--max", "2"), "--min 5 is above --max 2")],
    ids=["broker", "fewest and most"],
)
async def test_nothing_is_started(command: str, more: tuple[str, ...], told: str, tmp_path: Path) -> None:
    code, out, err = await run(command, *more, *(("--data", str(tmp_path / "data")) if command == "up" else ()))
    assert (code, out, told in err) == (2, "", True), err
    assert not there(tmp_path, "**/*.log")


async def test_a_queue_that_there_is_not(tmp_path: Path) -> None:
    code, out, err = await run("up", "--job", "nothing", "--data", str(tmp_path / "data"))
    assert (code, out) == (2, "")
    assert "--job nothing: the contracts have no such queue; they have: " in err
    assert not there(tmp_path, "**/*.log")


async def test_a_replay_of_everything_is_refused() -> None:
    code, _, err = await run("dead", "replay")
    assert (code, "by its ID, or all of a --queue or a --job-type" in err) == (2, True)


async def test_a_scope_that_there_is_not() -> None:
    code, out, err = await run("key", "new", "--name", "ci", "--scopes", "submit,reed")
    assert (code, out, "'reed' is not a scope; give some of submit, read, operate" in err) == (2, "", True)


async def test_a_submit_says_once_that_nobody_answers() -> None:
    port = free_port()
    command = [sys.executable, "-m", "cli", "submit", "user.registered", "-", "--url", f"http://127.0.0.1:{port}"]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"{}\n{}\n")
    process.stdin.close()
    line = await asyncio.wait_for(process.stderr.readline(), 60)
    assert line.startswith(f"no answer from http://127.0.0.1:{port}".encode())
    assert line.endswith(b"trying again\n")
    await asyncio.sleep(1.5)  # several more tries
    process.kill()
    assert (await process.stderr.read()).count(b"no answer") == 0
    await process.wait()


async def test_a_terminated_demo_takes_its_folder_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli", "demo", "--users", "100000", "--json"]
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        while not there(tmp_path, "*/controller.log"):
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, b"Traceback" in err) == (128 + signal.SIGTERM, False), err.decode()
    assert not there(tmp_path, "headrace-demo-*")


async def test_the_help_of_check_says_what_it_declares() -> None:
    code, out, _ = await run("check", "--help")
    assert (code, "declares what is missing" in " ".join(out.split())) == (0, True)
