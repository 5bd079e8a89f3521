"""A Lua script and its name."""

from __future__ import annotations

import hashlib


class Script:
    """sha: its name for EVALSHA. A server that does not know it (it was restarted, or a replica took over) is given the text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
