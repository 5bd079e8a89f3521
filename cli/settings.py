"""`headrace settings`: every setting as a page, made from the code."""

from __future__ import annotations

import inspect
import re

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from autoscaler.model import Policy
from autoscaler.settings import ControllerSettings
from consumer.handlers.database import DatabaseSettings
from consumer.handlers.email import MailSettings
from consumer.settings import ConsumerSettings
from jobs.settings import PREFIX, Settings, TlsSettings
from service.settings import GatewaySettings

# A line of the Policy class: name, type, default, comment.
_FIELD = re.compile(r"^    (\w+): (?:int|float) = ([\w.]+)(?:  # (.+))?$", re.MULTILINE)
_POLICY_HEAD = """
## The policy of a workload

Fields of `policy` in `HEADRACE_WORKLOADS`, such as `{"min_replicas": 0, "max_replicas": 30}`. `floors` is a list of
`{"cron": "* 8-17 * * mon-fri", "replicas": 20, "zone": "Europe/Berlin"}`: at least that many replicas in each minute that matches.

| field | default | meaning |
| --- | --- | --- |
"""
_HEAD = """# Settings

Environment variables, or lines of a `.env` file. All are checked at start: a bad value stops the start with its name, its value and
what is allowed. Durations are seconds, sizes are bytes. This page is made by `headrace settings`.

The command line, as a client of the gateway, reads one variable more, from the environment alone: `HEADRACE_API_KEY`, the key
it sends where `--api-key-file` is not given (security.md). Those that only tests read are in extending.md. `headrace check`
warns of names that nobody reads.
"""


def page() -> str:
    """docs/settings.md."""
    shared = set(Settings.model_fields)
    sections = (
        ("All programs", Settings, set[str]()),
        ("The gateway", GatewaySettings, shared),
        ("The consumer", ConsumerSettings, shared),
        ("The controller", ControllerSettings, shared),
        ("The shipped handlers: mail", MailSettings, set[str]()),
        ("The shipped handlers: database", DatabaseSettings, set(TlsSettings.model_fields)),
    )
    return _HEAD + "".join(_section(title, kind, known) for title, kind, known in sections) + _policy()


def _policy() -> str:
    """The fields of a policy, with the comments that stand beside them in the code."""
    source = inspect.getsource(Policy)
    rows = [f"| `{name}` | `{default}` | {said} |\n" for name, default, said in _FIELD.findall(source)]
    return _POLICY_HEAD + "".join(rows)


def _section(title: str, kind: type[BaseSettings], known: set[str]) -> str:
    rows = [_row(name, field.default, field.description or "") for name, field in kind.model_fields.items() if name not in known]
    return f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def _row(name: str, default: object, description: str) -> str:
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    value = "" if shown in ("", ()) else f"`{shown:g}`" if isinstance(shown, float) and shown < 1e5 else f"`{shown}`"
    return f"| `{PREFIX}{name.upper()}` | {value} | {description.replace('|', chr(92) + '|')} |\n"
