"""URLs that stand in files: read again at each use, and never shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from adapters.redis.client import client
from autoscaler.settings import ControllerSettings
from core.errors import SettingsError
from core.secret_url import MOST_BYTES, FileUrl, Schemes
from core.settings import Settings, load

AMQP = Schemes("amqp", "amqps")


def url_of(file: Path) -> FileUrl:
    return FileUrl("HEADRACE_BROKER_FILE", file, [AMQP])


def test_the_first_line_is_read_at_each_use(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("  amqp://u:one@h/  \nsaid by whom\n")
    url = url_of(file)
    assert url.get_secret_value() == "amqp://u:one@h/"
    file.write_text("amqp://u:two@h/")
    assert url.get_secret_value() == "amqp://u:two@h/"
    assert "two" not in f"{url!r}{url}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "first line is empty"),
        (b"\namqp://u:s3cret@h/", "first line is empty"),
        (b"http://u:s3cret@h/", "scheme is 'http'"),
        (b"amqp://u:s3cret/x@h/", "%2F"),
        (b"amqp://u:s3cret@[h/", "not a URL"),
        ("amqp://u:s3cret\u2100@h/".encode(), "not a URL"),
        (b"\xff\xfe", "UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_cannot_be_used_ends_the_start_and_later_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None, why: str
) -> None:
    file, bad = tmp_path / "url", tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(SettingsError, match=why) as raised:
        url_of(bad)
    assert str(raised.value).startswith(f"HEADRACE_BROKER_FILE={bad}: ")
    file.write_text("amqp://u:first@h/")
    url = url_of(file)
    with caplog.at_level(logging.ERROR):
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        assert [url.get_secret_value() for _ in range(3)] == ["amqp://u:first@h/"] * 3
        assert len(caplog.records) == 1, "once a fault"
        said = caplog.records[0].getMessage()
        assert why in said
        assert str(file) in said
        file.write_text("amqp://u:third@h/")
        assert url.get_secret_value() == "amqp://u:third@h/"
    assert "s3cret" not in f"{raised.value}{said}"


def test_another_scheme_needs_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "url"
    file.write_text("amqp://h/")
    url = url_of(file)
    file.write_text("amqps://h/")
    assert url.get_secret_value() == "amqp://h/"
    assert "needs a restart" in caplog.text


def test_a_long_file_is_not_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("amqp://h/\n" + "x" * 2 * MOST_BYTES)
    assert url_of(file).get_secret_value() == "amqp://h/"


@pytest.mark.parametrize(
    ("kind", "name", "first", "second"),
    [
        (Settings, "broker", "amqp://u:a@h/", "amqp://u:b@h/"),
        (Settings, "outcomes", "redis://:a@h/0", "redis://:b@h/0"),
        (ControllerSettings, "management_url", "http://u:a@h:15672", "http://u:b@h:15672"),
    ],
)
def test_each_setting_has_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Any], name: str, first: str, second: str
) -> None:
    setting, file = f"HEADRACE_{name.upper()}", tmp_path / "url"
    file.write_text(first + "\n")
    monkeypatch.setenv(f"{setting}_FILE", str(file))
    url: SecretStr = getattr(load(kind), name)
    assert url.get_secret_value() == first
    file.write_text(second)
    assert url.get_secret_value() == second
    monkeypatch.setenv(setting, first)
    with pytest.raises(SettingsError, match=f"{setting} and {setting}_FILE are both given"):
        load(kind)
    monkeypatch.setenv(setting, "")
    assert getattr(load(kind), name).get_secret_value() == second, "empty is not given"
    monkeypatch.delenv(setting)
    monkeypatch.setenv(f"{setting}_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=f"{setting}_FILE=.*none: No such file"):
        load(kind)
    file.write_text("u:s3cret@h")
    monkeypatch.setenv(f"{setting}_FILE", str(file))
    with pytest.raises(SettingsError, match=f"{setting}_FILE") as raised:
        load(kind)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["amqp://u:s3cret/x@h/", "amqp://u:s3cret@[h/", "amqp://u:s3cret\u2100@h/", "redis://u:s3cret@h"])
def test_a_url_of_the_environment_is_not_shown_either(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HEADRACE_BROKER", url)
    with pytest.raises(SettingsError, match=r"HEADRACE_BROKER=\(hidden\)") as raised:
        load(Settings)
    assert "s3cret" not in str(raised.value)


async def test_a_redis_that_moves_is_told_once(tmp_path: Path) -> None:
    import structlog

    file = tmp_path / "url"
    file.write_text("redis://u:a%40@h:6379/1")
    made, _, _ = client(FileUrl("HEADRACE_OUTCOMES_FILE", file, []).get_secret_value, Settings(), 2)
    assert isinstance(made, Redis)
    options = made.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("h", 6379, 1)
    provider = options["credential_provider"]
    assert provider.get_credentials() == ("u", "a@")
    with structlog.testing.capture_logs() as logged:
        for text, login in (("redis://:b@h:6379/1", ("b",)), ("redis://h:6379/1", ()), ("redis://u:c@other/1", ("u", "c"))):
            file.write_text(text)
            assert [await provider.get_credentials_async() for _ in range(2)] == [login] * 2
    assert ["restart" in line["event"] for line in logged] == [True]
    await made.aclose()
