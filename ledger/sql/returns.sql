-- Deaths, and how a run that ended or stood aside comes back. Each statement runs inside a transaction of the writer thread, or of a reader.

-- dead_run --
-- What a dead letter says of its run
SELECT tenant, pipeline, lane, source, event_id, subject, generation, attempts, error, failed_step, deaths, config_hash,
    topic, part, off, bus_time, created_at, finished_at FROM runs WHERE run = :run;

-- known_return --
-- What coming back needs to know of a run
SELECT tenant, pipeline, lane, state, reason, verdict, seq, generation,
    EXISTS (SELECT 1 FROM bodies b WHERE b.run = runs.run) AS kept FROM runs WHERE run = :run;

-- return_run --
-- A final run, or one that stood aside, waits at its lane's tail
UPDATE runs SET state = 'waiting', reason = :reason, verdict = NULL, finished_at = NULL, failed_step = NULL,
    first_seq = CASE first_seq WHEN 0 THEN seq ELSE first_seq END, superseded_by = NULL, due_at = :due_at, gate = NULL, seq = :place, started_at = NULL, attempts = 0, generation = generation + :again,
    insist = :insist
WHERE run = :run AND seq = :seq AND state IN ('final', 'aside');

-- discard_run --
-- Somebody said no to a run that stood aside
UPDATE runs SET state = 'final', verdict = 'discarded', reason = NULL, finished_at = :now
WHERE run = :run AND seq = :seq AND state = 'aside';

-- keep_decision --
-- Who decided what, and when
INSERT INTO decisions (run, seq, what, insist, person, at) VALUES (:run, :seq, :what, :insist, :person, :now)
ON CONFLICT (run, seq) DO NOTHING;

-- raise_generation --
-- A running run begins anew, in its place
UPDATE runs SET generation = generation + 1 WHERE run = :run AND state = 'running' AND fence = :fence;

-- decisions_of --
-- What people decided about a run
SELECT what, insist, person, at FROM decisions WHERE run = :run ORDER BY at, abs(seq);

-- forget_decisions --
-- What people decided about a run
DELETE FROM decisions WHERE run = :run;

-- believe_steps --
-- A person saw that the writes nobody could tell of took effect
UPDATE steps SET state = 'done', result = :result, ended_at = :now
WHERE run = :run AND generation = :generation AND kind = 'write' AND state = 'unknown';

-- believe_writes --
-- The same for what they changed
UPDATE writes SET state = 'done' WHERE run = :run AND generation = :generation AND state = 'unknown';

-- clear_doubt --
-- A person wants these writes again; those that can be looked for are still looked for
UPDATE steps SET state = 'failed', doubt = 0
WHERE run = :run AND generation = :generation AND kind = 'write' AND state = 'unknown' AND class <> 'read-back';

-- newer_writes --
-- What runs of a lane wrote that first came after this one
SELECT r.run, w.connection, w.record FROM runs r LEFT JOIN writes w ON w.run = r.run AND w.state = 'done'
WHERE r.tenant = :tenant AND r.pipeline = :pipeline AND r.lane = :lane AND r.first_seq > :first_seq
  AND r.verdict IN ('delivered', 'unchanged') ORDER BY r.first_seq DESC;

-- newest_run --
-- The newest run of a lane that wrote and first came after this one
SELECT r.run FROM runs r
WHERE r.tenant = :tenant AND r.pipeline = :pipeline AND r.lane = :lane AND r.first_seq > :first_seq
  AND r.verdict IN ('delivered', 'unchanged') ORDER BY r.first_seq DESC LIMIT 1;

-- prospect --
-- What a plan needs to know of a run
SELECT run, tenant, pipeline, lane, CASE first_seq WHEN 0 THEN seq ELSE first_seq END AS first_seq, generation,
    EXISTS (SELECT 1 FROM bodies b WHERE b.run = runs.run) AS kept FROM runs WHERE run = :run;

-- sketch_steps --
-- The steps of a run's present generation
SELECT step, kind, class, state, input_hash FROM steps WHERE run = :run AND generation = :generation
ORDER BY first_at, kind, step;
