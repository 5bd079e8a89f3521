"""API keys: how one is made, what is kept of it, and the lines of the file that holds what is kept.

A line a key: `NAME SCOPES sha256:HEX`, such as `ci submit,read sha256:ab12…`. Empty lines and comments (`# …`) are skipped.
Two keys may have one name: they are one caller, so that a key can be replaced without a gap and without new job ids.

The stored hash is plain SHA-256. A slow hash makes guessing dear where people choose the secret; a key is 256 random bits, which
cannot be guessed, and the slow hash would be paid in every request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from core.errors import SettingsError

Scope = Literal["submit", "read", "operate"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "hr_"  # scanners for leaked secrets go by it
_KEY = re.compile(r"hr_[A-Za-z0-9_-]{43}", re.ASCII)  # 32 bytes in base64url
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)


class Key(NamedTuple):
    """The stored part of one key. name: the caller's. digest: SHA-256 of the key."""

    name: str
    scopes: frozenset[str]
    digest: bytes


class Keyring:
    """The keys that are valid now. `keys` is replaced whole, so that each request sees one set."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)

    def find(self, given: bytes) -> Key | None:
        """The key that was given, or None. It takes as long whichever it is: all are compared, each in constant time."""
        digest = hashlib.sha256(given).digest()
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def new_key() -> str:
    """A key that no caller has: 32 random bytes."""
    return PREFIX + secrets.token_urlsafe(32)


def line_of(name: str, scopes: str, key: str) -> str:
    """The line of the file for a key. Raises SettingsError for what the file would not take."""
    if _KEY.fullmatch(key) is None:
        # A secret that somebody thought of could be found by its hash.
        raise SettingsError("this is not a key: only what `headrace key new` makes is random enough for its hash to be kept")
    fields = [name, scopes, f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"]
    try:
        _key(fields)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return " ".join(fields)


def parse(text: str, source: str) -> list[Key]:
    """The keys of a file's text. Raises SettingsError with `source`, the line and why; never with the line's content."""
    keys: list[Key] = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        try:
            keys.append(_key(fields))
        except ValueError as error:
            raise SettingsError(f"{source}, line {number}: {error}") from None
    return keys


def unambiguous(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Each key once. Raises SettingsError for one that two lines give to different callers or with different scopes."""
    by_digest: dict[bytes, Key] = {}
    for key in keys:
        other = by_digest.setdefault(key.digest, key)
        if other != key:
            raise SettingsError(f"one key has two lines that differ, for {other.name} and {key.name}: leave one out")
    return tuple(by_digest.values())


def _key(fields: list[str]) -> Key:
    """Raises ValueError that repeats nothing of what stands there: it may be a key, put into the wrong place."""
    if len(fields) != 3:
        raise ValueError(f"{len(fields)} words where NAME SCOPES sha256:HEX are three; `headrace key new` prints a line")
    name, scopes, digest = fields
    if _NAME.fullmatch(name) is None:
        raise ValueError("the name takes 1 to 64 letters, digits, `.`, `_`, `-`, and begins with a letter or a digit")
    wanted = scopes.split(",")
    if not set(wanted) <= set(SCOPES):
        raise ValueError(f"the scopes are some of {', '.join(SCOPES)}, with commas and no blanks between")
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise ValueError("the third word is not sha256: and 64 hex digits; `headrace key hash` makes it of a key")
    return Key(name, frozenset(wanted), bytes.fromhex(match[1]))
