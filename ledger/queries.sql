-- Every statement of the ledger on SQLite. Each runs inside a transaction of the writer thread, or
-- on a reader's connection.

-- tick --
-- Move the counter that gives every fence and every seq
UPDATE meta SET value = value + 1 WHERE name = 'counter' RETURNING value;

-- add_worker --
-- Begin this process' lease
INSERT INTO workers (worker, name, host, boot_id, started_at, lease_until, state)
VALUES (:worker, :name, :host, :boot_id, :now, :lease_until, 'alive');

-- add_nobody --
-- The worker of abandoned lanes, dead from the start
INSERT INTO workers (worker, name, host, boot_id, started_at, lease_until, state)
VALUES (:worker, '', '', '', 0, 0, 'dead');

-- bury_workers --
-- Mark every other worker dead: only the holder of the file's lock may say so
UPDATE workers SET state = 'dead' WHERE worker <> :worker;

-- forget_workers --
-- Delete dead workers that hold nothing
DELETE FROM workers WHERE state = 'dead' AND name <> ''
  AND worker NOT IN (SELECT worker FROM lanes WHERE worker IS NOT NULL);

-- renew_worker --
-- Lengthen this process' lease, unless somebody called it dead
UPDATE workers SET lease_until = :lease_until WHERE worker = :worker AND state = 'alive';

-- end_worker --
-- Give this process' lease back
UPDATE workers SET state = 'dead' WHERE worker = :worker;

-- known_run --
-- What claiming, admitting and concluding need to know of a run
SELECT state, verdict, body_hash, seq, attempts, generation, reason, fence FROM runs WHERE run = :run;

-- known_before --
-- What is left of a run whose details were pruned
SELECT verdict, body_hash FROM seen WHERE run = :run;

-- count_delivery --
-- Count one more delivery of a run
UPDATE runs SET redelivered = redelivered + 1 WHERE run = :run;

-- lane --
-- One lane with the state of the worker that holds it
SELECT l.fence, l.worker, l.token, l.head, w.state AS holder
FROM lanes l LEFT JOIN workers w ON w.worker = l.worker
WHERE l.tenant = :tenant AND l.pipeline = :pipeline AND l.lane = :lane;

-- add_lane --
-- Make a lane for its first run: claimed when a worker is given, else waiting
INSERT INTO lanes (tenant, pipeline, lane, fence, worker, token, head, head_seq, due_at, gate)
VALUES (:tenant, :pipeline, :lane, :fence, :worker, :token, :run, :seq, :due_at, :gate);

-- take_lane --
-- Claim a lane for its head
UPDATE lanes SET fence = :fence, worker = :worker, token = :token, due_at = NULL, gate = NULL
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND head = :run;

-- leave_lane --
-- Give the place up and keep the lane for its head
UPDATE lanes SET worker = NULL, token = NULL, due_at = :due_at, gate = :gate
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence;

-- abandon_lane --
-- Leave a claimed lane to whoever comes, as if its worker had died
UPDATE lanes SET worker = :nobody, token = NULL
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence AND head = :run AND worker IS NOT NULL;

-- abandon_token --
-- The same for all lanes that one attempt won
UPDATE lanes SET worker = :nobody, token = NULL WHERE token = :token;

-- next_of_lane --
-- The oldest run that holds the lane
SELECT run, seq, reason, due_at, gate FROM runs
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state IN ('running', 'waiting')
ORDER BY seq LIMIT 1;

-- pass_lane --
-- Make another run the lane's head
UPDATE lanes SET worker = NULL, token = NULL, head = :head, head_seq = :seq, due_at = :due_at, gate = :gate
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence;

-- drop_lane --
-- Delete a lane that nothing holds
DELETE FROM lanes WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence;

-- holds --
-- Whether a claim still holds its lane
SELECT 1 FROM lanes
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane
  AND fence = :fence AND head = :run AND worker IS NOT NULL;

-- add_run --
-- A run in its first state
INSERT INTO runs (run, tenant, pipeline, lane, seq, source, event_id, subject, body_hash, state, fence, reason, due_at,
    gate, verdict, error, config_hash, topic, part, off, bus_time, created_at, started_at, finished_at)
