"""The variables of containers: settings that exist, values that the programs take, and no secrets."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from typer.testing import CliRunner

from autoscaler.settings import ControllerSettings
from cli import names
from cli.__main__ import app
from consumer.settings import ConsumerSettings
from core import project
from core.errors import SettingsError
from core.settings import PREFIX, load
from service.keys import Keyring, parse
from service.settings import GatewaySettings
from tests.deploy.files import file, folder, secrets, variables
from tests.deploy.release import LONG_RUNNING, Release, Workload, known_as, leaves
from tests.deploy.render import Object


def _of_yours() -> tuple[type[BaseSettings], ...]:
    """The chart deploys what is in `app`, and not the tests' own handlers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(project.VARIABLE, "app")
        project.import_all()
        return tuple(names.of_app())


PROGRAMS: dict[str, tuple[type[BaseSettings], ...]] = {
    "service": (GatewaySettings,),
    "consumer": (ConsumerSettings, *_of_yours()),
    "autoscaler": (ControllerSettings,),
}
# Where a program says what it listens on: the setting of its address, and that of its port.
LISTENS = {
    "service": ("host", "port"),
    "consumer": ("probe_host", "probe_port"),
    "autoscaler": ("controller_host", "controller_port"),
}
_CODE = Path(__file__).parents[3]
_URL_WITH_PASSWORD = re.compile(r"\w+://[^\s/@]*:[^\s/@]+@")


def program(container: Object) -> str:
    """`service`, `consumer`, `autoscaler`; empty for what is none of the three."""
    words = [*container.get("command", []), *container.get("args", [])]
    return next((after for word, after in pairwise(words) if word == "-m" and after in PROGRAMS), "")


def programs(release: Release) -> Iterator[tuple[Workload, Object, str]]:
    for workload in release.workloads:
        for container in workload.containers:
            if program(container):
                yield workload, container, program(container)


def settings_of(release: Release, workload: Workload, container: Object) -> tuple[BaseSettings, ...]:
    """Its settings, read with exactly the variables and files that it has. Raises SettingsError as the program would."""
    key = (str(workload), container["name"])
    if key not in release.known:
        with read(release, workload, container) as settings:
            release.known[key] = settings
    return tuple(release.known[key])


@contextmanager
def read(release: Release, workload: Workload, container: Object) -> Iterator[tuple[BaseSettings, ...]]:
    """The same, while the files are there."""
    told = {name: value for name, value in variables(release, container).items() if name.startswith(PREFIX)}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as here:
        patch.chdir(here)  # no .env is there
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        for name, value in told.items():
            held = file(release, workload, container, value, name.removesuffix("_FILE")) if name.endswith("_FILE") else None
            if held is not None:
                (Path(here) / name).write_text(held)
            patch.setenv(name, value if held is None else str(Path(here) / name))
        yield tuple(load(kind) for kind in PROGRAMS[program(container)])


@cache
def known() -> frozenset[str]:
    """Settings that there are: the fields of the classes, and variables that the code reads by name."""
    fields = {PREFIX + name.upper() for kinds in PROGRAMS.values() for kind in kinds for name in kind.model_fields}
    code = [path for folder in ("core", "adapters", "telemetry", "cli") for path in (_CODE / folder).rglob("*.py")]
    return frozenset(fields | {name for path in code for name in re.findall(r'"(HEADRACE_\w+)"', path.read_text(encoding="utf-8"))})


def commands_are_the_projects(release: Release) -> Iterator[str]:
    """A command line of ours names a command, with options that it has; `python -m` names a module."""
    for workload in release.workloads:
        for container in workload.containers:
            match [*container.get("command", []), *container.get("args", [])]:
                case ["python", "-m", module, *_] if not _is_there(module):
                    yield f"{workload}: there is no module {module}; without the example, set mail.mode to none"
                case ["headrace", *words]:
                    yield from (f"{workload}: headrace {words[0]}: {wrong}" for wrong in _misunderstood(tuple(words)))


