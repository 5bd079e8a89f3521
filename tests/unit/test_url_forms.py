"""URLs that can never work stop the start, and no error says a part of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoscaler.settings import ControllerSettings
from core.errors import SettingsError
from core.settings import Settings, load

SECRET = "s3cr3t"
LONG = "x" * 64
BROKER = [
    ("amqp:/user:s3cr3t@127.0.0.1", "host is missing; write amqp://"),
    ("amqp:user:s3cr3t@127.0.0.1", "host is missing"),
    ("amqp://user:s3cr3t@", "host is missing"),
    ("amqps://user:s3cr3t@:5672/", "host or a port cannot be used"),
    ("amqp://user:s3cr3t@h/?heartbeat=abc", "the parameter heartbeat cannot have this value"),
    ("amqp://user:s3cr3t@h/?timeout=30", "unknown here; allowed: heartbeat"),
    ("amqp://user:s3cr3t@h/?cafile=/ca.pem", "unknown here"),
    ("amqps://user:s3cr3t@h/?foo=bar", "allowed: heartbeat, cafile, "),
    ("amqps://user:s3cr3t@h/?no_verify_ssl=true", "no_verify_ssl cannot have this value"),
    ("amqps://user:s3cr3t@h/?cadata=s3cr3t!", "cadata cannot have this value"),
    ("amqps://user:s3cr3t@h/?cafile=a&cafile=b", "stands twice"),
    ("amqp://user:s3cr3t@h:0/", "between 1 and 65535"),
    ("amqp://user:s3cr3t@h:65536/", "between 1 and 65535"),
    ("amqp://user:s3cr3t@h:x/", "host or a port cannot be used"),
    ("amqp://user:s3cr3t@a,b/", "host or a port cannot be used"),
    ("amqp://user:s3cr3t@a..b/", "host or a port cannot be used"),
    (f"amqp://user:s3cr3t@{LONG}/", "host or a port cannot be used"),
    ("amqp://user:s3cr3t@[::1::2]/", "not a URL|cannot be used"),
    ("amqp://user:s3cr3t@h/" + LONG * 4, "vhost of at most 255 bytes"),
    ("amqp://user:12/s3cr3t@h/", "%2F"),
    ("amqp://user:12#s3cr3t@h/", "%23"),
    ("amqp://user:12?s3cr3t@h/", "%3F"),
    ("amqp://user:s3cr3t x@h/", "not a URL"),
    ("amqp://user:s3cr3t\\x@h/", "not a URL"),
    ("amqp://user:s3cr3t[x]@h/", "not a URL"),
    ("amqp://user:s3cr3t\u00af@h/", "not a URL"),
    ("amqp://user:s3cr3t\tx@h/", "control character"),
    ("amqp://user:s3cr3t%00x@h/", "not a URL"),
    ("AMQP://user:s3cr3t@h/", "allowed: sqlite, .* in lower case"),
    ("s3cr3t:user@h/", "begins with no scheme"),
    ("s3cr3t", "begins with no scheme"),
    ("sqlite://user:s3cr3t@x/y", "names no file"),
    ("sqlite:s3cr3t", "names no file"),
    ("sqlite:///", "names no file"),
    ("sqlite:////folder/s3cr3t/", "names no file"),
    ("sqlite:///s3cr3t.db?mode=ro", "names no file, or more"),
    ("memory://user:s3cr3t@h", "nothing behind it"),
]
OUTCOMES = [
    ("redis://:s3cr3t@h/abc", "the database a number"),
    ("redis://:s3cr3t@h/1/2", "path cannot be used"),
    ("redis://:s3cr3t@h/0?foo=bar", "unknown here; allowed: db, "),
    ("redis://:s3cr3t@h/0?decode_responses=true", "unknown here"),
    ("redis://:s3cr3t@h/0?ssl_ca_certs=/ca.pem", "unknown here"),
    ("redis://:s3cr3t@h?db=one", "db cannot have this value"),
    ("rediss://:s3cr3t@h/0?ssl_cert_reqs=never", "ssl_cert_reqs cannot have"),
    ("rediss://:s3cr3t@h:99999/0", "between 1 and 65535"),
    ("redis://:s3cr3t@", "host is missing"),
    ("redis:/:s3cr3t@h", "host is missing"),
    ("redis://:s3cr3t@a:1,b:2/0", "cannot be used"),
    ("redis+cluster://:s3cr3t@a:1,b:70000", "between 1 and 65535"),
    ("redis+cluster://:s3cr3t@a,,b", "host is missing"),
    ("rediss+cluster://:s3cr3t@a/1", "without a database"),
    ("rediss+cluster://:s3cr3t@a?ssl_ca_certs=/ca.pem", "allowed: none"),
    ("redis+sentinel://:s3cr3t@a", "path cannot be used"),
    ("redis+sentinel://:s3cr3t@a/main/x", "path cannot be used"),
    ("rediss+sentinel://:s3cr3t@a/main?sentinel_login=maybe", "sentinel_login cannot have"),
    ("rediss+sentinel://:s3cr3t@a/main?sentinel_logn=yes", "allowed: sentinel_login"),
    ("REDISS+cluster://:s3cr3t@a", "in lower case"),
    ("sqlite://user:s3cr3t@x/y", "names no file"),
    ("none://s3cr3t", "nothing behind it"),
]


@pytest.mark.parametrize(("name", "url", "why"), [("BROKER", *row) for row in BROKER] + [("OUTCOMES", *row) for row in OUTCOMES])
def test_what_can_never_work_is_one_line_with_its_setting(
    name: str, url: str, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"HEADRACE_{name}", url)
    with pytest.raises(SettingsError, match=why) as raised:
        load(Settings)
    assert str(raised.value).startswith(f"HEADRACE_{name}=(hidden): ")
    monkeypatch.delenv(f"HEADRACE_{name}")
    (tmp_path / "url").write_text(url)
    monkeypatch.setenv(f"HEADRACE_{name}_FILE", str(tmp_path / "url"))
    with pytest.raises(SettingsError, match=why) as of_file:
        load(Settings)
    assert str(of_file.value).startswith(f"HEADRACE_{name}_FILE={tmp_path}/url: ")
    for text in (str(raised.value), str(of_file.value)):
        assert len(text.splitlines()) == 1
        assert SECRET not in text


@pytest.mark.parametrize("name", ["MANAGEMENT_URL", "PROMETHEUS_URL", "ALERT_URL"])
@pytest.mark.parametrize(
    "url", ["http:/u:s3cr3t@h", "http://u:s3cr3t@", "https://u:s3cr3t@h:99999", "ftp://u:s3cr3t@h", "u:s3cr3t@h"]
)
def test_so_are_urls_of_the_controller(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HEADRACE_{name}", url)
    with pytest.raises(SettingsError, match=rf"^HEADRACE_{name}=\(hidden\): .*") as raised:
        load(ControllerSettings)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("url", ["amqp://u:s3cr3t@h/", "amqp:/u:s3cr3t@h"])
def test_a_url_in_the_place_of_a_files_path_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKER_FILE", url)
    with pytest.raises(SettingsError, match=r"HEADRACE_BROKER_FILE=\(hidden\) is a URL; give the path of a file") as raised:
        load(Settings)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("program", ["service", "consumer", "autoscaler"])
@pytest.mark.parametrize("way", ["HEADRACE_BROKER", "HEADRACE_OUTCOMES_FILE"])
def test_every_program_ends_with_code_2_and_one_line(program: str, way: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:s3cr3t@h/abc")
    value = {"HEADRACE_BROKER": "amqp:/user:s3cr3t@127.0.0.1", "HEADRACE_OUTCOMES_FILE": str(tmp_path / "url")}[way]
    ended = subprocess.run(
        [sys.executable, "-m", program], env=os.environ | {way: value}, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert way in line
    assert value in line or way == "HEADRACE_BROKER"
    assert SECRET not in ended.stderr + ended.stdout