VALUES (:run, :tenant, :pipeline, :lane, :seq, :source, :event_id, :subject, :body_hash, :state, :fence, :reason,
    :due_at, :gate, :verdict, :error, :config_hash, :topic, :part, :off, :bus_time, :now, :started_at, :finished_at);

-- start_run --
-- A waiting or orphaned run starts
UPDATE runs SET state = 'running', fence = :fence, reason = NULL, due_at = NULL, gate = NULL,
    started_at = coalesce(started_at, :now)
WHERE run = :run;

-- put_run_off --
-- A running run waits or stands aside
UPDATE runs SET state = :state, reason = :reason, due_at = :due_at, gate = :gate, error = :why,
    attempts = attempts + :attempt
WHERE run = :run AND state = 'running' AND fence = :fence;

-- end_run --
-- A running run becomes final
UPDATE runs SET state = 'final', verdict = :verdict, error = :why, reason = NULL, due_at = NULL, gate = NULL,
    finished_at = :now
WHERE run = :run AND state = 'running' AND fence = :fence;

-- keep_body --
-- Keep a run's event; the first one kept stays
INSERT INTO bodies (run, body) VALUES (:run, :body) ON CONFLICT (run) DO NOTHING;

-- body --
-- A run's event
SELECT body FROM bodies WHERE run = :run;

-- due_lanes --
-- Heads whose time has come
SELECT tenant, pipeline, lane, head, head_seq, NULL AS gate FROM lanes
WHERE pipeline = :pipeline AND worker IS NULL AND due_at <= :now ORDER BY due_at, head_seq LIMIT :most;

-- gated_lanes --
-- Heads at one gate, oldest first
SELECT tenant, pipeline, lane, head, head_seq, gate FROM lanes
WHERE gate = :gate AND pipeline = :pipeline AND worker IS NULL ORDER BY head_seq LIMIT :most;

-- orphaned_lanes --
-- Heads of dead workers, as far as their event is here; the others are left to the bus
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq, NULL AS gate
FROM workers w JOIN lanes l ON l.worker = w.worker JOIN bodies b ON b.run = l.head
WHERE w.state = 'dead' AND l.pipeline = :pipeline ORDER BY l.head_seq LIMIT :most;

-- awaited_gates --
-- Gates with something waiting at them; one without a row is open
SELECT DISTINCT l.gate, coalesce(g.state, 'open') AS state, g.probe_at, g.probing_at
FROM lanes l LEFT JOIN gates g ON g.gate = l.gate
WHERE l.worker IS NULL AND l.gate IS NOT NULL AND l.pipeline = :pipeline;

-- first_due --
-- The earliest due time of a pipeline
SELECT min(due_at) AS due_at FROM lanes WHERE pipeline = :pipeline AND worker IS NULL AND due_at IS NOT NULL;

-- shut_gate --
-- Shut a gate, or put its next probe off
INSERT INTO gates (gate, state, reason, since, probe_at) VALUES (:gate, 'shut', :reason, :now, :probe_at)
ON CONFLICT (gate) DO UPDATE SET reason = :reason, probe_at = :probe_at, probe_run = NULL, probing_at = NULL,
    since = CASE state WHEN 'open' THEN :now ELSE since END, state = 'shut';

-- open_gate --
-- A probe got through
UPDATE gates SET state = 'open', since = :now, probe_run = NULL, probing_at = NULL WHERE gate = :gate AND state <> 'open';

-- probe_gate --
-- Send one run through a shut gate
UPDATE gates SET state = 'probing', probe_run = :run, probing_at = :now WHERE gate = :gate;

-- end_probe --
-- The probe came back and nobody said whether the gate opens: shut, next probe later
UPDATE gates SET state = 'shut', probe_run = NULL, probing_at = NULL, probe_at = max(probe_at, :probe_at)
WHERE state = 'probing' AND probe_run = :run;

-- expire_probes --
-- A probe that never came back
UPDATE gates SET state = 'shut', probe_run = NULL, probing_at = NULL WHERE state = 'probing' AND probing_at < :before;