def _is_there(module: str) -> bool:
    """Also where its package is gone."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@cache
def _misunderstood(words: tuple[str, ...]) -> tuple[str, ...]:
    """The complaint of the command line about these words. With --help it runs nothing, and reads the other options first."""
    said = CliRunner().invoke(app, [*words, "--help"])
    return (said.output.strip(),) if said.exit_code else ()


def settings_exist(release: Release) -> Iterator[str]:
    for workload in release.workloads:
        for container in workload.containers:
            for name in variables(release, container):
                plain = name.removesuffix("_FILE")
                if name.startswith(PREFIX) and name not in known() and plain not in known():
                    yield f"{workload}, container {container['name']}: there is no setting {name}"


def settings_are_taken(release: Release) -> Iterator[str]:
    for workload, container, _ in programs(release):
        try:
            settings_of(release, workload, container)
        except SettingsError as error:
            yield from (f"{workload}, container {container['name']}: {line}" for line in str(error).splitlines())


def files_are_read(release: Release) -> Iterator[str]:
    """A setting NAME_FILE names a file that is mounted, and what it holds is what the program has under NAME."""
    for workload, container, _ in programs(release):
        named = {name: value for name, value in variables(release, container).items() if name.endswith("_FILE")}
        held = {name: file(release, workload, container, path, name.removesuffix("_FILE")) for name, path in named.items()}
        missing = [name for name, text in held.items() if text is None]
        yield from (f"{workload}, container {container['name']}: {name}={named[name]} is not mounted" for name in missing)
        if missing:
            continue  # the program would not start either
        with read(release, workload, container) as settings:
            for name, text in held.items():
                if _read(settings, name) != {text}:
                    yield f"{workload}, container {container['name']}: does not read {name}"


def _read(settings: tuple[BaseSettings, ...], name: str) -> set[str]:
    """The content of the file that a setting names, as the program has it: a URL in the place of another setting, or a path."""
    field = name.removeprefix(PREFIX).lower()
    plain = field.removesuffix("_file")
    urls = {getattr(one, plain).get_secret_value() for one in settings if hasattr(one, plain)}
    return urls or {Path(getattr(one, field)).read_text(encoding="utf-8") for one in settings if hasattr(one, field)}


def keys_are_taken(release: Release) -> Iterator[str]:
    """The gateway's API keys are mounted and can be read, and a key that the release itself uses is one of them."""
    for workload, container, which in programs(release):
        where = variables(release, container).get("HEADRACE_API_KEYS", "")
        if which != "service" or where == "open":
            continue
        files = folder(release, workload, container, where, "")
        if files is None:
            yield f"{workload}: HEADRACE_API_KEYS={where} is not mounted"
            continue
        ring = Keyring(key for name, text in files.items() for key in parse(text, name))
        for user, given in _keys_in_use(release) if files else ():
            key = ring.find(given.encode())
            if key is None or not key.scopes >= {"submit", "read"}:
                yield f"{user}: its API key is none that the gateway takes for submit and read"


def _keys_in_use(release: Release) -> Iterator[tuple[Workload, str]]:
    for workload in release.workloads:
        for container in workload.containers:
            if "HEADRACE_API_KEY" in variables(release, container):
                yield workload, variables(release, container)["HEADRACE_API_KEY"]


def they_listen_where_they_are_asked(release: Release) -> Iterator[str]:
    """On all addresses of the pod, not its loopback, and on the port that probes, Services and monitors name."""
    for workload, container, which in programs(release):
        settings, (host, port) = settings_of(release, workload, container)[0], LISTENS[which]
        ports = [one["containerPort"] for one in container.get("ports", [])]
        if workload.kind in LONG_RUNNING and getattr(settings, port) not in ports:
            yield f"{workload}: listens on {getattr(settings, port)}, and its container has ports {ports}"
        if getattr(settings, host) in {"127.0.0.1", "localhost", "::1"}:
            yield f"{workload}: listens on the pod's loopback only"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = ((container.get(probe) or {}).get("httpGet") or {}).get("path")
            wanted = "/readyz" if probe == "readinessProbe" else "/livez"
            if path not in {None, wanted}:
                yield f"{workload}: {probe} asks {path}, not {wanted}"


def no_secret_is_shown(release: Release) -> Iterator[str]:
    """Neither a password in a URL, nor a word of a rendered Secret, in anything but a Secret."""
    words = secrets(release)
    for one in release.objects:
        if one["kind"] != "Secret":
            for path, value in leaves(one):
                if isinstance(value, str) and (_URL_WITH_PASSWORD.search(value) or any(word in value for word in words)):
                    yield f"{known_as(one)}: {path} shows a secret"


CHECKS = (
    commands_are_the_projects,
    settings_exist,
    settings_are_taken,
    files_are_read,
    keys_are_taken,
    they_listen_where_they_are_asked,
    no_secret_is_shown,
)
