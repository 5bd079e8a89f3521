"""A URL's scheme chooses the adapter. Imports happen here, late, so that a process loads only what it uses."""

from __future__ import annotations

from urllib.parse import urlsplit

from core.clock import Clock, SystemClock
from core.errors import SettingsError
from core.journal import Journal
from core.ports import Broker, OutcomeStore
from core.settings import REDIS, Settings
from core.topology import Topology
from telemetry.supervisor import Supervisor


def broker(settings: Settings, topology: Topology, clock: Clock | None = None, supervisor: Supervisor | None = None) -> Broker:
    """The broker that `HEADRACE_BROKER` names, not opened yet. supervisor: owns its loops; without one it makes its own."""
    url = settings.broker.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "amqp" | "amqps":
            from adapters.rabbitmq import RabbitMQ

            return RabbitMQ(settings.broker.get_secret_value, topology, settings, clock, supervisor)
        case "sqlite":
            from adapters.sqlite import SqliteBroker

            return SqliteBroker(sqlite_path(url), topology, settings, clock, supervisor=supervisor)
        case "memory":
            from adapters.sqlite import SqliteBroker

            return SqliteBroker(":memory:", topology, settings, clock, supervisor=supervisor)
    raise SettingsError(f"HEADRACE_BROKER has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def outcomes(settings: Settings, clock: Clock | None = None, supervisor: Supervisor | None = None) -> OutcomeStore | None:
    """The outcome store that `HEADRACE_OUTCOMES` names, not opened yet; None for `none:`. supervisor: as for the broker."""
    url = settings.outcomes.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "none":
            return None
        case scheme if scheme in REDIS:
            from adapters.redis import RedisOutcomes

            return RedisOutcomes(settings.outcomes.get_secret_value, settings, clock)
        case "sqlite":
            from adapters.sqlite import SqliteOutcomes

            return SqliteOutcomes(sqlite_path(url), settings, clock, supervisor)
        case "memory":
            from adapters.sqlite import SqliteOutcomes

            return SqliteOutcomes(":memory:", settings, clock, supervisor)
    raise SettingsError(f"HEADRACE_OUTCOMES has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def journal(settings: Settings, clock: Clock | None = None, supervisor: Supervisor | None = None) -> Journal | None:
    """The journal beside the outcomes that `HEADRACE_OUTCOMES` names, not opened yet; None for `none:`. supervisor: as above."""
    url = settings.outcomes.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "none":
            return None
        case scheme if scheme in REDIS:
            from adapters.redis import RedisJournal

            return RedisJournal(settings.outcomes.get_secret_value, settings)
        case "sqlite" | "memory":
            from adapters.sqlite import SqliteJournal

            path = ":memory:" if url.startswith("memory") else sqlite_path(url)
            return SqliteJournal(path, settings, clock, supervisor)
    raise SettingsError(f"HEADRACE_OUTCOMES has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def sqlite_path(url: str) -> str:
    """`sqlite:///relative.db` and `sqlite:////absolute.db`, as SQLAlchemy spells them. Raises SettingsError without the URL."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise SettingsError("a URL with the scheme sqlite names no file; write sqlite:///relative.db or sqlite:////absolute.db")
    return path
