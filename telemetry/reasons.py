"""Why something is unavailable, as anybody may see it: the kind of trouble. Addresses, URLs and paths are for the log only."""

from __future__ import annotations

import re

_LONGEST = 300
# Behind the name of an error stands a library's own text, which tells hosts, ports and users. Our own texts name no error.
_LIBRARY = re.compile(
    r"\b((?:[A-Za-z_]\w*)?(?:Error|Exception|Timeout|Interrupt|error)|(?!RabbitMQ)[A-Z][a-z]+(?:[A-Z][a-z]+)+)\b[:(].*", re.DOTALL
)
_ADDRESSES = re.compile(
    r"\w[\w+.-]*://\S+"  # a URL
    r"|\('[^']*', ?\d+[^)]*\)"  # an address of Python's socket module
    r"|\[[0-9A-Fa-f:.%]*:[0-9A-Fa-f:.%\w]*\](?::\d+)?|\b(?:[0-9A-Fa-f]{0,4}:){2,}[0-9A-Fa-f.]*"  # IPv6
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"  # IPv4
    r"|\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b"  # host:port
    r"|(?<![\w.])/[\w.-]+(?:/[\w.-]+)+"  # a path
)


def public(reason: str) -> str:
    """`reason` without what says where a server or a file is."""
    return _ADDRESSES.sub("(see the log)", _LIBRARY.sub(r"\1", reason))[:_LONGEST]