-- shut_gates --
-- The gates that are not open
SELECT gate, state, reason, since, probe_at FROM gates WHERE state <> 'open' ORDER BY since, gate;

-- recognise --
-- What is known of a list of runs, in details or after they were pruned
SELECT run, state, verdict, body_hash FROM runs WHERE run IN (:runs)
UNION ALL SELECT run, 'final', verdict, body_hash FROM seen WHERE run IN (:runs);

-- step --
-- One step of a run
SELECT state, fence, token, doubt, attempts, input_hash, first_at, intent_at, timeout_ms, result
FROM steps WHERE run = :run AND step = :step AND generation = :generation;

-- begin_step --
-- A step's intent: the first, or one more
INSERT INTO steps (run, step, generation, kind, class, state, fence, token, doubt, attempts, idem_key, input_hash,
    first_at, intent_at, timeout_ms)
VALUES (:run, :step, :generation, :kind, :class, 'intent', :fence, :token, :doubt, :attempts, :key, :input_hash,
    :first_at, :intent_at, :timeout_ms)
ON CONFLICT (run, step, generation) DO UPDATE SET class = excluded.class, state = 'intent', fence = excluded.fence,
    token = excluded.token, doubt = excluded.doubt, attempts = excluded.attempts, input_hash = excluded.input_hash,
    intent_at = excluded.intent_at, timeout_ms = excluded.timeout_ms, result = NULL, receipt = NULL, ended_at = NULL;

-- end_step --
-- A step took effect
UPDATE steps SET state = 'done', doubt = 0, result = :result, receipt = :receipt, ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation AND fence = :fence AND state = 'intent';

-- leave_step --
-- A step that was left without its end: failed when it surely had no effect, in this attempt or before
UPDATE steps SET state = CASE WHEN doubt THEN 'unknown' ELSE :state END, doubt = max(doubt, :state = 'unknown'),
    ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation AND fence = :fence AND state = 'intent';

-- doubt_steps --
-- The lane's fence moved: whatever was open may have taken effect
UPDATE steps SET state = 'unknown', doubt = 1 WHERE run = :run AND state = 'intent' AND fence < :fence;

-- doubt_writes --
-- The same for the writes of these steps
UPDATE writes SET state = 'unknown' WHERE run = :run AND state = 'open';

-- delivery_begun --
-- Whether a run has begun to write
SELECT 1 FROM steps WHERE run = :run AND generation = :generation AND kind = 'write' LIMIT 1;

-- open_write --
-- What a write step is about to change
INSERT INTO writes (connection, record, run, step, generation, pipeline, fields, value_hash, state, at)
VALUES (:connection, :record, :run, :step, :generation, :pipeline, :fields, :value_hash, 'open', :now)
ON CONFLICT (connection, record, run, step, generation) DO UPDATE SET fields = excluded.fields,
    value_hash = excluded.value_hash, state = 'open', at = excluded.at;

-- end_write --
-- The write took effect
UPDATE writes SET state = 'done', version = :version, at = :now
WHERE run = :run AND step = :step AND generation = :generation AND state = 'open';

-- leave_write --
-- The write may have taken effect
UPDATE writes SET state = 'unknown' WHERE run = :run AND step = :step AND generation = :generation AND state = 'open';

-- drop_write --
-- The write surely had no effect
DELETE FROM writes WHERE run = :run AND step = :step AND generation = :generation AND state = 'open';

-- keep_answer --
-- The paid answer of a worker that lost its lane, if none is there
INSERT INTO answers (answer, run, step, generation, ask_hash, schema_hash, body, receipt, late, created_at)
SELECT :token, :run, :step, :generation, :input_hash, '', :result, :receipt, 1, :now FROM steps s
WHERE s.run = :run AND s.step = :step AND s.generation = :generation AND s.state <> 'done'
  AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.run = :run AND a.step = :step AND a.generation = :generation);

-- late_answer --
-- The newest late answer of a step
SELECT body, receipt, ask_hash FROM answers
WHERE run = :run AND step = :step AND generation = :generation ORDER BY created_at DESC LIMIT 1;

