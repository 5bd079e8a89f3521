"""`headrace new` and `headrace update`: a project of your own, and a newer version of the template in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from template.bake import BakingRefused, Origin, bake, run
from template.names import OWN, Names
from template.update import update

_HERE = Path(__file__).resolve().parents[1]


def new(name: str, folder: Path | None) -> None:
    """A folder with this project under another name, and a repository with a first commit. Raises BakingRefused, SettingsError."""
    names = Names.of(name)
    to = (folder or _HERE.parent / names.kebab).absolute()
    if left := run(_HERE, "git", "status", "--porcelain").splitlines():
        print(f"Not taken, since it is not committed: {len(left)} changes in {_HERE}", file=sys.stderr)
    origin = Origin(OWN, names.kebab, str(_HERE), run(_HERE, "git", "rev-parse", "HEAD"))
    bake(origin, to, sys.executable)
    _render(to, names)
    run(to, "git", "init", "--quiet", "--initial-branch=main")
    run(to, "git", "add", "--all")
    run(to, "git", *_author(to, names), "commit", "--quiet", "-m", f"{names.title}, made from {OWN} {origin.commit[:12]}")
    print(f"{names.title} is in {to}. Next: cd {to} && make demo")


def update_here(source: str, commit: str) -> int:
    """In the project that is the working directory. The exit code: 1 where files have conflicts. Raises BakingRefused."""
    origin, conflicts = update(Path.cwd(), sys.executable, source, commit)
    if conflicts:
        print(f"{len(conflicts)} files have conflicts; mend the marked places, then commit:", *conflicts, sep="\n  ")
        return 1
    print(
        f"Now at {origin.commit[:12]} of {origin.template}, not committed yet: look at `git diff --cached`, run the tests, commit."
    )
    return 0


def made_from() -> str:
    """Where this project comes from, in words; empty for the template itself."""
    try:
        origin = Origin.read(_HERE)
    except BakingRefused:  # not made from anything, or installed without its repository
        return ""
    return f", made from {origin.template} {origin.commit[:12]}"


def _render(project: Path, names: Names) -> None:
    """Render the plain manifests again: they hold checksums of texts in which the name is."""
    if shutil.which("helm") is None:
        print("Helm is not installed: run `make docs` in the new project once it is", file=sys.stderr)
        return
    (project / "k8s" / f"{names.kebab}.yaml").write_text(run(project, "k8s/render.sh") + "\n", encoding="utf-8")


def _author(project: Path, names: Names) -> tuple[str, ...]:
    """For a machine on which git does not know who commits."""
    if run(project, "git", "config", "--default", "", "user.email"):
        return ()
    return ("-c", f"user.name={names.title}", "-c", f"user.email={names.kebab}@localhost")
