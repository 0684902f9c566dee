-- What PostgreSQL does in other words than SQLite, or what several live workers need. A statement here takes the place of the
-- one with the same name; the others are shared.

-- tick --
-- The next fence or seq; gaps are fine, it never falls back
SELECT nextval('counter');

-- ticks --
-- Some of them for a batch
SELECT nextval('counter') FROM generate_series(1, CAST(:count AS bigint));

-- add_worker --
-- Begin this process' lease, on the server's clock
INSERT INTO workers (worker, name, host, boot_id, started_at, lease_until, state)
VALUES (:worker, :name, :host, :boot_id, :now, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + :lasts, 'alive');

-- renew_worker --
-- Lengthen this process' lease, unless somebody called it dead
UPDATE workers SET lease_until = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + :lasts
WHERE worker = :worker AND state = 'alive';

-- bury_workers --
-- Mark workers dead whose lease has ended; one that is in the middle of a transaction is left for later
UPDATE workers SET state = 'dead' WHERE worker IN (
    SELECT worker FROM workers
    WHERE state = 'alive' AND worker <> :worker AND lease_until < (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FOR UPDATE SKIP LOCKED);

-- due_lanes --
-- Heads whose time has come, as far as nobody else has them in hand
SELECT tenant, pipeline, lane, head, head_seq, NULL AS gate FROM lanes
WHERE pipeline = :pipeline AND worker IS NULL AND due_at <= :now ORDER BY due_at, head_seq LIMIT :most
FOR UPDATE SKIP LOCKED;

-- gated_lanes --
-- Heads at one gate, oldest first
SELECT tenant, pipeline, lane, head, head_seq, gate FROM lanes
WHERE gate = :gate AND pipeline = :pipeline AND worker IS NULL ORDER BY head_seq LIMIT :most
FOR UPDATE SKIP LOCKED;

-- late_lanes --
-- Heads that wait for the end of an outage, and were first tried long ago
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq, l.gate FROM lanes l JOIN runs r ON r.run = l.head
WHERE l.pipeline = :pipeline AND l.worker IS NULL AND l.gate IS NOT NULL AND r.reason = 'outage' AND r.started_at < :before
ORDER BY l.head_seq LIMIT :most FOR UPDATE OF l SKIP LOCKED;

-- orphaned_lanes --
-- Heads of dead workers, as far as their event is here; the others are left to the bus
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq, NULL AS gate
FROM workers w JOIN lanes l ON l.worker = w.worker JOIN bodies b ON b.run = l.head
WHERE w.state = 'dead' AND l.pipeline = :pipeline ORDER BY l.head_seq LIMIT :most
FOR UPDATE OF l SKIP LOCKED;

-- gate_to_probe --
-- A shut gate whose next probe is due, and which nobody else is about to probe
SELECT gate FROM gates WHERE gate = :gate AND state = 'shut' AND probe_at <= :now FOR UPDATE SKIP LOCKED;

-- end_probe --
-- The probe came back and nobody said whether the gate opens; whoever has the gate in hand ends the probe as well
UPDATE gates SET state = 'shut', probe_run = NULL, probing_at = NULL, probe_at = greatest(probe_at, :probe_at)
WHERE gate IN (SELECT gate FROM gates WHERE state = 'probing' AND probe_run = :run FOR UPDATE SKIP LOCKED);

-- expire_probes --
-- Probes that never came back
UPDATE gates SET state = 'shut', probe_run = NULL, probing_at = NULL
WHERE gate IN (SELECT gate FROM gates WHERE state = 'probing' AND probing_at < :before FOR UPDATE SKIP LOCKED);

-- old_runs --
-- Final runs whose details may go, as far as nobody else is forgetting them
SELECT run, body_hash, verdict, finished_at FROM runs
WHERE state = 'final' AND finished_at < :before
  AND NOT EXISTS (SELECT 1 FROM runs a WHERE a.state = 'aside'
    AND a.tenant = runs.tenant AND a.pipeline = runs.pipeline AND a.lane = runs.lane)
ORDER BY finished_at LIMIT :most FOR UPDATE SKIP LOCKED;

-- due_parcels --
-- The oldest unsent parcels of a kind that nobody has in hand
SELECT id, kind, body, attempts, created_at FROM outbox
WHERE kind = :kind AND sent_at IS NULL AND due_at <= :now ORDER BY created_at, id LIMIT :most FOR UPDATE SKIP LOCKED;

-- set_horizon --
-- Older events may have been known and forgotten; it never moves back
UPDATE meta SET value = greatest(value, :before) WHERE name = 'horizon';

-- lock_names --
-- Keep others from lanes, or budget rows, that may have no row yet
SELECT pg_advisory_xact_lock(k) FROM unnest(CAST(:keys AS bigint[])) AS k;

-- lock_lanes --
-- Keep others from lanes that are there
SELECT 1 FROM lanes WHERE (tenant, pipeline, lane) IN (
    SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:pipelines AS text[]), CAST(:lanes AS text[])))
ORDER BY tenant, pipeline, lane FOR UPDATE;

-- lanes_of --
-- The lanes of some runs
SELECT DISTINCT tenant, pipeline, lane FROM runs WHERE run = ANY(CAST(:runs AS bytea[]));

-- sums_of --
-- The budget rows of what is held under some lanes
SELECT rows FROM reservations WHERE state = 'held' AND (tenant, pipeline, lane) IN (
    SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:pipelines AS text[]), CAST(:lanes AS text[])));

-- vouch --
-- A worker that is alive stays so until this transaction ends
SELECT 1 FROM workers WHERE worker = :worker AND state = 'alive' FOR SHARE;

-- left_lanes --
-- Lanes of a pipeline that no live worker holds
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq FROM lanes l LEFT JOIN workers w ON w.worker = l.worker
WHERE l.pipeline = :pipeline AND (l.worker IS NULL OR w.state = 'dead') ORDER BY l.head_seq LIMIT :most
FOR UPDATE OF l;
