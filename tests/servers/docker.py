"""A Docker engine, and images built with it. No other engine is started than the one of the cluster beside this folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.servers import find, hidden, missing
from tests.servers.kubernetes import SCRIPT

_ROOT = Path(__file__).parents[2]
_STAND_IN = "headrace.local/python:latest"  # of the official Python image, where no image registry is reached
_ENVIRONMENT = os.environ | {"DOCKER_BUILDKIT": "1"}  # which older clients have, and use only with this variable


@cache
def engine() -> Path:
    """The client of an engine that answers. Skips the test, or fails it where `docker` is required, when there is none."""
    if hidden("docker"):
        missing("docker", "hidden")
    # A distribution's client is of one release with its engine; another one on PATH may lack what BuildKit needs.
    client = Path(shutil.which("/usr/bin/docker") or find("docker", "docker"))
    if not _answers(client) and SCRIPT.exists():
        subprocess.run([SCRIPT, "base"], capture_output=True, timeout=600, check=False)  # starts one, if it was ever installed
    if not _answers(client):
        missing("docker", f"no engine answers {client}")
    return client


def run(*arguments: str, timeout: float = 60.0, both: bool = False) -> str:
    """The output of `docker …`; `both`: with its standard error. Raises RuntimeError with its complaint."""
    command: list[str | Path] = [engine(), *arguments]
    errors = subprocess.STDOUT if both else subprocess.PIPE
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=timeout, check=False, env=_ENVIRONMENT)
    if done.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {(done.stderr or done.stdout)[-4000:]}")
    return done.stdout


def has(image: str) -> bool:
    return bool(run("image", "ls", "--quiet", image))


@cache
def base() -> str:
    """The base of images, with its tag: $HEADRACE_BASE_IMAGE, else the stand-in where it is, else the Dockerfile's own."""
    official = re.search(r"^ARG BASE_IMAGE=(\S+)", (_ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert official
    return os.environ.get("HEADRACE_BASE_IMAGE") or (_STAND_IN if has(_STAND_IN) else official[1])


def build(
    tag: str,
    *,
    context: Path = _ROOT,
    dockerfile: Path | None = None,
    arguments: Mapping[str, str] | None = None,
    seconds: float = 900,
) -> None:
    """Build an image. arguments: build arguments besides BASE_IMAGE, which is `base()`."""
    given = {"BASE_IMAGE": base()} | dict(arguments or {})
    options = [option for name, value in given.items() for option in ("--build-arg", f"{name}={value}")]
    file = dockerfile or context / "Dockerfile"
    # The host's network: a registry of packages may be reached by a proxy on it.
    run("build", "--network=host", "--file", str(file), "--tag", tag, *options, str(context), timeout=seconds)


def _answers(client: Path) -> bool:
    return subprocess.run([client, "info"], capture_output=True, timeout=30, check=False).returncode == 0
