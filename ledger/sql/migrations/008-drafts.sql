-- From schema 7 to 8: drafts that wait for a person. Older code has no action that makes one.
-- oldest: 2
CREATE TABLE drafts (
    key        TEXT PRIMARY KEY,               -- of the step that put it there
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    record     TEXT NOT NULL,
    args       TEXT NOT NULL,                  -- JSON: what was put before them
    choice     TEXT CHECK (choice IN ('approve', 'discard', 'expired')),
    text       TEXT,                           -- as a person changed it
    person     TEXT,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX drafts_run  ON drafts (run);
CREATE INDEX drafts_open ON drafts (expires_at) WHERE choice IS NULL;
