"""`python -m autoscaler`: scale the consumers."""

from __future__ import annotations

import sys

import uvloop

import contracts
from autoscaler.app import ControllerApp
from autoscaler.settings import ControllerSettings
from jobs.catalogue import Catalogue
from jobs.errors import ContractError, SettingsError
from jobs.settings import load
from telemetry import logs


def main() -> int:
    """The exit code: 0 after a stop, 2 for a setting or a contract that cannot be used."""
    try:
        settings = load(ControllerSettings)
        app = ControllerApp(settings, Catalogue.of(contracts))
    except (SettingsError, ContractError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, "controller")
    uvloop.run(app.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
