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
    if after == before:
        return after, []
    with tempfile.TemporaryDirectory() as scratch:
        base = _commit(project, replace(before, source=source), Path(scratch, "base"), python)
        head = _commit(project, after, Path(scratch, "head"), python, "-p", base)
    return after, _merge(project, head)


def _commit(project: Path, origin: Origin, tree: Path, python: str, *parent: str) -> str:
    """A version of the template under the project's names, as a commit of the project's repository, on no branch."""
    bake(origin, tree, python)
    repository = project / run(project, "git", "rev-parse", "--git-dir")
    git = ("env", f"GIT_INDEX_FILE={tree.with_suffix('.index')}", "git", f"--git-dir={repository}", f"--work-tree={tree}")
    run(tree, *git, "add", "--all", "--force")
    written = run(tree, *git, "write-tree")
    who = ("-c", "user.name=template", "-c", "user.email=template@localhost")
    return run(project, "git", *who, "commit-tree", written, "-m", f"template at {origin.commit}", *parent)


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
