"""Secrets, taken out of whatever text goes to a log, a record or an answer: libraries put their own arguments into errors."""

from __future__ import annotations

import re
from functools import cache

# Longer texts are cut before they are looked through: a server's answer may be of any length, and these take 0.05 s at worst.
_MOST = 20_000
# Names of fields that hold one, with any word before it: `password`, `DB_PASSWORD`, `dbPassword`, `PGPASSWORD`. A hyphen
# begins another word, of kinds and actions, not of fields: `reset-password`.
_KEY = (
    r"(?<![A-Za-z0-9_])(?<![A-Za-z0-9_]-)[A-Za-z0-9_]{0,60}"
    r"(?:passw(?:or)?d|pwd|secret|api[_-]?key|(?:access|auth|refresh)[_-]?token)"
)
# Up to its end, which may be missing: the text may be cut. In JSON that is a text of JSON the quote has backslashes.
_QUOTED = r"""b?(?P<{0}>\\{{0,8}}["'])(?:(?!(?P={0}))(?:\\.|.)){{1,1000}}"""
_PORT = r"""(?!\d{1,5}(?:[/?\#"',;\s)\]}]|$))"""
_FORMS = (
    rf"""(?P<url>://[^\s/:"'\\]{{0,200}}:) {_PORT} (?:[^\s"'\\]{{1,1000}}@|[^\s]{{1,200}}?@)""",
    r"""(?P<header>\bauthorization\\{0,8}["']?\s{0,3}[:=,]\s{0,3}\\{0,8}["']?(?:[A-Za-z]{1,20}\s{1,3})?) [^\s"'\\,]{1,1000}""",
    rf"""(?P<sql>(?-i:\bPASSWORD)\s{{1,3}}(?=')) {_QUOTED.format("s")}""",
    rf"""(?P<line>^[ \t-]{{0,40}}{_KEY}:[ \t]{{1,3}}) [^\s"'\\]{{1,1000}}$""",
    rf"""(?P<key>{_KEY}\s{{0,3}}(?:=>|=)\s{{0,3}}) (?!/|null|true|false|none)
         (?: {_QUOTED.format("q")} | [^\s&;,"'\\()\[\]{{}}]{{1,1000}} )""",
    rf"""(?P<pair>(?:\(\\{{0,8}}["']|["']--){_KEY}\\{{0,8}}["']\s{{0,3}},\s{{0,3}}) {_QUOTED.format("p")}""",
    rf"""(?P<field>{_KEY}\\{{0,8}}["']\s{{0,3}}(?:=>|[:=])\s{{0,3}}) (?: {_QUOTED.format("f")} | \d{{1,1000}} )""",
)
# Nearly no text has one of these, and to look for them takes a tenth of the time.
_HINTS = re.compile(r"://|passw|pwd|secret|key|token|authorization", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` without the passwords of URLs and DSNs, and without what fields hold whose names say that it is secret."""
    return _secrets().sub(_mask, text) if _HINTS.search(text) else text


def masked_beginning(text: str, most: int) -> str:
    """The same, and at most `most` characters, below 10,000. Masked before it is cut: half a URL is not known for one."""
    return masked(text[:_MOST])[:most]


def is_secret(name: str) -> bool:
    """Whether a field of this name holds one."""
    return _HINTS.search(name) is not None and _name().fullmatch(name) is not None


@cache
def _secrets() -> re.Pattern[str]:
    """Compiled for the first text that needs it: that takes 6 ms, a fiftieth of a consumer's start."""
    return re.compile("|".join(_FORMS), re.IGNORECASE | re.VERBOSE | re.DOTALL | re.MULTILINE)


@cache
def _name() -> re.Pattern[str]:
    return re.compile(_KEY, re.IGNORECASE)


def _mask(found: re.Match[str]) -> str:
    if found["url"]:
        return f"{found['url']}***@"
    before = found["header"] or found["sql"] or found["line"] or found["key"] or found["pair"] or found["field"]
    return f"{before}{found['s'] or found['q'] or found['p'] or found['f'] or ''}***"
