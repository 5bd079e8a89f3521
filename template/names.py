"""A project's name in the spellings that a file may have it in, and a text from one project's names to another's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from core.errors import SettingsError

# This project's own. A project that is made from it has its own name here.
OWN: Final = "headrace"
# Of the longest object's name in a cluster, 63 characters (RFC 1123), the chart's own parts need some 30.
_MOST = 30
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Names:
    """kebab: `my-team-jobs`, of the chart, the image, the command, labels. snake: `my_team_jobs`, of metrics.

    screaming: `MY_TEAM_JOBS`, of settings. title: `My Team Jobs`, in prose. camel: `MyTeamJobs`, of alerts and errors.
    """

    kebab: str
    snake: str
    screaming: str
    title: str
    camel: str

    @classmethod
    def of(cls, name: str) -> Names:
        """Raises SettingsError."""
        if not _NAME.fullmatch(name) or len(name) > _MOST:
            raise SettingsError(
                f"{name!r} cannot be a project's name: lower-case letters and digits, words joined by single hyphens, "
                f"a letter first, at most {_MOST} characters, as in my-team-jobs"
            )
        words = name.split("-")
        titled = [word.capitalize() for word in words]
        return cls(name, "_".join(words), "_".join(words).upper(), " ".join(titled), "".join(titled))


class Renaming:
    """From one project's names to another's."""

    def __init__(self, old: Names, new: Names) -> None:
        self._old, self._new = old, new
        spellings = dict.fromkeys((old.screaming, old.title, old.camel, old.kebab, old.snake))
        self._found = re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))))

    def of(self, text: str) -> str:
        """Where two spellings are the same, as for a name of one word, the neighbours tell: `_` belongs to a snake, and a capital
        or an f-string's brace behind it to a camel."""
        return self._found.sub(self._one, text)

    def _one(self, found: re.Match[str]) -> str:
        old, new, spelt = self._old, self._new, found[0]
        before, behind = found.string[found.start() - 1 : found.start()], found.string[found.end() : found.end() + 1]
        if spelt == old.screaming and (spelt != old.title or behind == "_"):
            return new.screaming
        if spelt == old.camel and (spelt != old.title or behind == "{" or behind.isupper()):
            return new.camel
        if spelt == old.title:
            return new.title
        if spelt == old.snake and (spelt != old.kebab or "_" in (before, behind)):
            return new.snake
        return new.kebab
