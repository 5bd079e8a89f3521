"""`python -m autoscaler`: scale the consumers."""

from __future__ import annotations

import argparse
import sys

import uvloop

from autoscaler.app import ControllerApp
from autoscaler.settings import ControllerSettings
from core import project
from core.errors import ContractError, SettingsError
from core.settings import load, renamed
from telemetry import logs, signals


def main() -> int:
    """The exit code: 0 after a stop, 1 when a task could not be kept running, 2 for a setting or a contract that cannot be used."""
    epilog = "Its settings are environment variables: `headrace settings` lists them."
    argparse.ArgumentParser(prog="python -m autoscaler", description="Scale the consumers.", epilog=epilog).parse_args()
    try:
        settings = load(ControllerSettings)
        app = ControllerApp(settings, project.catalogue())
    except (SettingsError, ContractError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, "controller")
    for line in renamed(ControllerSettings):
        logs.get("controller").warning(line)
    try:
        return 0 if uvloop.run(signals.to_the_end(app.run())) else 1
    except SettingsError as error:  # of what is looked for only now: a free port, a cluster
        print(error, file=sys.stderr)
        return 2
