-- From schema 1 to 2. Code of schema 1 takes the ledger for itself, and so does not work beside others.
-- oldest: 2
ALTER TABLE outbox ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
DROP INDEX outbox_unsent;
CREATE INDEX outbox_unsent ON outbox (kind, created_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
ALTER TABLE runs ADD COLUMN burst TEXT;
ALTER TABLE positions ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN lost_at INTEGER;
CREATE TABLE topics (
    topic      TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    identity   TEXT NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE runs ADD COLUMN first_seq INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET first_seq = seq;
ALTER TABLE runs ADD COLUMN failed_step TEXT;
ALTER TABLE runs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN insist INTEGER NOT NULL DEFAULT 0;
DROP INDEX runs_newest;
DROP INDEX runs_pipeline;
DROP INDEX runs_aside;
CREATE INDEX runs_newest ON runs (created_at DESC, first_seq DESC);
CREATE INDEX runs_pipeline ON runs (pipeline, created_at DESC, first_seq DESC);
CREATE INDEX runs_aside ON runs (tenant, pipeline, lane) WHERE state = 'aside';
CREATE INDEX runs_wrote ON runs (tenant, pipeline, lane, first_seq) WHERE verdict IN ('delivered', 'unchanged');
CREATE TABLE decisions (
    run    BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    what   TEXT NOT NULL,
    insist INTEGER NOT NULL,
    person TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
ALTER TABLE budgets ADD COLUMN cap INTEGER NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN alert_at TEXT NOT NULL DEFAULT '[]';
CREATE TABLE holds (
    gate     TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    period   TEXT NOT NULL,
    cap      INTEGER NOT NULL,
    need     INTEGER NOT NULL,
    at_limit TEXT NOT NULL CHECK (at_limit IN ('hold', 'drop')),
    until    INTEGER NOT NULL,
    since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE counted (
    scope TEXT NOT NULL,
    run   BLOB NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (scope, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX counted_at ON counted (scope, at);
CREATE INDEX lanes_held ON lanes (gate) WHERE worker IS NULL AND gate IS NOT NULL;
CREATE INDEX runs_passing ON runs (gate) WHERE state = 'running' AND gate IS NOT NULL;
