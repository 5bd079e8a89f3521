"""The settings of your handlers and resources: a class each, with a description of every field. `headrace settings` lists them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from core.settings import PREFIX, TlsSettings, file_of


class MailSettings(BaseSettings):
    """Where mail goes. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    smtp_host: str = Field("127.0.0.1", description="The mail server.")
    smtp_port: int = Field(2525, ge=1, le=65_535, description="Its port.")
    smtp_from: str = Field("welcome@example.com", description="The sender's address; its domain is also that of the Message-ID.")
    smtp_timeout: float = Field(10.0, gt=0, le=300, description="How long one step of the mail server may take.")
    smtp_connections: int = Field(4, ge=1, le=100, description="Connections to the mail server at once.")


def _check(url: SecretStr) -> SecretStr:
    """The same. Raises ValueError, without the URL."""
    try:
        make_url(url.get_secret_value())
    except (ArgumentError, ValueError):
        raise ValueError("not a URL of SQLAlchemy; in user and password, write special characters as %40 (@), %2F (/)") from None
    return url


class DatabaseSettings(TlsSettings):
    """Where rows go."""

    database: Annotated[SecretStr, AfterValidator(_check)] = Field(
        SecretStr("sqlite:///.headrace/points.db"),
        description="The handlers' own database, as an SQLAlchemy URL: `sqlite:///FILE` or `postgresql+psycopg://…`.",
    )
    database_file: str = file_of("HEADRACE_DATABASE")
    database_connections: int = Field(8, ge=1, le=1000, description="Connections to it at once, from one process.")
