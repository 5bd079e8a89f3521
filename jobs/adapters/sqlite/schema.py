"""The tables of the embedded system."""

VERSION = 2

# messages.state: 0 ready, 1 held by an owner, 2 delayed until visible_at.
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

# What each version added to the one before it.
STEPS = {
    2: """
CREATE TABLE journal (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, at REAL NOT NULL, record TEXT NOT NULL);
CREATE INDEX journal_queue ON journal (queue, id);
CREATE TABLE controller_states (queue TEXT PRIMARY KEY, state TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
""",
}
