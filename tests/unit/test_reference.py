"""The page of `/docs`, and the version that the documents say."""

from __future__ import annotations

import html
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.reference import host_of, page
from tests.unit.test_scopes import gateway
from tests.unit.test_unknown_input import ask

VERSION = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]


async def shown(host: bytes) -> str:
    return str((await ask(gateway(), "GET", "/docs", headers=((b"host", host),)))[1]["text"])


async def test_the_page_reads_as_it_is_meant() -> None:
    text = await shown(b"jobs.example:8443")
    assert ".." not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
    assert "An order is paid for. Goes to: payouts." in text
    assert "`" not in text
    assert "The key lacks the scope <code>submit</code>" in text
    assert "curl -i jobs.example:8443/v1/jobs/order.settled " in text
    assert "localhost" not in text


@pytest.mark.parametrize("host", ["jobs.example", "127.0.0.1:8080", "[::1]:9", "a_b"])
def test_the_commands_go_where_the_request_went(host: str) -> None:
    assert host_of(host, 8099) == host


@pytest.mark.parametrize("host", ["", "a b", "x;rm -rf /", "<b>", "$(x)", "a:b", "x" * 300, "[x]", "a\n"])
def test_a_host_that_is_none_is_not_repeated(host: str) -> None:
    assert host_of(host, 8099) == "localhost:8099"


def test_an_example_may_have_quotes() -> None:
    value = {"name": 'O\'Brien <b> & "co"'}
    content: dict[str, Any] = {"application/json": {"examples": {"one": {"value": value}}}}
    document = {"info": {"title": "x"}, "paths": {"/v1/jobs/a": {"post": {"requestBody": {"content": content}}}}}
    (command,) = re.findall(r"<pre>(curl .*?)</pre>", page(document, "h:1"), re.DOTALL)
    assert shlex.split(html.unescape(command).replace("\\\n", ""))[-1] == '{"name": "O\'Brien <b> & \\"co\\""}'


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
async def test_the_documents_say_the_packages_version(path: str) -> None:
    _, document = await ask(gateway(), "GET", path)
    assert document["info"]["version"] == VERSION
