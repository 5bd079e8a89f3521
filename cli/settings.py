"""`headrace settings`: every setting as a page, made from the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from autoscaler.model import Policy
from autoscaler.settings import ControllerSettings
from cli import names
from consumer.settings import ConsumerSettings
from core import project
from core.settings import PREFIX, Settings, TlsSettings
from service.settings import GatewaySettings

# A line of the Policy class: name, type, default, comment; the first and the last are taken.
_FIELD = re.compile(r"^    (\w+): (?:int|float) = [\w.]+(?:  # (.+))?$", re.MULTILINE)
_POLICY_HEAD = """
## The policy of a workload

Fields of `policy` in `HEADRACE_WORKLOADS`, such as `{"min_replicas": 0, "max_replicas": 30}`. `floors` is a list of
`{"cron": "* 8-17 * * mon-fri", "replicas": 20, "zone": "Europe/Berlin"}`: at least that many replicas in each minute that matches.

| field | default | meaning |
| --- | --- | --- |
"""
_HEAD = """# Settings

Environment variables, or lines of a `.env` file. All are checked at start: a bad value stops the start with its name, its value and
what is allowed. Durations are seconds, sizes are bytes. This page is made by `make docs`.

The command line, as a client of the gateway, reads one variable more, from the environment alone: `HEADRACE_API_KEY`, the key
it sends where `--api-key-file` is not given (security.md). All programs read `HEADRACE_APP` from there: the package that holds your
job types and handlers, if it is not `app`. Those that only tests read are in extending.md. `headrace check`
warns of names that nobody reads.
"""


def page() -> str:
    """docs/settings.md."""
    project.import_all()
    shared = set(Settings.model_fields)
    sections: tuple[tuple[str, type[BaseSettings], set[str]], ...] = (
        ("All programs", Settings, set[str]()),
        ("The gateway", GatewaySettings, shared),
        ("The consumer", ConsumerSettings, shared),
        ("The controller", ControllerSettings, shared),
        *((_title(kind), kind, shared | set(TlsSettings.model_fields)) for kind in names.of_app()),
    )
    return _HEAD + "".join(_section(title, kind, known) for title, kind, known in sections) + _policy()


def _title(kind: type[BaseSettings]) -> str:
    """Such as `Yours: mail`, of MailSettings."""
    return f"Yours: {kind.__name__.removesuffix('Settings').lower()}"


def _policy() -> str:
    """The fields of a policy with their defaults, and the comments that stand beside them in the code."""
    source, defaults = inspect.getsource(Policy), {field.name: field.default for field in fields(Policy)}
    rows = [f"| `{name}` | `{_typed(defaults[name])}` | {said} |\n" for name, said in _FIELD.findall(source)]
    return _POLICY_HEAD + "".join(rows)


def _section(title: str, kind: type[BaseSettings], known: set[str]) -> str:
    rows = [
        _row(name, "required" if field.is_required() else field.default, field.description or "")
        for name, field in kind.model_fields.items()
        if name not in known
    ]
    return f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def _row(name: str, default: object, description: str) -> str:
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    value = "" if shown in ("", ()) else f"`{_typed(shown)}`"
    return f"| `{PREFIX}{name.upper()}` | {value} | {description.replace('|', chr(92) + '|')} |\n"


def _typed(value: object) -> str:
    """As one types it in a variable or in JSON: `10000`, `0.05`, `false`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
