"""Passwords, taken out of whatever text goes to a log, a record or an answer: libraries put their own arguments into errors."""

from __future__ import annotations

import re

# Longer texts are cut before they are looked through, which is linear but slow: a server's answer may be of any length.
_MOST = 100_000
# The password of a URL, and of a key that is one: `password=x` of a DSN, with or without quotes, and `"password": "x"` of JSON or
# of a dict, in JSON that is a text of JSON too.
_PASSWORDS = re.compile(
    r"""
    (?P<url>://[^\s/:@"'\\]{0,200}:) [^\s"'\\]{1,1000} @
    | (?P<key> \b(?:password|passwd|pwd) (?: \s{0,3}=\s{0,3} | \\{0,8}["'] \s{0,3}[:=]\s{0,3} ) )
      (?: (?P<quote>\\{0,8}["']) (?: (?! (?P=quote) ) (?: \\. | . ) ){1,1000} | [^\s&;,"'\\()\[\]{}]{1,1000} )
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def masked(text: str) -> str:
    """`text` without the passwords of URLs and DSNs."""
    return _PASSWORDS.sub(_mask, text)


def masked_beginning(text: str, most: int) -> str:
    """The same, and at most so many characters, below 10,000. Masked before it is cut: half a URL is not known for one."""
    return masked(text[:_MOST])[:most]


def is_password(name: str) -> bool:
    """Whether a field of this name holds one."""
    return name.lower() in ("password", "passwd", "pwd")


def _mask(found: re.Match[str]) -> str:
    return f"{found['url']}***@" if found["url"] else f"{found['key']}{found['quote'] or ''}***"
