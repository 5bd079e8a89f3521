"""The project's own database, which several handlers share."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase

from app.settings import DatabaseSettings
from consumer import resource
from core.settings import load

# libpq's own settings, for what the URL says nothing of: a server that vanishes without a word is noticed after 25 s at most, not
# after the 2 hours (a connection at rest) or 15 minutes (one that has sent) of Linux' defaults.
_NOTICED_SOON = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class Base(DeclarativeBase):
    """The tables of all handlers."""


@resource
def open_engine() -> Iterator[Engine]:
    settings = load(DatabaseSettings)
    url = make_url(settings.database.get_secret_value())
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, pool_size=settings.database_connections, max_overflow=0, pool_timeout=10.0, pool_pre_ping=True)
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _wait_for_writers)
    event.listen(engine, "do_connect", _connect_anew(settings.database, settings.ca_file))
    create_tables(engine)
    yield engine
    engine.dispose()


def create_tables(engine: Engine) -> None:
    """Create what is missing. Two processes may start at once: the second one finds the first one's table."""
    for _ in range(5):
        try:
            return Base.metadata.create_all(engine)
        except (IntegrityError, OperationalError, ProgrammingError):
            threading.Event().wait(random.uniform(0.05, 0.2))
    return Base.metadata.create_all(engine)


def insert_once(engine: Engine, table: type[Base], row: dict[str, Any]) -> bool:
    """Insert a row unless one with its key is there. False: it was there."""
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    with engine.begin() as connection:
        insert = dialect.insert(table).values(row).on_conflict_do_nothing().returning(*table.__table__.primary_key)
        return connection.execute(insert).first() is not None


def _connect_anew(url: SecretStr, ca_file: str) -> Callable[..., Any]:
    """Connects to what the URL says now, since a password may have changed in its file.

    ca_file: authorities to trust, where neither the URL nor libpq's own variable PGSSLROOTCERT names any.
    """
    trusted = {"sslrootcert": ca_file} if ca_file and not os.environ.get("PGSSLROOTCERT") else {}

    def connect(dialect: Any, *_: Any) -> Any:
        args, parameters = dialect.create_connect_args(make_url(url.get_secret_value()))
        defaults = _NOTICED_SOON | trusted if dialect.name == "postgresql" else {}
        return dialect.connect(*args, **(defaults | parameters))

    return connect


def _wait_for_writers(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 10000")
