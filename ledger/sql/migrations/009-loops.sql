-- From schema 8 to 9: which runs come of writes of ours, and which lanes wrote too often. Older code knows neither.
-- oldest: 2
CREATE TABLE lineage (
    run      BLOB PRIMARY KEY,                 -- its event comes of a write of ours
    cause    BLOB NOT NULL,                    -- the run that wrote
    pipeline TEXT NOT NULL,                    -- of that run
    step     TEXT NOT NULL,
    depth    INTEGER NOT NULL,                 -- how many writes of ours led to the event, this one included
    heard_by TEXT NOT NULL,                    -- the pipeline that was given the event
    event    TEXT NOT NULL,                    -- its type: a write of nobody's known authorship explains one of each
    beside   INTEGER NOT NULL                  -- 1: it had led to one of that type before
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_cause ON lineage (cause);
CREATE INDEX writes_version ON writes (connection, version, at) WHERE version IS NOT NULL;
CREATE TABLE fuses (
    tenant   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    lane     TEXT NOT NULL,
    run      BLOB NOT NULL,                    -- the last one that was stopped
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    stopped  INTEGER NOT NULL,                 -- runs since then
    PRIMARY KEY (tenant, pipeline, lane)
) STRICT, WITHOUT ROWID;
