-- The embedded bus: one SQLite file. A place is (log << 40) + offset, so that each log is one run of rowids and
-- appending touches one page per log. Times never fall inside a log, so its places are its time index as well.

CREATE TABLE topic (
    name        TEXT PRIMARY KEY,
    partitions  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
    id          INTEGER PRIMARY KEY,
    topic       TEXT NOT NULL REFERENCES topic (name),
    number      INTEGER NOT NULL,
    first       INTEGER NOT NULL DEFAULT 0,     -- the oldest offset kept; survives an emptied log
    UNIQUE (topic, number)
) STRICT;

CREATE TABLE message (
    place       INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    key         BLOB,
    value       BLOB NOT NULL,
    headers     BLOB
) STRICT;

CREATE TABLE position (
    consumers   TEXT NOT NULL,                  -- the name of the group
    log         INTEGER NOT NULL REFERENCES log (id),
    next        INTEGER NOT NULL,
    PRIMARY KEY (consumers, log)
) STRICT, WITHOUT ROWID;
