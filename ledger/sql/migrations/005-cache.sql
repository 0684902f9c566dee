-- From schema 4 to 5: answers that are used again. Older code asks without looking.
-- oldest: 2
CREATE TABLE cache (
    key        BLOB PRIMARY KEY,               -- SHA-256 of a question
    pipeline   TEXT NOT NULL,
    run        BLOB NOT NULL,                  -- who asks it, or has asked: the answer is that of its step
    generation INTEGER NOT NULL,
    failures   INTEGER NOT NULL DEFAULT 0,     -- how many asked before it, one after the other, and got no answer
    at         INTEGER NOT NULL,               -- when it began
    until      INTEGER NOT NULL                -- when its answer is too old
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_run ON cache (run);
CREATE INDEX cache_until ON cache (until);
CREATE TABLE cache_hits (
    run        BLOB NOT NULL,                  -- who took an answer
    generation INTEGER NOT NULL,
    source     BLOB NOT NULL,                  -- the run that had paid for it
    model      TEXT NOT NULL,                  -- who had given it
    saved      INTEGER NOT NULL,               -- micro-USD it had cost there
    at         INTEGER NOT NULL,
    PRIMARY KEY (run, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_hits_at ON cache_hits (at);
