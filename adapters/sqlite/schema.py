"""The tables of the embedded system, and how a file of an older release becomes one of this release."""

from __future__ import annotations

import sqlite3

from adapters.sqlite.moment import Moment
from core.clock import Clock
from core.errors import SettingsError

VERSION = 3

# The first version. messages.state: 0 ready, 1 held by an owner, 2 delayed.
# The partial indexes hold only what is looked for, so that a million delayed or held rows do not slow down taking.
SCHEMA = """
CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  queue TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  visible_at REAL NOT NULL,
  owner TEXT,
  count INTEGER NOT NULL DEFAULT 0,
  death TEXT,
  headers TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX messages_ready ON messages (queue, priority DESC, id) WHERE state = 0;
CREATE INDEX messages_held ON messages (owner, queue) WHERE state = 1;
CREATE INDEX messages_delayed ON messages (visible_at) WHERE state = 2;

CREATE TABLE owners (owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL, beat REAL NOT NULL);

CREATE TABLE jobs (job_id TEXT PRIMARY KEY, job_type TEXT NOT NULL, accepted_at REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE deliveries (
  job_id TEXT NOT NULL,
  queue TEXT NOT NULL,
  state TEXT NOT NULL,
  replay INTEGER NOT NULL DEFAULT 0,
  attempt INTEGER NOT NULL DEFAULT 0,
  token TEXT,
  lease_until REAL NOT NULL DEFAULT 0,
  next_at REAL,
  started_at REAL,
  ended_at REAL,
  result TEXT,
  failure TEXT,
  progress TEXT,
  touched_at REAL NOT NULL,
  PRIMARY KEY (job_id, queue)
) WITHOUT ROWID;
CREATE INDEX deliveries_touched ON deliveries (touched_at);

CREATE TABLE dead_letters (
  dead_id TEXT PRIMARY KEY,
  queue TEXT NOT NULL,
  job_type TEXT,
  job_id TEXT,
  reason TEXT NOT NULL,
  died_at REAL NOT NULL,
  attempts INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  failure TEXT,
  replayed_at REAL
);
CREATE INDEX dead_letters_died ON dead_letters (died_at, dead_id);
CREATE INDEX dead_letters_queue ON dead_letters (queue, died_at, dead_id);
"""

# The statements that each version added to the one before it. They may name :wall, :boot and :seconds, the clocks at the
# migration.
STEPS = {
    2: """
CREATE TABLE journal (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL);
CREATE INDEX journal_queue ON journal (queue, id);
CREATE TABLE controller_states (queue TEXT PRIMARY KEY, state TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
""",
    # messages: an id is never given out again, or a late ack would delete another message. A delayed one is due at `due` seconds of
    # the boot `due_boot`, and after a reboot at `visible_at` (Unix seconds), but no later than `delay` seconds after it was seen.
    # deliveries: lease_until is in seconds of the boot lease_boot; with `retrying` it is when the retry is due.
    # crashed: this claim was given as CRASHED.
    3: """
DROP INDEX messages_ready;
DROP INDEX messages_held;
DROP INDEX messages_delayed;
ALTER TABLE messages RENAME TO messages_2;
CREATE TABLE messages (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  visible_at REAL NOT NULL,
  due_boot TEXT NOT NULL,
  due REAL NOT NULL,
  delay REAL NOT NULL,
  owner TEXT,
  count INTEGER NOT NULL DEFAULT 0,
  death TEXT,
  headers TEXT NOT NULL,
  body BLOB NOT NULL
);
INSERT INTO messages
  SELECT id, queue, state, priority, visible_at, :boot, :seconds + max(0, visible_at - :wall), max(0, visible_at - :wall),
    owner, count, death, headers, body FROM messages_2;
DROP TABLE messages_2;
CREATE INDEX messages_ready ON messages (queue, priority DESC, id) WHERE state = 0;
CREATE INDEX messages_held ON messages (owner, queue) WHERE state = 1;
CREATE INDEX messages_delayed ON messages (due_boot, due) WHERE state = 2;
ALTER TABLE deliveries ADD COLUMN lease_boot TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN crashed INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET lease_boot = :boot, lease_until = :seconds + max(0, lease_until - :wall) WHERE state = 'running';
UPDATE deliveries SET lease_boot = :boot, lease_until = :seconds + max(0, next_at - :wall) WHERE state = 'retrying' AND next_at > 0;
""",
}


def migrate(connection: sqlite3.Connection, clock: Clock) -> None:
    """Make the tables, or what is missing of them. Raises SettingsError for a file of a newer release, and sqlite3.Error."""
    if _known_version(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _step_up(connection, clock)
        connection.execute("COMMIT")
    except BaseException:
        # All or nothing: half a migration under the old version number could never be tried again.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _step_up(connection: sqlite3.Connection, clock: Clock) -> None:
    version = _known_version(connection)  # again, now that no other process can change it
    scripts = [SCHEMA] if version == 0 else []
    scripts += [script for step, script in STEPS.items() if step > version]
    now = Moment.of(clock)._asdict()
    for statement in ";".join(scripts).split(";"):
        if statement.strip():
            connection.execute(statement, now)
    write_version(connection)


def write_version(connection: sqlite3.Connection) -> None:
    """SQLite writes the page that holds it, also where it is the same."""
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _known_version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise SettingsError(f"the SQLite file has schema version {version}; this release knows {VERSION}: use a newer one")
    return version
