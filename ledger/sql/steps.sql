-- Steps, writes, answers and money. Each statement runs inside a transaction of the writer thread, or of a reader.

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
UPDATE steps SET state = 'done', result = :result, receipt = :receipt, ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation AND fence = :fence AND state = 'intent';

-- leave_step --
-- A step that was left without its end: failed when it surely had no effect, in this attempt or before
UPDATE steps SET state = CASE WHEN doubt <> 0 THEN 'unknown' ELSE :state END, ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation AND fence = :fence AND state = 'intent';

-- doubt_steps --
-- The lane's fence moved: whatever was open may have taken effect
UPDATE steps SET state = 'unknown' WHERE run = :run AND state = 'intent' AND fence < :fence;

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

-- adopt_answer --
-- A late answer becomes the step's result
UPDATE steps SET state = 'done', fence = :fence, token = :token, result = :result, receipt = :receipt,
    ended_at = :now
WHERE run = :run AND step = :step AND generation = :generation;

-- budget --
-- Money of one scope in one period
SELECT spent, reserved, cap, alert_at FROM budgets WHERE scope = :scope AND period = :period;

-- add_budget --
-- The first call of a scope in a period, or of a changed cap
INSERT INTO budgets (scope, period, cap, alert_at) VALUES (:scope, :period, :cap, :alert_at)
ON CONFLICT (scope, period) DO UPDATE SET cap = excluded.cap, alert_at = excluded.alert_at
WHERE budgets.cap <> excluded.cap OR budgets.alert_at <> excluded.alert_at;

-- move_money --
-- Change what one scope has spent and reserved in one period
UPDATE budgets SET spent = spent + :spent, reserved = reserved + :reserved WHERE scope = :scope AND period = :period;

-- committed --
-- What a run has cost and may yet cost by calls under way
SELECT cost, (SELECT CAST(coalesce(sum(amount), 0) AS BIGINT) FROM reservations WHERE run = :run AND state = 'held') AS held
FROM runs WHERE run = :run;

-- reservation --
-- One reservation
SELECT amount, rows, state, booked, run, step, pipeline, fence, model, priced FROM reservations WHERE call = :call;

-- reserve --
-- Hold money for one call
INSERT INTO reservations (call, tenant, pipeline, lane, fence, run, step, amount, rows, state, at, model, priced)
VALUES (:call, :tenant, :pipeline, :lane, :fence, :run, :step, :amount, :rows, 'held', :now, :model, :priced);

-- book --
-- End a reservation
UPDATE reservations SET state = :state, booked = :booked WHERE call = :call;

-- sums_under --
-- The budget rows of what is held under a lane
SELECT rows FROM reservations WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state = 'held';

-- stale_reservations --
-- What earlier holders of a lane still hold
SELECT call, run, step, model, priced FROM reservations
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state = 'held' AND fence < :fence;

-- add_cost --
-- Keep a run's cost up to date
UPDATE runs SET cost = cost + :cost WHERE run = :run;

-- keep_call --
-- One provider call; what the ledger booked itself gives way to the truth
INSERT INTO calls (call, run, step, rung, attempt, model, provider, outcome, tokens_in, tokens_out, tokens_cached,
    cost, latency_ms, late, at, entry, priced, cause)
VALUES (:call, :run, :step, :rung, :attempt, :model, :provider, :outcome, :tokens_in, :tokens_out, :tokens_cached,
    :cost, :latency_ms, :late, :at, :entry, :priced, :cause)
ON CONFLICT (call) DO UPDATE SET rung = excluded.rung, attempt = excluded.attempt, model = excluded.model,
    provider = excluded.provider, outcome = excluded.outcome, tokens_in = excluded.tokens_in,
    tokens_out = excluded.tokens_out, tokens_cached = excluded.tokens_cached, cost = excluded.cost,
    latency_ms = excluded.latency_ms, late = excluded.late, at = excluded.at, entry = excluded.entry,
    priced = excluded.priced, cause = excluded.cause
WHERE calls.outcome IN ('lost', 'swept');
