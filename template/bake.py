"""A tree of files under another name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import HeadraceError
from template.names import Names, Renaming

# The origin of a project. The one file in which the template's name is left.
ORIGIN = ".template.json"
# Names differ in length, and a comment is wrapped by hand: lint lets lines of a new project be longer by this number of names.
_NAMES_IN_A_LINE = 6
_LONGEST_LINE = re.compile(r"^max-line-length = (\d+)", re.MULTILINE)


class BakingRefused(HeadraceError):
    """The text says why, and what to do."""


@dataclass(frozen=True)
class Origin:
    """template: the name of the project that this one was made from. source: a path or URL that git can clone. commit: its."""

    template: str
    name: str
    source: str
    commit: str

    @classmethod
    def read(cls, project: Path) -> Origin:
        """Raises BakingRefused."""
        try:
            said = json.loads((project / ORIGIN).read_text(encoding="utf-8"))
            return cls(**{name: str(said[name]) for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BakingRefused(f"{project / ORIGIN} does not say where this project comes from: {error}") from None

    def write(self, project: Path) -> None:
        (project / ORIGIN).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def run(folder: Path, *command: str) -> str:
    """A command's output. Raises BakingRefused with its error output."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - ours: git, ruff
    except FileNotFoundError:
        raise BakingRefused(f"{command[0]} is not installed, or {folder} is not there") from None
    if done.returncode:
        raise BakingRefused(f"`{' '.join(command)}` in {folder} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout.strip()


def export(source: str | Path, commit: str, to: Path) -> None:
    """The files of a commit into `to`, a folder that is made. Raises BakingRefused."""
    run(Path.cwd(), "git", "clone", "--quiet", "--no-checkout", str(source), str(to))
    run(to, "git", "checkout", "--quiet", commit)
    shutil.rmtree(to / ".git")


def rename(tree: Path, old: Names, new: Names) -> None:
    """Every path, text and link below `tree`, in place. Files that are no UTF-8 keep what is in them."""
    renaming = Renaming(old, new)
    for path in sorted(tree.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if path.is_symlink():
            target = renaming.of(str(path.readlink()))
            path.unlink()
            path.symlink_to(target)
        elif path.is_file():
            _rename_text(path, renaming)
        named = renaming.of(path.name)
        if named != path.name:
            path.rename(path.with_name(named))


def _rename_text(path: Path, renaming: Renaming) -> None:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return
    if (renamed := renaming.of(text)) != text:
        path.write_bytes(renamed.encode("utf-8"))


def allow_longer_lines(tree: Path, old: Names, new: Names) -> None:
    """In pyproject.toml, for lines that hold the name."""
    growth = max(0, len(new.title) - len(old.title)) * _NAMES_IN_A_LINE
    file = tree / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    longer, found = _LONGEST_LINE.subn(lambda line: f"max-line-length = {int(line[1]) + growth}", text)
    if not found:
        raise BakingRefused(f"{file} has no max-line-length below [tool.ruff.lint.pycodestyle]")
    file.write_text(longer, encoding="utf-8")


def bake(origin: Origin, to: Path, python: str) -> None:
    """The project of `origin` into the folder `to`, which is made. python: one that may have ruff, which then formats the code:
    names differ in length. Raises BakingRefused."""
    old, new = Names.of(origin.template), Names.of(origin.name)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BakingRefused(f"{to} is there already, and not empty: name another folder")
    if new != old:
        _need_ruff(python)
    export(origin.source, origin.commit, to)
    rename(to, old, new)
    if new != old:
        allow_longer_lines(to, old, new)
        run(to, python, "-m", "ruff", "format", "--quiet", ".")
        run(to, python, "-m", "ruff", "check", "--quiet", "--select", "I", "--fix", ".")
    origin.write(to)


def _need_ruff(python: str) -> None:
    try:
        run(Path.cwd(), python, "-m", "ruff", "--version")
    except BakingRefused:
        raise BakingRefused("ruff, which formats the code of the new project, is not installed: `make report-tools`") from None
