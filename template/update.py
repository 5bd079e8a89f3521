"""A newer version of the template, into a project that its owners have changed: a three-way merge, which git makes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from template.bake import BakingRefused, Origin, bake, run


def update(project: Path, python: str, source: str = "", commit: str = "HEAD") -> tuple[Origin, list[str]]:
    """Merge what has changed in the template since the project was made, or updated last. source: where the template is now; as
    recorded when empty. The new origin, and the files with conflicts, which are marked in them as by any merge of git.

    Parts that both sides left alone, or that only one has changed, are no conflict. Nothing is committed. Raises BakingRefused.
    """
    if run(project, "git", "status", "--porcelain"):
        raise BakingRefused(f"{project} has changes that are not committed: commit or stash them, so that the update can be undone")
    before = Origin.read(project)
    source = source or before.source
    newest = run(project, "git", "ls-remote", source, commit).split()[:1] or [commit]
    after = replace(before, source=source, commit=newest[0])
    with tempfile.TemporaryDirectory() as scratch:
        base = _commit(project, _baked(replace(before, source=source), Path(scratch, "base"), python), "template before")
        head = _commit(project, _baked(after, Path(scratch, "head"), python), "template now", "-p", base)
    return after, _merge(project, head)


def _baked(origin: Origin, to: Path, python: str) -> Path:
    bake(origin, to, python)
    return to


def _commit(project: Path, tree: Path, message: str, *parent: str) -> str:
    """A folder's files as a commit of the project's repository, on no branch."""
    index = f"--git-dir={project / run(project, 'git', 'rev-parse', '--git-dir')}"
    own = tree.with_suffix(".index")
    git = ("env", f"GIT_INDEX_FILE={own}", "git", index, f"--work-tree={tree}")
    run(tree, *git, "add", "--all", "--force")
    written = run(tree, *git, "write-tree")
    who = ("-c", "user.name=template", "-c", "user.email=template@localhost")
    return run(project, "git", *who, "commit-tree", written, "-m", message, *parent)


def _merge(project: Path, commit: str) -> list[str]:
    """As a cherry-pick does it: the change of one commit, here."""
    try:
        run(project, "git", "cherry-pick", "--no-commit", commit)
    except BakingRefused:
        conflicts = run(project, "git", "diff", "--name-only", "--diff-filter=U").splitlines()
        if not conflicts:
            raise
        return conflicts
    return []
