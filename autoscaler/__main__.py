"""`python -m autoscaler`: scale the consumers."""

from __future__ import annotations

import sys

from telemetry.early import wish


def main() -> int:
    """The exit code of the program."""
    wish.listen()  # before the rest is loaded
    from autoscaler import program

    return program.main()


if __name__ == "__main__":
    sys.exit(main())
