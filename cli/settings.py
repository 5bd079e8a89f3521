"""`headrace settings`: every setting as a page, made from the code."""

from __future__ import annotations

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from consumer.handlers.database import DatabaseSettings
from consumer.handlers.email import MailSettings
from consumer.settings import ConsumerSettings
from jobs.settings import PREFIX, Settings
from service.settings import GatewaySettings

_HEAD = """# Settings

Environment variables, or lines of a `.env` file. All are checked at start: a bad value stops the start with its name, its value and
what is allowed. Durations are seconds, sizes are bytes. This page is made by `headrace settings`.
"""


def page() -> str:
    """docs/settings.md."""
    shared = set(Settings.model_fields)
    sections = (
        ("All programs", Settings, set[str]()),
        ("The gateway", GatewaySettings, shared),
        ("The consumer", ConsumerSettings, shared),
        ("The shipped handlers: mail", MailSettings, set[str]()),
        ("The shipped handlers: database", DatabaseSettings, set[str]()),
    )
    return _HEAD + "".join(_section(title, kind, known) for title, kind, known in sections)


def _section(title: str, kind: type[BaseSettings], known: set[str]) -> str:
    rows = [_row(name, field.default, field.description or "") for name, field in kind.model_fields.items() if name not in known]
    return f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def _row(name: str, default: object, description: str) -> str:
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    value = "" if shown == "" else f"`{shown:g}`" if isinstance(shown, float) and shown < 1e5 else f"`{shown}`"
    return f"| `{PREFIX}{name.upper()}` | {value} | {description.replace('|', chr(92) + '|')} |\n"
