-- From schema 5 to 6: two models' answers to one question, compared. Older code compares nothing.
-- oldest: 2
CREATE TABLE pairs (
    run        BLOB PRIMARY KEY,               -- whose question it was
    pipeline   TEXT NOT NULL,
    route      TEXT NOT NULL,
    small      TEXT NOT NULL,                  -- the model that was asked first
    large      TEXT NOT NULL,                  -- the next one
    kept       INTEGER NOT NULL,               -- 1: the small one's answer was used; 0: it was not sure enough
    share      INTEGER NOT NULL,               -- billionths of the used answers that were compared then
    agree      INTEGER NOT NULL,
    scores     TEXT NOT NULL,                  -- JSON: how sure the small one was, by path
    small_cost INTEGER NOT NULL,               -- micro-USD, as the next one
    large_cost INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_at ON pairs (pipeline, at);
