"""Text from outside, made safe once, where it comes in: what stores, logs and JSON can take, and bounded."""

from __future__ import annotations

from core.masking import masked_beginning

# NUL ends a text in PostgreSQL's and C's eyes; surrogates have no UTF-8 (RFC 3629, section 3).
_REFUSED = {code: f"\\u{code:04x}" for code in (0, *range(0xD800, 0xE000))}


def safe(text: str, most: int) -> str:
    """`text` with lone surrogates and NUL escaped as `\\udcff`, and at most `most` characters: its beginning."""
    cut = text[:most]
    return cut if cut.isascii() and "\0" not in cut else cut.translate(_REFUSED)[:most]


def safe_end(text: str, most: int) -> str:
    """The same, but its end is kept: of a traceback the last lines say most."""
    cut = text[-most:]
    return cut if cut.isascii() and "\0" not in cut else cut.translate(_REFUSED)[-most:]


def text_of(error: BaseException, most: int) -> str:
    """The text of an error, without passwords. Its `__str__` is somebody else's code: it may raise, or give no text."""
    try:
        return safe(masked_beginning(str(error), most), most)
    except Exception as broken:  # whatever it raises
        return f"(its text cannot be had: __str__ raises {type(broken).__name__})"
