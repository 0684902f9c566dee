-- Version 2: members of consumer groups in several processes of one host.

-- A process with members. until_ms is CLOCK_BOOTTIME of the boot it names; its lock proves its death earlier.
CREATE TABLE process (
    name        TEXT PRIMARY KEY,
    boot        TEXT NOT NULL,
    until_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
    consumers   TEXT NOT NULL,                  -- the name of the group
    topic       TEXT NOT NULL,
    place       INTEGER NOT NULL,               -- in the order of joining
    id          BLOB NOT NULL,
    process     TEXT NOT NULL,
    PRIMARY KEY (consumers, topic, place)
) STRICT, WITHOUT ROWID;

-- Who reads each partition. The epoch counts its readers, so that one who lost it cannot commit.
CREATE TABLE tenure (
    consumers   TEXT NOT NULL,
    topic       TEXT NOT NULL,
    number      INTEGER NOT NULL,
    member      BLOB,
    epoch       INTEGER NOT NULL,
    PRIMARY KEY (consumers, topic, number)
) STRICT, WITHOUT ROWID;

-- Counts the changes of the three tables above.
CREATE TABLE shift (
    number      INTEGER NOT NULL
) STRICT;
INSERT INTO shift (number) VALUES (0);
