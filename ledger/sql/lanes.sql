-- Workers, lanes, runs and what they wait at. Each statement runs inside a transaction of the writer thread, or of a reader.

-- tick --
-- Move the counter that gives every fence and every seq
UPDATE meta SET value = value + 1 WHERE name = 'counter' RETURNING value;

-- add_nobody --
-- The worker of abandoned lanes, dead from the start
INSERT INTO workers (worker, name, host, boot_id, started_at, lease_until, state)
VALUES (:worker, '', '', '', 0, 0, 'dead');

-- others --
-- The other workers that are alive, as far as anybody knows
SELECT worker, host, boot_id, lease_until FROM workers WHERE worker <> :worker AND state = 'alive';

-- vouch --
-- Whether a worker is alive
SELECT 1 FROM workers WHERE worker = :worker AND state = 'alive';

-- add_worker --
-- Begin this process' lease
INSERT INTO workers (worker, name, host, boot_id, started_at, lease_until, state)
VALUES (:worker, :name, :host, :boot_id, :now, :lease_until, 'alive');

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
-- What claiming, admitting and concluding need to know of a run; an older version knew of no first place
SELECT state, verdict, body_hash, seq, CASE first_seq WHEN 0 THEN seq ELSE first_seq END AS first_seq, insist, attempts, generation, reason, fence, burst, started_at, bus_time
FROM runs WHERE run = :run;

-- known_before --
-- What is left of a run whose details were pruned
SELECT verdict, body_hash FROM seen WHERE run = :run;

-- recognise --
-- What is known of a list of runs, in details or after they were pruned
SELECT run, state, verdict, body_hash FROM runs WHERE run IN (:runs)
UNION ALL SELECT run, 'final', verdict, body_hash FROM seen WHERE run IN (:runs);

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
-- The oldest run that holds the lane, beside one that leaves it
SELECT run, seq, reason, due_at, gate FROM runs
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state IN ('running', 'waiting')
  AND run <> :run
ORDER BY seq LIMIT 1;

-- pass_lane --
-- Make another run the lane's head
UPDATE lanes SET worker = NULL, token = NULL, head = :head, head_seq = :seq, due_at = :due_at, gate = :gate
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence;

-- drop_lane --
-- Delete a lane that nothing holds
DELETE FROM lanes WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND fence = :fence;

-- add_run --
-- A run in its first state
INSERT INTO runs (run, tenant, pipeline, lane, seq, first_seq, source, event_id, subject, body_hash, state, fence, reason, due_at,
    gate, verdict, error, failed_step, deaths, config_hash, topic, part, off, bus_time, created_at, started_at, finished_at, "user")
VALUES (:run, :tenant, :pipeline, :lane, :seq, :seq, :source, :event_id, :subject, :body_hash, :state, :fence, :reason,
    :due_at, :gate, :verdict, :error, :failed_step, :deaths, :config_hash, :topic, :part, :off, :bus_time, :now, :started_at, :finished_at, :user);

-- start_run --
-- A waiting or orphaned run starts
UPDATE runs SET state = 'running', fence = :fence, reason = NULL, due_at = NULL, gate = NULL,
    started_at = coalesce(started_at, :now)
WHERE run = :run;

-- forget_start --
-- Waiting for money, a rate or a batch is no try: patience with errors begins afterwards
UPDATE runs SET started_at = NULL WHERE run = :run;

-- put_run_off --
-- A running run waits or stands aside
UPDATE runs SET state = :state, reason = :reason, due_at = :due_at, gate = :gate, error = :why,
    attempts = attempts + :attempt
WHERE run = :run AND state = 'running' AND fence = :fence;

-- end_run --
-- A running run becomes final
UPDATE runs SET state = 'final', verdict = :verdict, error = :why, reason = NULL, due_at = NULL, gate = NULL,
    finished_at = :now, failed_step = :failed_step, superseded_by = :superseded_by, deaths = deaths + :died,
    config_hash = coalesce(:failed_under, config_hash)
WHERE run = :run AND state = 'running' AND fence = :fence;

-- supersede --
-- Members of a burst that a newer one stands for: they still settle, and have begun nothing
UPDATE runs SET state = 'final', verdict = 'superseded', superseded_by = :run, error = :why, reason = NULL, due_at = NULL,
    finished_at = :now
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND state = 'waiting' AND reason = 'settle'
  AND NOT EXISTS (SELECT 1 FROM steps WHERE steps.run = runs.run)
RETURNING run, seq, first_due, burst_until, burst;

