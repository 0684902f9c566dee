-- Answers that were compared. Each statement runs inside a transaction of the writer thread, or of a reader.

-- keep_pair --
-- Two answers to a run's question; the first comparison stays
INSERT INTO pairs (run, pipeline, route, small, large, kept, share, agree, scores, small_cost, large_cost, at)
VALUES (:run, :pipeline, :route, :small, :large, :kept, :share, :agree, :scores, :small_cost, :large_cost, :now)
ON CONFLICT DO NOTHING;

-- pairs --
-- What was compared for one pipeline, in time
SELECT route, small, large, kept, share, agree, scores, small_cost, large_cost, at FROM pairs
WHERE pipeline = :pipeline AND at >= :since AND at < :until ORDER BY at, run;

-- shadow_cost --
-- What asking a second model for comparison came to, calls without an answer among them
SELECT CAST(coalesce(sum(c.cost), 0) AS BIGINT) AS cost FROM calls c JOIN runs r ON r.run = c.run
WHERE c.at >= :since AND c.at < :until AND r.pipeline = :pipeline AND c.step = :step;

-- forget_pairs --
-- The comparison of a run
DELETE FROM pairs WHERE run = :run;

-- adopt_pairs --
-- The comparisons of a pipeline that has another name now
UPDATE pairs SET pipeline = :new WHERE pipeline = :old;
