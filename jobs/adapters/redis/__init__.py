"""Outcomes and claims on Redis 6.2 and later: one script call a batch. Not for Redis Cluster: a batch has keys of many slots."""

from jobs.adapters.redis.journal import RedisJournal
from jobs.adapters.redis.outcomes import RedisOutcomes

__all__ = ["RedisJournal", "RedisOutcomes"]
