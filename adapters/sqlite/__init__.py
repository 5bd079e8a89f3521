"""The embedded adapters: queues, outcomes and claims in one SQLite file, for several processes on one machine.

The path `:memory:` keeps everything in this process: the same code, without a thread and without a disk.
"""

from adapters.sqlite.broker import SqliteBroker
from adapters.sqlite.journal import SqliteJournal
from adapters.sqlite.outcomes import SqliteOutcomes

__all__ = ["SqliteBroker", "SqliteJournal", "SqliteOutcomes"]