-- stand_for_burst --
-- What the newest member stands for, and when it runs at the latest
UPDATE runs SET first_due = :first_due, burst_until = :until, burst = :burst WHERE run = :run;

-- hurry_lanes --
-- Lanes whose head settles: due at the latest then
UPDATE lanes SET due_at = :due_at
WHERE pipeline = :pipeline AND worker IS NULL AND due_at > :due_at
  AND EXISTS (SELECT 1 FROM runs r WHERE r.run = lanes.head AND r.state = 'waiting' AND r.reason = 'settle');

-- hurry_runs --
-- The same for the runs
UPDATE runs SET due_at = :due_at
WHERE pipeline = :pipeline AND state = 'waiting' AND reason = 'settle' AND due_at > :due_at;

-- keep_body --
-- Keep a run's event; the first one kept stays
INSERT INTO bodies (run, body) VALUES (:run, :body) ON CONFLICT (run) DO NOTHING;

-- body --
-- A run's event
SELECT body FROM bodies WHERE run = :run;

-- forget_bodies --
-- The event of a run
DELETE FROM bodies WHERE run = :run;

-- due_lanes --
-- Heads whose time has come
SELECT tenant, pipeline, lane, head, head_seq, NULL AS gate FROM lanes
WHERE pipeline = :pipeline AND worker IS NULL AND due_at <= :now ORDER BY due_at, head_seq LIMIT :most;

-- gated_lanes --
-- Heads at one gate, oldest first
SELECT tenant, pipeline, lane, head, head_seq, gate FROM lanes
WHERE gate = :gate AND pipeline = :pipeline AND worker IS NULL ORDER BY head_seq LIMIT :most;

-- late_lanes --
-- Heads that wait for the end of an outage, and were first tried long ago
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq, l.gate FROM lanes l JOIN runs r ON r.run = l.head
WHERE l.pipeline = :pipeline AND l.worker IS NULL AND l.gate IS NOT NULL AND r.reason = 'outage' AND r.started_at < :before
ORDER BY l.head_seq LIMIT :most;

-- orphaned_lanes --
-- Heads of dead workers, as far as their event is here; the others are left to the bus
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq, NULL AS gate
FROM workers w JOIN lanes l ON l.worker = w.worker JOIN bodies b ON b.run = l.head
WHERE w.state = 'dead' AND l.pipeline = :pipeline ORDER BY l.head_seq LIMIT :most;

-- orphaned_lane --
-- Whether there is one of them
SELECT 1 FROM workers w JOIN lanes l ON l.worker = w.worker JOIN bodies b ON b.run = l.head
WHERE w.state = 'dead' AND l.pipeline = :pipeline LIMIT 1;

-- awaited_gates --
-- Gates with something waiting at them; one without a row is open
SELECT DISTINCT l.gate, coalesce(g.state, 'open') AS state, g.probe_at, g.probing_at
FROM lanes l LEFT JOIN gates g ON g.gate = l.gate
WHERE l.worker IS NULL AND l.gate IS NOT NULL AND l.gate NOT LIKE 'budget:%' AND l.pipeline = :pipeline;

-- first_due --
-- The earliest due time of a pipeline
SELECT min(due_at) AS due_at FROM lanes WHERE pipeline = :pipeline AND worker IS NULL AND due_at IS NOT NULL;

-- shut_gate --
-- Shut a gate, or put its next probe off
INSERT INTO gates (gate, state, reason, since, probe_at) VALUES (:gate, 'shut', :reason, :now, :probe_at)
ON CONFLICT (gate) DO UPDATE SET reason = :reason, probe_at = :probe_at, probe_run = NULL, probing_at = NULL,
    since = CASE gates.state WHEN 'open' THEN :now ELSE gates.since END, state = 'shut';

-- gate_since --
-- When a gate was shut, or opened
SELECT since FROM gates WHERE gate = :gate;

-- open_gate --
-- A probe got through
UPDATE gates SET state = 'open', since = :now, probe_run = NULL, probing_at = NULL WHERE gate = :gate AND state <> 'open';

-- gate_to_probe --
-- A shut gate whose next probe is due
SELECT gate FROM gates WHERE gate = :gate AND state = 'shut' AND probe_at <= :now;

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

-- pauses --
-- The pauses that hold: gates nobody probes
SELECT gate, reason, since, probe_at FROM gates WHERE gate LIKE 'pipeline:%' AND state = 'shut' AND probe_at > :now
ORDER BY since, gate;

-- end_pauses --
-- Pauses whose time is over
UPDATE gates SET state = 'open', since = :now WHERE gate LIKE 'pipeline:%' AND state = 'shut' AND probe_at <= :now;
