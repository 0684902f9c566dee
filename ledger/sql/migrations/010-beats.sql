-- From schema 9 to 10: what sources usually send, and when they were heard last. Older code listens to none.
-- oldest: 2
CREATE TABLE beats (
    connection TEXT NOT NULL,
    source     TEXT NOT NULL,
    hour       INTEGER NOT NULL,               -- since the epoch
    events     INTEGER NOT NULL,
    PRIMARY KEY (connection, source, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE pulses (
    connection TEXT NOT NULL,
    source     TEXT NOT NULL,
    first_at   INTEGER NOT NULL,               -- when it was first listened to
    last_at    INTEGER,                        -- its last event
    quiet_from INTEGER NOT NULL,               -- since then somebody has listened in vain
    watched_at INTEGER NOT NULL,               -- when somebody listened last
    silent_at  INTEGER,                        -- when people were told; empty while it speaks
    PRIMARY KEY (connection, source)
) STRICT, WITHOUT ROWID;
