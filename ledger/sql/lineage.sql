-- Events that come of our own writes. Each statement runs inside a transaction of the writer thread, or of a reader.

-- causes --
-- Our writes to a record, and those that made it, newest first; open ones whatever their age. One that was tried again
-- may have taken effect the first time
SELECT w.run, w.pipeline, w.step, w.fields, w.state, w.at,
    CASE WHEN s.doubt <> 0 THEN s.first_at ELSE s.intent_at END AS begun_at, 0 AS made,
    coalesce(l.depth, 0) AS depth, r.source, r.event_id
FROM writes w JOIN runs r ON r.run = w.run LEFT JOIN lineage l ON l.run = w.run
    LEFT JOIN steps s ON s.run = w.run AND s.step = w.step AND s.generation = w.generation
WHERE w.connection = :connection AND w.record = :record AND (w.at >= :since OR w.state = 'open')
UNION ALL
SELECT w.run, w.pipeline, w.step, w.fields, w.state, w.at,
    CASE WHEN s.doubt <> 0 THEN s.first_at ELSE s.intent_at END AS begun_at, 1 AS made,
    coalesce(l.depth, 0) AS depth, r.source, r.event_id
FROM writes w JOIN runs r ON r.run = w.run LEFT JOIN lineage l ON l.run = w.run
    LEFT JOIN steps s ON s.run = w.run AND s.step = w.step AND s.generation = w.generation
WHERE w.connection = :connection AND w.version = :record AND w.record <> :record AND w.at >= :since
ORDER BY at DESC LIMIT :most;

-- explains_another --
-- Whether a write has led to another event of a type already, as far as a pipeline heard of it
SELECT 1 FROM lineage
WHERE cause = :cause AND step = :step AND heard_by = :heard_by AND event = :event AND run <> :run LIMIT 1;

-- keep_origin --
-- What a run comes of
INSERT INTO lineage (run, cause, pipeline, step, depth, heard_by, event, beside)
VALUES (:run, :cause, :pipeline, :step, :depth, :heard_by, :event, :beside);

-- origin_of --
-- What a run comes of
SELECT cause, pipeline, step, depth, beside FROM lineage WHERE run = :run;

-- unexplained --
-- Own writes a pipeline heard of, of which nobody has looked yet for what led to them
SELECT b.body FROM runs r JOIN bodies b ON b.run = r.run LEFT JOIN lineage l ON l.run = r.run
WHERE r.subject = :record AND r.created_at >= :since AND r.pipeline = :heard_by AND r.verdict = 'own-write'
  AND l.run IS NULL ORDER BY r.created_at LIMIT :most;

-- adopt_lineage --
-- A pipeline that wrote, or heard of it, has another name now
UPDATE lineage SET pipeline = CASE pipeline WHEN :old THEN :new ELSE pipeline END,
    heard_by = CASE heard_by WHEN :old THEN :new ELSE heard_by END
WHERE pipeline = :old OR heard_by = :old;

-- forget_lineage --
-- What a run comes of
DELETE FROM lineage WHERE run = :run;
