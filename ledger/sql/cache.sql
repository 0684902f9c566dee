-- Answers that are used again. Each statement runs inside a transaction of the writer thread, or of a reader.

-- cached --
-- Who asks a question or has asked it, how far it is with that, and whether its worker lives
SELECT c.run, c.generation, c.failures, c.at, s.state AS step, s.result, s.ended_at, r.verdict, w.state AS worker
FROM cache c
LEFT JOIN steps s ON s.run = c.run AND s.step = :step AND s.generation = c.generation
LEFT JOIN runs r ON r.run = c.run AND r.generation = c.generation
LEFT JOIN lanes l ON l.tenant = r.tenant AND l.pipeline = r.pipeline AND l.lane = r.lane AND l.head = r.run
LEFT JOIN workers w ON w.worker = l.worker
WHERE c.key = :key;

-- keep_asker --
-- From now on this run asks it
INSERT INTO cache (key, pipeline, run, generation, failures, at, until)
VALUES (:key, :pipeline, :run, :generation, :failures, :now, :until)
ON CONFLICT (key) DO UPDATE SET pipeline = excluded.pipeline, run = excluded.run, generation = excluded.generation,
    failures = excluded.failures, at = excluded.at, until = excluded.until;

-- keep_hit --
-- A run took an answer from the cache
INSERT INTO cache_hits (run, generation, source, model, saved, at)
VALUES (:run, :generation, :source, :model, :saved, :now)
ON CONFLICT (run, generation) DO UPDATE SET source = excluded.source, model = excluded.model, saved = excluded.saved,
    at = excluded.at;

-- savings --
-- What the cache saved, told apart by some of what is known of the runs that took answers
SELECT count(*) AS hits, CAST(coalesce(sum(c.saved), 0) AS BIGINT) AS saved :names
FROM cache_hits c LEFT JOIN runs r ON r.run = c.run
WHERE c.at >= :since AND c.at < :until :narrowed :grouped;

-- clear_cache --
-- Use no answer again
DELETE FROM cache WHERE :narrowed;

-- expire_cache --
-- Answers that are too old, unless somebody may still be asking
DELETE FROM cache WHERE until < :now
  AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run = cache.run AND r.state = 'running');

-- forget_cache --
-- The questions of a run: its answers go with it
DELETE FROM cache WHERE run = :run;

-- forget_cache_hits --
-- What a run took
DELETE FROM cache_hits WHERE run = :run;

-- adopt_cache --
-- The questions of a pipeline that has another name now
UPDATE cache SET pipeline = :new WHERE pipeline = :old;
