"""`python -m template new NAME DEST` and `python -m template update`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from template.bake import BakingRefused, Origin, bake, run
from template.names import NameRefused, Names
from template.update import update

# This project's own. A project that is made from it has its own name here.
NAME = "headrace"


def main() -> int:
    """The exit code: 0; 1 where an update has conflicts; 2 for a name, a folder or a repository that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m template", description="Make a project of your own, or bring a newer version in."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="a project of your own")
    new.add_argument("name", help="its name, as in my-team-jobs")
    new.add_argument("folder", nargs="?", help="where; a folder of that name beside this one when left out")
    newer = commands.add_parser("update", help="bring a newer version of the template into the project in this folder")
    newer.add_argument("--source", default="", help="a path or URL of the template's repository; as recorded when left out")
    newer.add_argument("--commit", default="HEAD", help="which version: a tag, a branch, a commit")
    given = parser.parse_args()
    try:
        return _new(given.name, given.folder) if given.command == "new" else _update(given.source, given.commit)
    except (BakingRefused, NameRefused) as error:
        print(error, file=sys.stderr)
        return 2


def _new(name: str, folder: str | None) -> int:
    here = Path(__file__).resolve().parents[1]
    names = Names.of(name)
    to = Path(folder).absolute() if folder else here.parent / names.kebab
    origin = Origin(NAME, names.kebab, str(here), run(here, "git", "rev-parse", "HEAD"))
    bake(origin, to, sys.executable)
    run(to, "git", "init", "--quiet", "--initial-branch=main")
    run(to, "git", "add", "--all")
    who = (
        ()
        if run(to, "git", "config", "--default", "", "user.email")
        else ("-c", f"user.name={name}", "-c", f"user.email={name}@localhost")
    )
    run(to, "git", *who, "commit", "--quiet", "-m", f"{names.title}, made from {NAME} {origin.commit[:12]}")
    print(f"{names.title} is in {to}. Next: cd {to} && make demo")
    return 0


def _update(source: str, commit: str) -> int:
    origin, conflicts = update(Path.cwd(), sys.executable, source, commit)
    if conflicts:
        print(f"{len(conflicts)} files have conflicts; mend the marked places, then commit:", *conflicts, sep="\n  ")
        return 1
    print(
        f"Now at {origin.commit[:12]} of {origin.template}, not committed yet: look at `git diff --cached`, run the tests, commit."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
