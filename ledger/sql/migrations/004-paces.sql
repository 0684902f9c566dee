-- From schema 3 to 4: what providers take per minute. Older code asks without looking.
-- oldest: 2
CREATE TABLE paces (
    pace          TEXT PRIMARY KEY,            -- a credential's model
    requests      INTEGER NOT NULL,            -- per minute, as the next ones; 0: without a limit
    tokens        INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    told          INTEGER NOT NULL,            -- 0: nobody told the limits, they are guessed; 1: answers did; 2: the declaration
    next_request  INTEGER NOT NULL,            -- UTC microseconds from which the next request may go, as the next one
    next_tokens   INTEGER NOT NULL,
    paused_until  INTEGER NOT NULL,            -- UTC ms
    cut           INTEGER NOT NULL,            -- thousandths of the limits that are used since cut_at
    cut_at        INTEGER NOT NULL,
    at            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
