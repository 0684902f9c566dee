-- From schema 6 to 7: questions that go through a provider's batch API. Older code asks at once.
-- oldest: 2
CREATE TABLE batch_items (
    call       BLOB PRIMARY KEY,               -- its reservation; the provider knows it by this name
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    model      TEXT NOT NULL,                  -- the name in models: its key is found by it
    within     INTEGER NOT NULL,               -- ms an answer may take: items of one batch share it
    ask_hash   TEXT NOT NULL,                  -- what was configured when it was asked
    body       TEXT NOT NULL,                  -- the provider's request, JSON; empty when it is over
    size       INTEGER NOT NULL,               -- bytes of the request
    asked      TEXT NOT NULL,                  -- JSON: prompt, receipt and evidence, so that its answer is read against them
    state      TEXT NOT NULL CHECK (state IN ('open', 'sealed', 'answered', 'free', 'lost')),
    batch      BLOB,
    answer     TEXT,                           -- JSON: status and body
    cost       INTEGER NOT NULL DEFAULT 0,     -- micro-USD booked
    why        TEXT,                           -- of a free or lost one
    at         INTEGER NOT NULL,
    due_at     INTEGER NOT NULL                -- when its run asks by itself
) STRICT;
CREATE INDEX batch_items_run   ON batch_items (run);
CREATE INDEX batch_items_batch ON batch_items (batch);
CREATE INDEX batch_items_open  ON batch_items (model, within, at) WHERE state = 'open';
CREATE TABLE batches (
    batch   BLOB PRIMARY KEY,                  -- our own id, made before anybody is called
    model   TEXT NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('sealed', 'sending', 'running', 'cancelling', 'ended')),
    handle  TEXT,                              -- the provider's id
    items   INTEGER NOT NULL,
    sent_at INTEGER,
    at      INTEGER NOT NULL,
    due_at  INTEGER NOT NULL,                  -- the earliest of its items
    look_at INTEGER NOT NULL,
    looks   INTEGER NOT NULL DEFAULT 0,
    why     TEXT
) STRICT;
CREATE INDEX batches_look ON batches (look_at) WHERE state <> 'ended';
CREATE TABLE leads (
    what   TEXT PRIMARY KEY,                   -- work that one worker does for all
    worker BLOB NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
