"""Settings that every program shares, and how settings are read.

A setting is an environment variable with the prefix `HEADRACE_`, or a line of a `.env` file. Settings are frozen, and
all of them are checked at start: a bad value stops the start with its name, its value and what is allowed. A URL with a
password may stand in a file instead, which a setting of the same name and `_FILE` names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from core.errors import SettingsError
from core.masking import masked
from core.outgoing import trusting
from core.secret_url import FileUrl, Schemes

PREFIX = "HEADRACE_"
EMBEDDED = "sqlite:///.headrace/headrace.db"


# With cluster and sentinel the hosts are a list: host:port,host:port.
REDIS = ("redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")

BrokerUrl = Annotated[SecretStr, AfterValidator(Schemes("sqlite", "amqp", "amqps", "memory"))]
OutcomesUrl = Annotated[SecretStr, AfterValidator(Schemes("sqlite", *REDIS, "memory", "none"))]


class FileSettings(BaseSettings):
    """Settings of which a field `x` may stand in a file: where there is a field `x_file` beside it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Put a FileUrl in the place of each field whose file is given. Raises SettingsError."""
        taken = dict(given)
        for name, field in cls.model_fields.items():
            path = given.get(f"{name}_file") if f"{name}_file" in cls.model_fields else None
            if not path:
                continue
            setting = f"{PREFIX}{name.upper()}"
            if re.match(r"[a-z][a-z+]*:/", str(path)):
                raise SettingsError(f"{setting}_FILE=(hidden) is a URL; give the path of a file, or the URL as {setting}")
            if given.get(name):
                raise SettingsError(f"{setting} and {setting}_FILE are both given; leave one of them out")
            checks: list[Any] = [of.func for of in field.metadata if isinstance(of, AfterValidator)]
            taken[name] = FileUrl(f"{setting}_FILE", Path(path), checks)
        return taken


def file_of(setting: str) -> Any:
    """The field that names a file for another one. setting: its name, such as HEADRACE_BROKER."""
    said = f"A file whose first line is `{setting}`, instead of it; read again for each new connection. See security.md."
    return Field("", description=said)


def _readable(ca_file: str) -> str:
    """The same. Raises ValueError for a file without certificates."""
    if ca_file:
        trusting(ca_file)
    return ca_file


class TlsSettings(FileSettings):
    """Settings of a program that connects to a server."""

    ca_file: Annotated[str, AfterValidator(_readable)] = Field(
        "",
        description="A file of certificates in PEM: authorities that are trusted beside the system's, by AMQP, Redis, PostgreSQL "
        "and HTTP. See security.md.",
    )


class Settings(TlsSettings):
    """The settings of all programs. Durations are seconds."""

    broker: BrokerUrl = Field(
        SecretStr(EMBEDDED), description="Where jobs are queued: `sqlite:///FILE`, `amqp://…`, `amqps://…` or `memory:`."
    )
    broker_file: str = file_of("HEADRACE_BROKER")
    outcomes: OutcomesUrl = Field(
        SecretStr(EMBEDDED),
        description="Where outcomes, claims and dead letters are kept: `sqlite:///FILE`, `redis://…`, `redis+cluster://…`, "
        "`redis+sentinel://…` (each with `rediss` over TLS; see security.md), `memory:`, or `none:` for no claims and no status.",
    )
    outcomes_file: str = file_of("HEADRACE_OUTCOMES")
    publish_timeout: float = Field(5.0, gt=0, le=300, description="How long a publish may wait for the broker's confirm.")
    connect_timeout: float = Field(5.0, gt=0, le=300, description="How long one attempt to connect may take.")
    store_timeout: float = Field(2.0, gt=0, le=300, description="How long the outcome store may take to answer.")
    replication_factor: int = Field(
        3, ge=1, le=7, description="How many replicas a RabbitMQ queue gets, at most as many as the broker has nodes."
    )
    delivery_limit: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="How often a message is handed out again before the broker dead-letters it: a backstop, far above anything "
        "normal. A restart of consumers hands out what they held, and is not the message's fault.",
    )
    max_message_size: int = Field(
        0,
        ge=0,
        le=2**40,
        description="The largest body that RabbitMQ takes, in bytes: its own `max_message_size`. AMQP does not tell it: 0 learns "
        "it from the first refusal, which costs a few jobs beside it a 503.",
    )
    new_queue_pause: float = Field(
        4.0,
        ge=0,
        le=60,
        description="How long nothing is published after a first declaration of RabbitMQ queues: a broker that is killed within "
        "3 s of it forgets the queue, and with it what it confirmed.",
    )
    consumer_timeout: float = Field(
        1800.0, gt=0, description="RabbitMQ's own `consumer_timeout`: what is unsettled for longer costs the channel."
    )
    retention: float = Field(
        604_800.0,
        ge=60,
        description="How long outcomes, claims and queued records are kept. Dead letters stay until they are dropped.",
    )
    journal_records: int = Field(
        2000, ge=10, le=1_000_000, description="How many of the controller's decisions are kept for each queue."
    )
    journal_age: float = Field(86_400.0, ge=60, description="How long they are kept.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is JSON when standard error is not a terminal."
    )


Some = TypeVar("Some", bound=BaseSettings)


def load(kind: type[Some]) -> Some:
    """Read settings from the environment, under old names too. Raises SettingsError with a line for each that cannot be used."""
    old: dict[str, Any] = {name: given for name, _, given in _under_old_names(kind)}
    try:
        return kind(**old)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(kind, error))) from None
    except SourceError as error:  # `error parsing value for field "workloads" from source …`
        name = str(error).split('"')[1]
        raise SettingsError(f"{PREFIX}{name.upper()} is not JSON: {error.__cause__}") from None


def renamed(kind: type[BaseSettings]) -> list[str]:
    """A line for each setting that is given under its old name, which this release still reads."""
    what = "{0}{1} is called {0}{2} now, and the next release does not read the old name"
    return [what.format(PREFIX, was.upper(), name.upper()) for name, was, _ in _under_old_names(kind)]


def _under_old_names(kind: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    """(name, old name, value) of fields with `was` in their json_schema_extra, where only the old one is given."""
    olds = {name: was for name, field in kind.model_fields.items() if (was := old_name(field))}
    if not olds:
        return
    given = {name.upper(): value for of in (dotenv_values(".env"), os.environ) for name, value in of.items() if value}
    for name, was in olds.items():
        if PREFIX + was.upper() in given and PREFIX + name.upper() not in given:
            yield name, was, given[PREFIX + was.upper()]


def old_name(field: FieldInfo) -> str:
    """The name of a setting in the release before, or ""."""
    return str(field.json_schema_extra.get("was", "")) if isinstance(field.json_schema_extra, dict) else ""


def _complaints(kind: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    prefix = str(kind.model_config.get("env_prefix", ""))
    for item in error.errors(include_url=False):
        name = prefix + "_".join(str(part) for part in item["loc"]).upper()
        field = kind.model_fields.get(str(item["loc"][0])) if item["loc"] else None
        about = f" ({field.description})" if field and field.description else ""
        if item["type"] == "missing":  # its input is the whole of what was given, secrets too
            yield f"{name} is not given, and has no default{about}"
            continue
        secret = field is not None and "SecretStr" in repr(field.annotation)
        value = "(hidden)" if secret else masked(repr(item["input"]))
        yield f"{name}={value}: {item['msg']}{about}"
