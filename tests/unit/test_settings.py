"""docs/settings.md says what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from autoscaler.model import Policy
from autoscaler.settings import ControllerSettings, policy_of
from cli import names
from cli.settings import page
from consumer.settings import ConsumerSettings
from core.errors import SettingsError
from core.settings import PREFIX, load, renamed


def test_the_page_is_the_code() -> None:
    """With the settings of `app`, whatever is in it, and not with those of the tests' own handlers."""
    plain = {name: value for name, value in os.environ.items() if name != "HEADRACE_APP"}
    made = subprocess.run([sys.executable, "-m", "cli", "settings"], env=plain, capture_output=True, text=True, check=True).stdout
    assert Path("docs/settings.md").read_text() == made, "run: make docs"


def test_the_settings_of_a_handler_are_in_the_page_by_themselves() -> None:
    section = page().partition("## Yours: book")[2]
    assert "| `HEADRACE_DATABASE` | `sqlite:///.headrace/points.db` | The file in which credits are written down. |" in section


def test_the_defaults_of_a_policy_can_be_typed_as_they_stand() -> None:
    section = page().partition("## The policy of a workload")[2]
    typed = {name: json.loads(value) for name, value in re.findall(r"^\| `(\w+)` \| `(.+?)` \|", section, re.MULTILINE)}
    assert typed.keys() == {field.name for field in fields(Policy)} - {"floors"}
    assert policy_of(typed) == Policy()
    assert not re.search(r"\.0`|_\d", section)


def test_a_setting_is_read_under_its_old_name_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_LEASE", "20")
    assert load(ConsumerSettings).claim_lease == 20.0
    assert load(ControllerSettings).lease_name == "20"
    line = "HEADRACE_LEASE is called HEADRACE_CLAIM_LEASE now, and the next release does not read the old name"
    assert renamed(ConsumerSettings) == [line]
    assert line in names.unknown()
    monkeypatch.setenv("HEADRACE_CLAIM_LEASE", "30")
    assert (load(ConsumerSettings).claim_lease, renamed(ConsumerSettings)) == (30.0, []), "the new name goes before"
    monkeypatch.delenv("HEADRACE_CLAIM_LEASE")
    monkeypatch.setenv("HEADRACE_LEASE", "")
    (tmp_path / ".env").write_text("HEADRACE_LEASE=much\n")
    with pytest.raises(SettingsError, match="HEADRACE_CLAIM_LEASE='much'"):
        load(ConsumerSettings)


class Required(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX)

    needed_number: int = Field(description="A number that is needed.")
    needed_password: SecretStr = Field(description="A password.")


def test_what_is_missing_is_named_without_what_was_given_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_NEEDED_PASSWORD", "planted")
    with pytest.raises(SettingsError) as refused:
        load(Required)
    assert str(refused.value) == "HEADRACE_NEEDED_NUMBER is not given, and has no default (A number that is needed.)"


def test_a_secret_in_the_wrong_setting_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CONCURRENCY", "amqp://user:planted@host")
    with pytest.raises(SettingsError, match="HEADRACE_CONCURRENCY") as refused:
        load(ConsumerSettings)
    assert "planted" not in str(refused.value)
