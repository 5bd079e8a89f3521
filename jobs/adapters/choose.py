"""A URL's scheme chooses the adapter. Imports happen here, late, so that a process loads only what it uses."""

from __future__ import annotations

from urllib.parse import urlsplit

from jobs.clock import Clock, SystemClock
from jobs.errors import SettingsError
from jobs.journal import Journal
from jobs.ports import Broker, OutcomeStore
from jobs.settings import Settings
from jobs.topology import Topology


def broker(settings: Settings, topology: Topology, clock: Clock | None = None) -> Broker:
    """The broker that `HEADRACE_BROKER` names, not opened yet."""
    url = settings.broker.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "amqp" | "amqps":
            from jobs.adapters.rabbitmq import RabbitMQ

            return RabbitMQ(settings.broker.get_secret_value, topology, settings, clock)
        case "sqlite":
            from jobs.adapters.sqlite import SqliteBroker

            return SqliteBroker(sqlite_path(url), topology, settings, clock)
        case "memory":
            from jobs.adapters.sqlite import SqliteBroker

            return SqliteBroker(":memory:", topology, settings, clock)
    raise SettingsError(f"HEADRACE_BROKER has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def outcomes(settings: Settings, clock: Clock | None = None) -> OutcomeStore | None:
    """The outcome store that `HEADRACE_OUTCOMES` names, not opened yet; None for `none:`."""
    url = settings.outcomes.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "none":
            return None
        case "redis" | "rediss":
            from jobs.adapters.redis import RedisOutcomes

            return RedisOutcomes(settings.outcomes.get_secret_value, settings, clock)
        case "sqlite":
            from jobs.adapters.sqlite import SqliteOutcomes

            return SqliteOutcomes(sqlite_path(url), settings, clock)
        case "memory":
            from jobs.adapters.sqlite import SqliteOutcomes

            return SqliteOutcomes(":memory:", settings, clock)
    raise SettingsError(f"HEADRACE_OUTCOMES has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def journal(settings: Settings, clock: Clock | None = None) -> Journal | None:
    """The journal beside the outcomes that `HEADRACE_OUTCOMES` names, not opened yet; None for `none:`."""
    url = settings.outcomes.get_secret_value()
    clock = clock or SystemClock()
    match urlsplit(url).scheme:
        case "none":
            return None
        case "redis" | "rediss":
            from jobs.adapters.redis import RedisJournal

            return RedisJournal(settings.outcomes.get_secret_value, settings)
        case "sqlite" | "memory":
            from jobs.adapters.sqlite import SqliteJournal

            return SqliteJournal(":memory:" if url.startswith("memory") else sqlite_path(url), settings, clock)
    raise SettingsError(f"HEADRACE_OUTCOMES has the scheme {urlsplit(url).scheme!r}, and no adapter has it")


def sqlite_path(url: str) -> str:
    """`sqlite:///relative.db` and `sqlite:////absolute.db`, as SQLAlchemy spells them. Raises SettingsError for others."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise SettingsError(f"{url!r} names no file; write sqlite:///relative.db or sqlite:////absolute.db")
    return path
