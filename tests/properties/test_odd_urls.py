"""Odd URLs with a password in them: refused without a part of it, or read by the adapter, with the password where it belongs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from adapters.choose import sqlite_path
from adapters.rabbitmq.connection import _Underneath, connection_to
from adapters.redis.client import client
from core.errors import SettingsError
from core.settings import Settings, load

HALVES = ("s3cr3t", "Pa55w0rd")  # of a password, with something odd between them
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=3)
ODD = (
    st.sampled_from(["", "/", "?", "#", ":", "@", "[", "]", "%", "%2F", "%40", "%ff", "%zz", "&", "=", ",", "\\", "\u2100", "+"])
    | TEXT
)
AMQP, REDIS = ["amqp", "amqps"], ["redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"]
SLASHES = (["://"], [":", ":/", ":///", ""])
HOSTS = (
    ["h", "h.example", "127.0.0.1", "[::1]", "h_1", "xn--e1a"],
    ["", "[h]", "[::1", "a,b:2", "h..", "-h", "x" * 64, "é", "999.1.1.1", "%68"],
)
PORTS = (["", ":1", ":65535"], [":", ":0", ":65536", ":-1", ":x", ":٣", ":1:2"])
PATHS = (["", "/", "/0", "/7", "/main"], ["/x", "/%2F", "//", "/main/2", "/a/b/c", "/%00", "/" + "v" * 300, "/é"])
QUERIES = (
    [
        "",
        "?",
        "?db=2",
        "?ssl_cert_reqs=none",
        "?ssl_check_hostname=no",
        "?sentinel_login=yes",
        "?no_verify_ssl=1",
        "?client_name=a",
    ],
    ["?heartbeat=abc", "?timeout=1", "?db=x", "?foo=bar", "?cadata=!", "?protocol=3", "?health_check_interval=1", "#x"],
)
LOGINS = st.builds(
    lambda user, odd: f"{user}{HALVES[0]}{odd}{HALVES[1]}@", st.sampled_from(["user:", ":", "", "us%40er:", "1:"]), ODD
)


def mostly(parts: tuple[list[str], list[str]]) -> st.SearchStrategy[str]:
    """The first ones nine times in ten: where all is odd, everything is refused for the first of it."""
    good, odd = (st.sampled_from(of) for of in parts)
    return st.integers(0, 9).flatmap(lambda tenth: odd if tenth == 9 else good)


def urls(schemes: list[str]) -> st.SearchStrategy[str]:
    login = LOGINS | st.sampled_from([f"user:{''.join(HALVES)}@"])
    end = st.integers(0, 9).flatmap(lambda tenth: ODD if tenth == 9 else st.just(""))
    parts = (st.sampled_from(schemes), mostly(SLASHES), login, mostly(HOSTS), mostly(PORTS), mostly(PATHS), mostly(QUERIES), end)
    return st.builds(lambda *text: "".join(text), *parts)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("urls") / "url"


def loaded(name: str, url: str, file: Path) -> Settings | None:
    """The settings by environment, and by file too; None where they are refused, which both ways say alike."""
    file.write_text(url)
    by_environment, by_file = attempt(name, url), attempt(f"{name}_FILE", str(file))
    for found, setting in ((by_environment, name), (by_file, f"{name}_FILE")):
        if isinstance(found, str):
            assert found.startswith(f"{setting}=")
            assert not any(half in found for half in HALVES), found
    assert isinstance(by_environment, str) == isinstance(by_file, str)
    return None if isinstance(by_environment, str) else by_environment


def attempt(setting: str, value: str) -> Settings | str:
    """The settings, or why they are refused."""
    os.environ[setting] = value
    try:
        return load(Settings)
    except SettingsError as error:
        return str(error)
    finally:
        del os.environ[setting]


@settings(max_examples=400, deadline=None, database=None)
@given(url=urls([*AMQP, "sqlite", "memory"]))
@example(url="amqp://u:s3cr3t@[::1]:5672/%2F")
@example(url="amqp://u:s3cr3t\\Pa55w0rd@h/")
@example(url="amqp://u:s3cr3t[]Pa55w0rd@h/")
@example(url="amqp://u:s3cr3t\u00afPa55w0rd@h/")
@example(url="amqp://s3cr3t#Pa55w0rd@h/")
@example(url="amqp://s3cr3t/Pa55w0rd@h/")
@example(url="amqps://s3cr3t?cafile=Pa55w0rd@h/")
@example(url="amqps://u:s3cr3t%40@h/v?cafile=/ca.pem&no_verify_ssl=0")
def test_of_brokers(url: str, file: Path) -> None:
    assume(url == url.strip())  # of a file the spaces around it are taken away
    found = loaded("HEADRACE_BROKER", url, file)
    if found is None:
        return
    url = found.broker.get_secret_value()
    if url.startswith("sqlite"):
        assert sqlite_path(url)
    elif url.startswith("amqp"):
        host = asyncio.run(host_of(url))
        assert host
        assert not any(half in host for half in HALVES)


async def host_of(url: str) -> str:
    made = connection_to(url, "x", 60)
    under = _Underneath(made.url, **made.kwargs)
    assert len(under.vhost.encode()) < 256
    assert not any(half in under.vhost for half in HALVES)
    return made.url.host or ""


@settings(max_examples=400, deadline=None, database=None)
@given(url=urls([*REDIS, "none"]))
@example(url="rediss://u:s3cr3t@[::1]:6379/3?ssl_cert_reqs=none&client_name=x&health_check_interval=9&socket_keepalive=yes")
@example(url="redis://s3cr3t#Pa55w0rd@h/")
@example(url="redis+sentinel://s3cr3t/Pa55w0rd@h")
@example(url="redis://u:s3cr3t@h/0?foo=bar")
@example(url="rediss+sentinel://:s3cr3t@a:1,b/main/2?sentinel_login=yes")
def test_of_outcome_stores(url: str, file: Path) -> None:
    assume(url == url.strip())
    found = loaded("HEADRACE_OUTCOMES", url, file)
    if found is not None and found.outcomes.get_secret_value().startswith("redis"):
        asyncio.run(make(found))


async def make(found: Settings) -> None:
    """A client, and a connection that is not opened: redis-py reads its options only then."""
    made, nodes, close = client(found.outcomes.get_secret_value, found, 2)
    hosts = [host for host, _ in nodes]
    if not nodes:
        assert isinstance(made, Redis), "a cluster has nodes"
        connection = made.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no types there
        hosts.append(getattr(connection, "host", "") or "")
    assert not any(half in host for host in hosts for half in HALVES)
    for end in close:
        await end()
