-- What a pipeline left that is gone or has another name. Each statement runs inside a transaction of the writer thread.

-- shared_lane --
-- A lane of both
SELECT o.lane FROM lanes o JOIN lanes n ON n.tenant = o.tenant AND n.lane = o.lane
WHERE o.pipeline = :old AND n.pipeline = :new LIMIT 1;

-- adopt_lanes --
-- Its lanes
UPDATE lanes SET pipeline = :new WHERE pipeline = :old;

-- adopt_runs --
-- Its runs; their ids stay
UPDATE runs SET pipeline = :new WHERE pipeline = :old;

-- adopt_writes --
-- What it wrote
UPDATE writes SET pipeline = :new WHERE pipeline = :old;

-- adopt_reservations --
-- What it holds; the budget rows they name stay those they were made under
UPDATE reservations SET pipeline = :new WHERE pipeline = :old;

-- adopt_positions --
-- How far it had read, unless its heir has read itself
UPDATE positions SET pipeline = :new WHERE pipeline = :old AND NOT EXISTS (
    SELECT 1 FROM positions n WHERE n.pipeline = :new AND n.topic = positions.topic AND n.part = positions.part);

-- adopt_gate --
-- Its pause
UPDATE gates SET gate = :new_gate WHERE gate = :old_gate
  AND NOT EXISTS (SELECT 1 FROM gates n WHERE n.gate = :new_gate);

-- adopt_gate_of_runs --
-- What waits for the end of its pause
UPDATE runs SET gate = :new_gate WHERE pipeline = :old AND gate = :old_gate;

-- adopt_gate_of_lanes --
-- The same for its lanes
UPDATE lanes SET gate = :new_gate WHERE pipeline = :old AND gate = :old_gate;

-- left_lanes --
-- Lanes of a pipeline that no live worker holds
SELECT l.tenant, l.pipeline, l.lane, l.head, l.head_seq FROM lanes l LEFT JOIN workers w ON w.worker = l.worker
WHERE l.pipeline = :pipeline AND (l.worker IS NULL OR w.state = 'dead') ORDER BY l.head_seq LIMIT :most;

-- left_aside --
-- Runs of a pipeline that stand aside
SELECT run, seq FROM runs WHERE pipeline = :pipeline AND state = 'aside' ORDER BY seq LIMIT :most;
