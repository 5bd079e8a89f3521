"""`headrace submit FILE` against gateways, and what stands between, that answer in every way there is."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from cli import submit as module
from cli.api import Address, GatewayError
from cli.submit import submit
from tests.servers.http import serving

GOOD: tuple[int, object, dict[str, str]] = (202, {"job_id": "j"}, {})


class Answering:
    """A gateway that answers a line by what stands in it; `sent` has the lines that it got, with their keys."""

    def __init__(self, *answers: tuple[int, object, dict[str, str]], by_line: Callable[[str], int] | None = None) -> None:
        self.answers = list(answers)
        self.by_line = by_line
        self.sent: list[tuple[str, str]] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        line = (await request.text()).strip()
        self.sent.append((line, request.headers["Idempotency-Key"]))
        if self.by_line is not None:
            status = self.by_line(line)
            return web.json_response({"detail": "no"} if status != 202 else {"job_id": "j"}, status=status)
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "lines"
    file.write_text("".join(f'{{"n": {n}}}\n' for n in range(5)))
    return file


@pytest.mark.parametrize(
    "answer",
    [
        (502, "<html>Bad gateway</html>", {}),
        (503, {"detail": "busy"}, {"Retry-After": "0"}),
        (503, "", {"Retry-After": formatdate(0, usegmt=True)}),
        (503, "", {"Retry-After": "soon"}),
        (429, "slow down", {"Retry-After": "0"}),
        (408, "", {}),
    ],
    ids=lambda answer: f"{answer[0]} {answer[2].get('Retry-After', '')}",
)
async def test_what_says_later_is_asked_again(answer: tuple[int, object, dict[str, str]], file: Path) -> None:
    gateway = Answering(answer, GOOD)
    async with serving(gateway) as url:
        assert await submit("a.happened", str(file), Address(url), 1, None) == 0
    assert len(gateway.sent) == 6
    assert gateway.sent[0] == gateway.sent[1], "the same line, with the same key"


@pytest.fixture
def marked(file: Path) -> Path:
    """The same behind a byte order mark."""
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    return file


async def test_a_byte_order_mark_is_no_part_of_the_first_line(marked: Path) -> None:
    gateway = Answering(GOOD)
    async with serving(gateway) as url:
        assert await submit("a.b", str(marked), Address(url), 1, None) == 0
    assert [line for line, _ in gateway.sent] == [f'{{"n": {n}}}' for n in range(5)]


async def test_an_answer_that_is_not_the_gateways_is_said(file: Path) -> None:
    async with serving(Answering((200, "<html>Welcome to nginx!</html>", {}))) as url:
        with pytest.raises(GatewayError, match="is it Headrace's gateway"):
            await submit("a.happened", str(file), Address(url), 1, None)


async def test_lines_that_were_refused_are_sent_again_and_those_that_were_accepted_are_not(file: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    gateway = Answering(by_line=lambda line: 422 if "1" in line or "3" in line else 202)
    async with serving(gateway) as url:
        assert await submit("a.happened", str(file), Address(url), 2, note) == 1
        gateway.sent.clear()
        assert await submit("a.happened", str(file), Address(url), 2, note) == 1, "still refused"
        assert sorted(line for line, _ in gateway.sent) == ['{"n": 1}', '{"n": 3}']
        gateway.by_line = lambda _: 202
        assert await submit("a.happened", str(file), Address(url), 2, note) == 0
        gateway.sent.clear()
        assert await submit("a.happened", str(file), Address(url), 2, note) == 0
    assert gateway.sent == []


async def test_a_checkpoint_is_one_files_one_job_types_and_one_gateways(file: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with serving(Answering(GOOD)) as url, serving(Answering(GOOD)) as other:
        assert await submit("a.happened", str(file), Address(url), 1, note) == 0
        for job_type, to in (("b.happened", url), ("a.happened", other)):
            with pytest.raises(GatewayError, match=f"checkpoint of a run of a.happened at {url}, not of {job_type}"):
                await submit(job_type, str(file), Address(to), 1, note)
        with pytest.raises(GatewayError, match="another file"):
            await submit("a.happened", __file__, Address(url), 1, note)


@pytest.mark.parametrize(
    "kept", [b"", b"{}", b"7", b"\xff", b'{"fingerprint": 1, "aim": 2, "run": 3, "upto": "x", "ahead": [], "refused": []}']
)
async def test_what_is_no_checkpoint_is_refused_in_a_line(kept: bytes, file: Path, tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_bytes(kept)
    with pytest.raises(GatewayError, match="remove it, or name another file"):
        await submit("a.happened", str(file), Address("http://127.0.0.1:1"), 1, note)
    assert note.read_bytes() == kept


@pytest.mark.parametrize("place", ["missing/note", "."])
async def test_a_place_that_cannot_be_written_is_refused_in_a_line(place: str, file: Path, tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="name a file that can be read and written"):
        await submit("a.happened", str(file), Address("http://127.0.0.1:1"), 1, tmp_path / place)


async def test_a_file_of_another_job_type_ends_the_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REFUSED", 3)
    async with serving(Answering(by_line=lambda _: 422)) as url:
        with pytest.raises(GatewayError, match="3 lines were refused"):
            await submit("a.happened", str(file), Address(url), 1, tmp_path / "note")
