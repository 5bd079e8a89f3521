"""A project under another name, and a newer version of the template in it: with git, as its owners have it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from template.bake import ORIGIN, BakingRefused, Origin, bake
from template.names import OWN, Names
from template.update import update

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.needs("git")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=one", "-c", "user.email=one@localhost")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def committed(folder: Path, message: str = "all") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def texts(folder: Path) -> dict[str, bytes]:
    """Every file, but for git's own; of a link where it leads."""
    found = [path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts and not path.is_dir()]
    return {
        str(path.relative_to(folder)): str(path.readlink()).encode() if path.is_symlink() else path.read_bytes() for path in found
    }


@pytest.fixture
def live(tmp_path: Path) -> Origin:
    """This project in its present state, committed or not, in a repository of its own."""
    copy = tmp_path / "live"
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_symlink() or (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    git(copy, "init", "--quiet", "--initial-branch=main")
    return Origin(OWN, OWN, str(copy), committed(copy))


def test_under_its_own_name_it_is_the_same_byte_for_byte(live: Origin, tmp_path: Path) -> None:
    bake(live, tmp_path / "same", sys.executable)
    baked = texts(tmp_path / "same")
    assert baked.pop(ORIGIN)
    assert baked == {name: text for name, text in texts(Path(live.source)).items() if name != ORIGIN}


@pytest.mark.parametrize("name", ["my-team-jobs", "x9"])
def test_nothing_of_the_old_name_is_left_and_it_works(live: Origin, tmp_path: Path, name: str) -> None:
    project, names = tmp_path / name, Names.of(name)
    bake(Origin(live.template, name, live.source, live.commit), project, sys.executable)
    baked = texts(project)
    assert Origin.read(project).template == OWN
    del baked[ORIGIN]
    left = [path for path, text in baked.items() if OWN in path.lower() or OWN.encode() in text.lower()]
    assert left == []
    assert f"helm/{names.kebab}/Chart.yaml" in baked
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["cli", "check"]):
        run(project, *command)
    assert run(project, "cli", "settings") == baked["docs/settings.md"].decode(), "its page is the one that it would generate"


def run(project: Path, *module: str) -> str:
    """The output of one of the project's own modules, or of a tool on it, which ends well."""
    command, environment = [sys.executable, "-m", *module], _apart(project)
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _apart(project: Path) -> dict[str, str]:
    """An environment in which the project's own modules are found, and not those of this one, which are installed."""
    folder = project.parent / "apart"
    folder.mkdir(exist_ok=True)
    lines = "import sys\nsys.meta_path[:] = [one for one in sys.meta_path if 'Editable' not in getattr(one, '__name__', '')]\n"
    (folder / "sitecustomize.py").write_text(lines)
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{project}:{folder}"}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A small one, with two versions."""
    folder = tmp_path / "template"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{OWN}"\n[tool.ruff.lint.pycodestyle]\nmax-line-length = 132\n')
    (folder / "engine.py").write_text(f'"""Of {OWN}."""\n\nONE = 1\n\nTWO = 2\n\nTHREE = 3\n')
    (folder / "yours.py").write_text(f'"""The example of {OWN}."""\n')
    (folder / "gone.py").write_text('"""No more in the next version."""\n')
    committed(folder)
    git(folder, "tag", "one")
    (folder / "engine.py").write_text(f'"""Of {OWN}."""\n\nONE = 1\n\nTWO = 2\n\nTHREE = 33\n')
    (folder / "gone.py").unlink()
    (folder / "more.py").write_text(f'"""More of {OWN}."""\n')
    committed(folder)
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """Made from the first version."""
    folder = tmp_path / "project"
    bake(Origin(OWN, "my-team-jobs", str(template), git(template, "rev-parse", "one")), folder, sys.executable)
    git(folder, "init", "--quiet", "--initial-branch=main")
    committed(folder)
    return folder


def test_an_update_keeps_what_owners_changed_and_takes_what_the_template_changed(template: Path, project: Path) -> None:
    (project / "yours.py").write_text('"""Ours."""\n')
    (project / "engine.py").write_text((project / "engine.py").read_text().replace("ONE = 1", "ONE = 11"))
    committed(project)
    origin, conflicts = update(project, sys.executable)
    assert conflicts == []
    assert (project / "yours.py").read_text() == '"""Ours."""\n'
    assert (project / "engine.py").read_text() == '"""Of my-team-jobs."""\n\nONE = 11\n\nTWO = 2\n\nTHREE = 33\n'
    assert (project / "more.py").read_text() == '"""More of my-team-jobs."""\n'
    assert not (project / "gone.py").exists()
    assert Origin.read(project) == origin
    assert origin.commit == git(template, "rev-parse", "HEAD")
    committed(project)
    assert update(project, sys.executable) == (origin, []), "a second one has nothing to do"


def test_both_sides_changes_of_one_place_are_a_conflict_with_its_file(project: Path) -> None:
    (project / "engine.py").write_text((project / "engine.py").read_text().replace("THREE = 3", "THREE = 333"))
    committed(project)
    _, conflicts = update(project, sys.executable)
    assert conflicts == ["engine.py"]
    text = (project / "engine.py").read_text()
    assert "<<<<<<<" in text
    assert "THREE = 333" in text
    assert "THREE = 33\n" in text


def test_an_update_refuses_what_could_not_be_undone(project: Path) -> None:
    (project / "yours.py").write_text('"""Not committed."""\n')
    with pytest.raises(BakingRefused, match="commit or stash"):
        update(project, sys.executable)


def test_a_project_that_knows_of_no_template_is_refused(project: Path) -> None:
    (project / ORIGIN).write_text("{}")
    committed(project)
    with pytest.raises(BakingRefused, match="does not say where this project comes from"):
        update(project, sys.executable)


def test_a_folder_that_is_in_use_is_refused(template: Path, project: Path) -> None:
    with pytest.raises(BakingRefused, match="not empty"):
        bake(Origin(OWN, "x9", str(template), "HEAD"), project, sys.executable)
