"""Why replicas are not ready, in one line for people: the reasons of several replicas, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

# Characters. An Event of Kubernetes takes 1024, and a registry's refusal alone may have as many.
MOST: Final = 300


def cut(text: str) -> str:
    """In one line, of MOST characters at most."""
    line = " ".join(text.split())
    return line if len(line) <= MOST else line[: MOST - 1] + "…"


def together(one: str, many: str, reasons: Iterable[str]) -> str:
    """Such as `2 pods: ImagePullBackOff: Back-off pulling image "app:2"`: the commonest kind, by what stands before the colon, and
    how many replicas have it. one, many: the noun for replicas. "" where there is no reason."""
    given = [reason for reason in reasons if reason]
    if not given:
        return ""
    kind, count = Counter(map(_kind, given)).most_common(1)[0]
    return cut(f"{count} {one if count == 1 else many}: {next(reason for reason in given if _kind(reason) == kind)}")


def _kind(reason: str) -> str:
    return reason.partition(":")[0]
