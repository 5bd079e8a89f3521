"""Outcomes and claims on Redis 6.2 and later, on one server, with Sentinel, or on a cluster."""

from adapters.redis.journal import RedisJournal
from adapters.redis.outcomes import RedisOutcomes

__all__ = ["RedisJournal", "RedisOutcomes"]
