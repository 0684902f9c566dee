-- What people and checks read, and what is forgotten. Each statement runs inside a transaction of the writer thread, or of a reader.

-- list_runs --
-- Runs for people, newest first
SELECT * FROM runs WHERE :narrowed ORDER BY created_at DESC, first_seq DESC LIMIT :limit;

-- find_runs --
-- Runs by the beginning of their id
SELECT * FROM runs WHERE run BETWEEN :low AND :high LIMIT 4;

-- steps_of --
-- The steps of a run, in the order they were begun
SELECT * FROM steps WHERE run = :run ORDER BY generation, first_at, kind, step;

-- calls_of --
-- The provider calls of a run
SELECT entry, priced, cause FROM calls WHERE run = :run ORDER BY at, rung, attempt;

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

-- costs --
-- What calls came to, told apart by some of what is known of them; a call may be known longer than its run
SELECT c.outcome, c.late, c.priced, count(*) AS calls, sum(c.tokens_in) AS tokens_in, sum(c.tokens_out) AS tokens_out,
    sum(c.tokens_cached) AS tokens_cached, sum(c.cost) AS cost :names
FROM calls c LEFT JOIN runs r ON r.run = c.run
WHERE c.at >= :since AND c.at < :until :narrowed
GROUP BY c.outcome, c.late, c.priced :places;

-- climbs --
-- Calls in the order in which each ask made them; what the ledger booked itself knows no rung, what only compares is no climb
SELECT c.run, c.step, c.rung, c.model, c.outcome, c.cause, c.tokens_in, c.tokens_out, c.tokens_cached, c.cost
FROM calls c JOIN runs r ON r.run = c.run
WHERE c.at >= :since AND c.at < :until AND r.pipeline = :pipeline AND c.outcome NOT IN ('lost', 'swept') AND c.step <> :shadow
ORDER BY c.run, c.step, c.at, c.rung, c.attempt;

-- configs --
-- The texts of some configurations
SELECT config_hash, body FROM configs WHERE config_hash IN (:hashes);

-- remember_config --
-- The text of a configuration
INSERT INTO configs (config_hash, body, first_seen) VALUES (:config_hash, :body, :now) ON CONFLICT DO NOTHING;

-- horizon --
-- Before it, what has no row may have been known and forgotten
SELECT value FROM meta WHERE name = 'horizon';

-- old_runs --
-- Final runs whose details may go: not while one of their lane stands aside, which must know what is newer
SELECT run, body_hash, verdict, finished_at FROM runs
WHERE state = 'final' AND finished_at < :before
  AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.state = 'aside'
    AND a.tenant = runs.tenant AND a.pipeline = runs.pipeline AND a.lane = runs.lane)
ORDER BY finished_at LIMIT :most;

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

-- note_lost --
-- Messages of one partition that are gone before they were read
UPDATE positions SET lost = lost + :lost, lost_at = :now
WHERE pipeline = :pipeline AND topic = :topic AND part = :part;

-- losses --
-- Pipelines that lost messages, and how many
SELECT pipeline, topic, SUM(lost) AS lost, MAX(lost_at) AS lost_at
FROM positions
WHERE lost_at >= :since
GROUP BY pipeline, topic
ORDER BY pipeline, topic;

-- topic --
-- What a topic was
SELECT partitions, identity FROM topics WHERE topic = :topic;

-- keep_topic --
-- What a topic is
INSERT INTO topics (topic, partitions, identity, at)
VALUES (:topic, :partitions, :identity, :now)
ON CONFLICT (topic) DO UPDATE SET partitions = excluded.partitions, identity = excluded.identity, at = excluded.at;
