-- Events that come of our own writes. Each statement runs inside a transaction of the writer thread, or of a reader.

-- causes --
-- Our writes to a record, and those that made it, newest first; open ones whatever their age
SELECT w.run, w.pipeline, w.step, w.fields, w.state, w.at, s.intent_at AS begun_at, 0 AS made, coalesce(l.depth, 0) AS depth,
    r.source, r.event_id
FROM writes w JOIN runs r ON r.run = w.run LEFT JOIN lineage l ON l.run = w.run
    LEFT JOIN steps s ON s.run = w.run AND s.step = w.step AND s.generation = w.generation
WHERE w.connection = :connection AND w.record = :record AND (w.at >= :since OR w.state = 'open')
UNION ALL
SELECT w.run, w.pipeline, w.step, w.fields, w.state, w.at, s.intent_at AS begun_at, 1 AS made, coalesce(l.depth, 0) AS depth,
    r.source, r.event_id
FROM writes w JOIN runs r ON r.run = w.run LEFT JOIN lineage l ON l.run = w.run
    LEFT JOIN steps s ON s.run = w.run AND s.step = w.step AND s.generation = w.generation
WHERE w.connection = :connection AND w.version = :record AND w.record <> :record AND w.at >= :since
ORDER BY at DESC LIMIT :most;

-- explains_another --
-- Whether a write has led to another event of a type already, as far as a pipeline heard of it
SELECT 1 FROM lineage
WHERE cause = :cause AND step = :step AND heard_by = :heard_by AND event = :event AND run <> :run LIMIT 1;

-- keep_origin --
-- What a run comes of; what was found first stays
INSERT INTO lineage (run, cause, pipeline, step, depth, heard_by, event)
VALUES (:run, :cause, :pipeline, :step, :depth, :heard_by, :event) ON CONFLICT DO NOTHING;

-- origin_of --
-- What a run comes of
SELECT cause, pipeline, step, depth FROM lineage WHERE run = :run;

-- adopt_lineage --
-- A pipeline that wrote, or heard of it, has another name now
UPDATE lineage SET pipeline = CASE pipeline WHEN :old THEN :new ELSE pipeline END,
    heard_by = CASE heard_by WHEN :old THEN :new ELSE heard_by END
WHERE pipeline = :old OR heard_by = :old;

-- forget_lineage --
-- What a run comes of
DELETE FROM lineage WHERE run = :run;
