"""`headrace key`: make an API key, or the line that is kept of one."""

from __future__ import annotations

import re
import sys
from getpass import getpass

import orjson

from core.errors import SettingsError
from service.keys import SCOPES, line_of, new_key

_WORD = re.compile(r"[A-Za-z._-]{1,20}", re.ASCII)  # nothing that could be a key in the wrong place


def new(name: str, scopes: str, as_json: bool) -> None:
    """Print a key, which is nowhere else, and its line. Raises SettingsError for a name or scopes that the file would not take."""
    key = new_key()
    _check(scopes)
    line = line_of(name, scopes, key)
    if as_json:
        print(orjson.dumps({"key": key, "line": line}).decode())
        return
    print(f"The key, shown this once; for the caller:\n\n  {key}\n")
    print(f"Its line, for the file that HEADRACE_API_KEYS names:\n\n  {line}")


def hash_line(name: str, scopes: str, as_json: bool) -> None:
    """Print the line of a key that comes from standard input, so that it is in no history of a shell. Raises SettingsError."""
    key = (getpass("The key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    _check(scopes)
    line = line_of(name, scopes, key)
    print(orjson.dumps({"line": line}).decode() if as_json else line)


def _check(scopes: str) -> None:
    """Raises SettingsError that names the word that is not a scope."""
    for word in scopes.split(","):
        if word not in SCOPES and _WORD.fullmatch(word) is not None:
            raise SettingsError(f"--scopes: {word!r} is not a scope; give some of {', '.join(SCOPES)}, with commas between")
