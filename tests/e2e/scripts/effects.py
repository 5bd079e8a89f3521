"""Prints what a run has left in Redis: how many effects, how often jobs were begun and ended, and each begin of those that were
begun more than once; with `jobs`, each job."""

import json
import sys
from collections import Counter
from pathlib import Path

import redis

RUN = sys.argv[1]
client = redis.from_url(Path("/etc/e2e/redis/url").read_text().strip(), decode_responses=True, socket_timeout=10)
with client.pipeline(transaction=True) as at_once:  # or an effect of a moment later would have no end yet
    at_once.hgetall(f"e2e:{RUN}:began")
    at_once.hgetall(f"e2e:{RUN}:ended")
    at_once.hlen(f"e2e:{RUN}:effects")
    began, ended, effects = at_once.execute()
begun, done = (Counter(entry.split()[0] for entry in entries) for entries in (began, ended))
told = {
    "effects": effects,
    "jobs": len(done),
    "begun": dict(Counter(map(str, begun.values()))),
    "ended": dict(Counter(map(str, done.values()))),
    "again": dict(sorted((entry, where) for entry, where in began.items() if begun[entry.split()[0]] > 1)[:40]),
}
if "jobs" in sys.argv:
    told |= {
        "began_by_job": begun,
        "ended_by_job": done,
        "pods": client.hgetall(f"e2e:{RUN}:pod"),
        "at": client.hgetall(f"e2e:{RUN}:at"),
    }
print(json.dumps(told))
