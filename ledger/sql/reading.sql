-- What people and checks read, and what is forgotten. Each statement runs inside a transaction of the writer thread, or of a reader.

-- list_runs --
-- Runs for people, newest first
SELECT * FROM runs WHERE :narrowed ORDER BY created_at DESC, seq DESC LIMIT :limit;

-- find_runs --
-- Runs by the beginning of their id
SELECT * FROM runs WHERE run BETWEEN :low AND :high LIMIT 4;

-- steps_of --
-- The steps of a run, in the order they were begun
SELECT * FROM steps WHERE run = :run ORDER BY generation, first_at, kind, step;

-- calls_of --
-- The provider calls of a run
SELECT entry FROM calls WHERE run = :run ORDER BY at, rung, attempt;

-- writes_of_run --
-- The writes of a run
SELECT * FROM writes WHERE run = :run ORDER BY generation, at, step;

-- last_write --
-- The newest write of one step of a pipeline on a record
SELECT * FROM writes WHERE connection = :connection AND record = :record AND pipeline = :pipeline AND step = :step
  AND state = 'done' ORDER BY at DESC LIMIT 1;

-- writes_of --
-- Writes on a record, newest first; open ones whatever their age
SELECT * FROM writes WHERE connection = :connection AND record = :record AND (at >= :since OR state = 'open')
ORDER BY at DESC;

-- count_runs --
-- How many runs each pipeline has in each verdict or state
SELECT pipeline, coalesce(verdict, state) AS end, count(*) AS runs FROM runs GROUP BY 1, 2;

-- remember_config --
-- The text of a configuration
INSERT INTO configs (config_hash, body, first_seen) VALUES (:config_hash, :body, :now) ON CONFLICT DO NOTHING;

-- horizon --
-- Before it, what has no row may have been known and forgotten
SELECT value FROM meta WHERE name = 'horizon';

-- old_runs --
-- Final runs whose details may go
SELECT run, body_hash, verdict, finished_at FROM runs
WHERE state = 'final' AND finished_at < :before ORDER BY finished_at LIMIT :most;

-- keep_identity --
-- What stays of a run
INSERT INTO seen (run, body_hash, verdict, finished_at) VALUES (:run, :body_hash, :verdict, :finished_at)
ON CONFLICT (run) DO NOTHING;

-- forget_steps --
-- The steps of a run
DELETE FROM steps WHERE run = :run;

-- forget_writes --
-- The writes of a run
DELETE FROM writes WHERE run = :run;

-- forget_answers --
-- The late answers of a run
DELETE FROM answers WHERE run = :run;

-- forget_calls --
-- The provider calls of a run; what they cost stays in its budgets
DELETE FROM calls WHERE run = :run;

-- forget_reservations --
-- The reservations of a run that have ended
DELETE FROM reservations WHERE run = :run AND state <> 'held';

-- forget_runs --
-- The run
DELETE FROM runs WHERE run = :run AND state = 'final';

-- forget_identities --
-- Identities nobody can deliver again
DELETE FROM seen WHERE finished_at < :before;

-- set_horizon --
-- Older events may have been known and forgotten; it never moves back
UPDATE meta SET value = max(value, :before) WHERE name = 'horizon';

-- positions --
-- How far a pipeline had read each partition of a topic
SELECT part, next_off FROM positions WHERE pipeline = :pipeline AND topic = :topic;

-- keep_position --
-- The next offset of one partition
INSERT INTO positions (pipeline, topic, part, next_off, epoch, at)
VALUES (:pipeline, :topic, :part, :next_off, 0, :now)
ON CONFLICT (pipeline, topic, part) DO UPDATE SET next_off = excluded.next_off, at = excluded.at;
