"""The handlers' own database: certificates of a private authority, and passwords that change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from app.resources.database import open_engine
from app.settings import DatabaseSettings
from core.errors import SettingsError
from core.outgoing import CA_FILE
from core.settings import load
from tests.integration.test_rotated_credentials import FIRST, SECOND, refuses_a_missing_file, with_login
from tests.servers.postgres import Postgres
from tests.servers.tls import Authority


def test_a_private_authority(
    secret_postgres: Postgres, authority: Authority, another_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq asks for a certificate's authority where the URL's sslmode does."""
    monkeypatch.setenv("HEADRACE_DATABASE", f"{secret_postgres.url}?sslmode=verify-full")
    monkeypatch.setenv(CA_FILE, str(authority.certificate))
    opened = open_engine()
    engine = next(opened)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar() is True
    assert next(opened, None) is None
    monkeypatch.setenv(CA_FILE, str(another_authority.certificate))
    with pytest.raises(OperationalError, match="certificate verify failed"):
        next(open_engine())
    monkeypatch.setenv("PGSSLROOTCERT", str(authority.certificate))  # libpq's own variable takes precedence
    opened = open_engine()
    next(opened)
    assert next(opened, None) is None


@contextmanager
def engine(file: Path) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HEADRACE_DATABASE_FILE", str(file))
        yield from open_engine()


def test_postgresql_takes_a_changed_password_with_the_next_connection(postgres_server: Postgres, tmp_path: Path) -> None:
    postgres_server.sql(f"CREATE ROLE rotated LOGIN PASSWORD '{FIRST}'")
    postgres_server.sql("GRANT ALL ON SCHEMA public TO rotated")
    postgres_server.ask_password("rotated")
    file = tmp_path / "url"
    file.write_text(with_login(postgres_server.url, "rotated", FIRST))

    def one(engine: Engine) -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT 1")).scalar_one())

    with engine(file) as opened:
        assert one(opened) == 1
        postgres_server.sql(f"ALTER ROLE rotated PASSWORD '{SECOND}'")
        assert one(opened) == 1, "the open connection stays"
        postgres_server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'")
        with pytest.raises(OperationalError, match="password authentication failed") as raised:
            one(opened)
        file.write_text(with_login(postgres_server.url, "rotated", SECOND))
        assert one(opened) == 1
    assert not [word for word in (FIRST, SECOND, quote(FIRST, safe=""), quote(SECOND, safe="")) if word in str(raised.value)]


def test_the_database_has_a_file_which_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    monkeypatch.setenv("HEADRACE_DATABASE_FILE", str(file))
    for word in "ab":
        file.write_text(f"postgresql+psycopg://u:{word}@h/d\n")
        assert load(DatabaseSettings).database.get_secret_value() == f"postgresql+psycopg://u:{word}@h/d"


async def test_a_missing_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    await refuses_a_missing_file(tmp_path, ("consumer", "DATABASE"))


def test_a_database_file_that_is_wrong_at_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("s3cret")
    with pytest.raises(SettingsError, match="not a URL of SQLAlchemy") as raised, engine(tmp_path / "url"):
        pass
    assert str(raised.value).startswith("HEADRACE_DATABASE_FILE=")
    assert "s3cret" not in str(raised.value)
