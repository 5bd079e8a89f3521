"""URLs that hold a password: checked without being shown, and, where a file holds one, read again at each use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import SecretStr

from core import url_forms
from core.errors import SettingsError

# The standard library's: this package knows no other, and `telemetry/logs.py` gives it the same form.
_log = logging.getLogger("headrace.settings")

MOST_BYTES = 65_536  # of a file: a URL is shorter, and a wrong file may be anything

Url = str | Callable[[], str]  # a URL, or a function that gives it at each use
Check = Callable[[SecretStr], object]  # raises ValueError that says what is wrong, without the URL


def anew(url: Url) -> Callable[[], str]:
    """A function that gives the URL at each use."""
    return url if callable(url) else lambda: url


class Schemes:
    """Checks that a URL has one of these schemes, and the form of its scheme. optional: an empty one will do."""

    def __init__(self, *allowed: str, optional: bool = False) -> None:
        self._allowed = allowed
        self._optional = optional

    def __call__(self, url: SecretStr) -> SecretStr:
        """The same. Raises ValueError without the URL."""
        text = url.get_secret_value()
        if self._optional and not text:
            return url
        scheme, colon, rest = text.partition(":")
        if scheme not in self._allowed or not colon:
            # The text before the colon of `user:password@host` is no scheme, and not shown.
            said = (
                f"the URL's scheme is {scheme!r}" if rest.startswith("//") and scheme.isalpha() else "the URL begins with no scheme"
            )
            raise ValueError(f"{said}; allowed: {', '.join(self._allowed)}, in lower case")
        url_forms.check(text)
        return url


class FileUrl(SecretStr):
    """The URL that is the first line of a file, read again each time that its value is asked for.

    A new URL that cannot be used changes nothing: the URL read before is kept, and the log says why, once for each fault.
    """

    def __init__(self, setting: str, path: Path, checks: Iterable[Check]) -> None:
        """setting: its name, for messages. Raises SettingsError."""
        self._setting, self._path, self._checks = setting, path, tuple(checks)
        self._fault = self._scheme = ""
        try:
            url = self._read()
        except ValueError as error:
            raise SettingsError(f"{setting}={path}: {error}") from None
        self._scheme = _scheme_of(url)
        super().__init__(url)

    def get_secret_value(self) -> str:
        """The URL as the file has it now, or as it had it last. Never raises."""
        try:
            url = self._read()
        except ValueError as error:
            self._tell(str(error))
        else:
            self._secret_value, self._fault = url, ""
        return self._secret_value

    def _read(self) -> str:
        """Raises ValueError, without the URL."""
        try:
            with self._path.open("rb") as file:
                lines = file.read(MOST_BYTES).decode().splitlines()
        except OSError as error:
            raise ValueError(error.strerror) from None
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
        url = lines[0].strip() if lines else ""
        if not url:
            raise ValueError("its first line is empty; it must be the URL")
        for check in self._checks:
            check(SecretStr(url))
        if self._scheme and _scheme_of(url) != self._scheme:
            raise ValueError(f"another scheme than {self._scheme} needs a restart")
        return url

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            _log.error("%s=%s cannot be used, and the URL read before is kept: %s", self._setting, self._path, fault)


def _scheme_of(url: str) -> str:
    return url.partition(":")[0].lower()
