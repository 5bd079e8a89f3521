"""Reads what pytest wrote with --junitxml: which tests were skipped, and whether each says which server or tool it is for want of.

Exit code 1, with the reasons, where one does not, where a test failed, and where next to nothing ran.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.needs import SERVERS


def main(path: str) -> int:
    cases = ET.parse(path).getroot().findall(".//testcase")  # noqa: S314  # which our own pytest has just written
    bad = [_named(case) for case in cases if case.find("failure") is not None or case.find("error") is not None]
    wants: Counter[str] = Counter()
    for case in cases:
        skipped = case.find("skipped")
        if skipped is not None:
            known = re.match(r"no ([a-z0-9]+): ", skipped.get("message", ""))
            if known and known[1] in SERVERS:
                wants[known[1]] += 1
            else:
                bad.append(f"{_named(case)} was skipped: {skipped.get('message')}")
    ran = len(cases) - wants.total()
    told = ", ".join(f"{name} ({count})" for name, count in wants.most_common())
    print(f"{ran} tests ran; skipped for want of: {told or 'nothing'}")
    print(*bad, sep="\n", end="\n" if bad else "")
    return 1 if bad or ran < 500 else 0


def _named(case: ET.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
