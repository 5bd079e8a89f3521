"""Prints what a run has left in Redis: how many effects, and how often jobs were begun and ended; with `jobs`, each of them."""

import json
import sys
from collections import Counter
from pathlib import Path

import redis

RUN = sys.argv[1]
client = redis.from_url(Path("/etc/e2e/redis/url").read_text().strip(), decode_responses=True, socket_timeout=10)
began, ended = client.hgetall(f"e2e:{RUN}:began"), client.hgetall(f"e2e:{RUN}:ended")
told = {
    "effects": client.hlen(f"e2e:{RUN}:effects"),
    "jobs": len(ended),
    "begun": dict(Counter(began.values())),
    "ended": dict(Counter(ended.values())),
}
if "jobs" in sys.argv:
    told |= {
        "began_by_job": began,
        "ended_by_job": ended,
        "pods": client.hgetall(f"e2e:{RUN}:pod"),
        "at": client.hgetall(f"e2e:{RUN}:at"),
    }
print(json.dumps(told))