-- last_write --
-- The newest write of one step of a pipeline on a record
SELECT * FROM writes WHERE connection = :connection AND record = :record AND pipeline = :pipeline AND step = :step
  AND state = 'done' ORDER BY at DESC LIMIT 1;

-- writes_of --
-- Writes on a record, newest first; open ones whatever their age
SELECT * FROM writes WHERE connection = :connection AND record = :record AND (at >= :since OR state = 'open')
ORDER BY at DESC;

-- budget --
-- Money of one scope in one period
SELECT spent, reserved FROM budgets WHERE scope = :scope AND period = :period;

-- add_budget --
-- The first call of a scope in a period
INSERT INTO budgets (scope, period) VALUES (:scope, :period) ON CONFLICT DO NOTHING;

-- move_money --
-- Change what one scope has spent and reserved in one period
UPDATE budgets SET spent = spent + :spent, reserved = reserved + :reserved WHERE scope = :scope AND period = :period;

-- committed --
-- What a run has cost and may yet cost by calls under way
SELECT cost, (SELECT coalesce(sum(amount), 0) FROM reservations WHERE run = :run AND state = 'held') AS held
FROM runs WHERE run = :run;

-- reservation --
-- One reservation
SELECT amount, rows, state, booked, run, step, pipeline, fence FROM reservations WHERE call = :call;

-- reserve --
-- Hold money for one call
INSERT INTO reservations (call, tenant, pipeline, lane, fence, run, step, amount, rows, state, at)
VALUES (:call, :tenant, :pipeline, :lane, :fence, :run, :step, :amount, :rows, 'held', :now);

-- book --
-- End a reservation
UPDATE reservations SET state = :state, booked = :booked WHERE call = :call;

-- stale_reservations --
-- What earlier holders of a lane still hold
SELECT call, run, step FROM reservations
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state = 'held' AND fence < :fence;

-- add_cost --
-- Keep a run's cost up to date
UPDATE runs SET cost = cost + :cost WHERE run = :run;

-- keep_call --
-- One provider call; what the ledger booked itself gives way to the truth
INSERT INTO calls (call, run, step, rung, attempt, model, provider, outcome, tokens_in, tokens_out, tokens_cached,
    cost, latency_ms, late, at, entry)
VALUES (:call, :run, :step, :rung, :attempt, :model, :provider, :outcome, :tokens_in, :tokens_out, :tokens_cached,
    :cost, :latency_ms, :late, :at, :entry)
ON CONFLICT (call) DO UPDATE SET rung = excluded.rung, attempt = excluded.attempt, model = excluded.model,
    provider = excluded.provider, outcome = excluded.outcome, tokens_in = excluded.tokens_in,
    tokens_out = excluded.tokens_out, tokens_cached = excluded.tokens_cached, cost = excluded.cost,
    latency_ms = excluded.latency_ms, late = excluded.late, at = excluded.at, entry = excluded.entry
WHERE calls.outcome IN ('lost', 'swept');

-- adopt_answer --
-- A late answer becomes the step's result
UPDATE steps SET state = 'done', doubt = 0, fence = :fence, token = :token, result = :result, receipt = :receipt,
    ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation;

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

-- count_runs --
-- How many runs each pipeline has in each verdict or state
SELECT pipeline, coalesce(verdict, state) AS end, count(*) AS runs FROM runs GROUP BY 1, 2;

-- remember_config --
-- The text of a configuration
INSERT INTO configs (config_hash, body, first_seen) VALUES (:config_hash, :body, :now) ON CONFLICT DO NOTHING;

-- old_runs --
-- Final runs whose details may go
SELECT run, body_hash, verdict, finished_at FROM runs
WHERE state = 'final' AND finished_at < :before ORDER BY finished_at LIMIT :most;

-- keep_identity --
-- What stays of a run
INSERT INTO seen (run, body_hash, verdict, finished_at) VALUES (:run, :body_hash, :verdict, :finished_at)
ON CONFLICT (run) DO NOTHING;

-- forget_bodies --
-- The event of a run
DELETE FROM bodies WHERE run = :run;

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

-- horizon --
-- Before it, what has no row may have been known and forgotten
SELECT value FROM meta WHERE name = 'horizon';
