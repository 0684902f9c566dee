-- Caps and rates that are used up. Each statement runs inside a transaction of the writer thread, or of a reader.

-- keep_hold --
-- What the oldest run at a budget's gate needs
INSERT INTO holds (gate, scope, period, cap, need, at_limit, until, since)
VALUES (:gate, :scope, :period, :cap, :need, :at_limit, :until, :now)
ON CONFLICT (gate) DO UPDATE SET period = excluded.period, cap = excluded.cap, need = excluded.need,
    at_limit = excluded.at_limit, until = excluded.until;

-- join_hold --
-- One more waits where others do
INSERT INTO holds (gate, scope, period, cap, need, at_limit, until, since)
VALUES (:gate, :scope, :period, :cap, :need, :at_limit, :until, :now) ON CONFLICT DO NOTHING;

-- follow_hold --
-- What a run needed that got through, and in which period
UPDATE holds SET period = :period, cap = :cap, need = :need, at_limit = :at_limit, until = :until WHERE gate = :gate;

-- limit_hold --
-- The configuration says another limit
UPDATE holds SET cap = :cap WHERE gate = :gate AND cap <> :cap;

-- lift_hold --
-- The configuration has no such budget any more: whatever waits fits
UPDATE holds SET need = 0, at_limit = 'hold', until = 0 WHERE gate = :gate;

-- forget_holds --
-- Gates of periods that are long over, at which nothing waits
DELETE FROM holds WHERE until < :before AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.gate = holds.gate AND l.worker IS NULL);

-- held_before --
-- Whether runs wait at a budget's gate
SELECT 1 FROM holds h JOIN lanes l ON l.gate = h.gate WHERE h.gate = :gate AND l.worker IS NULL LIMIT 1;

-- may_overtake --
-- Whether a run was let through a budget's gate, or has reserved money before
SELECT 1 FROM reservations WHERE run = :run
UNION ALL SELECT 1 FROM runs WHERE run = :run AND state = 'running' AND gate IS NOT NULL LIMIT 1;

-- let_through --
-- A run that passes a budget's gate, until it has reserved
UPDATE runs SET gate = :gate WHERE run = :run AND state = 'running';

-- got_through --
-- It has reserved
UPDATE runs SET gate = NULL WHERE run = :run AND state = 'running';

-- ready_holds --
-- Budget gates of a pipeline that may let something through, the longest shut first
SELECT h.gate, h.cap, h.need, h.at_limit, h.until, coalesce(b.spent, 0) AS spent, coalesce(b.reserved, 0) AS reserved,
    (SELECT count(*) FROM runs r WHERE r.gate = h.gate AND r.state = 'running') AS passing
FROM holds h LEFT JOIN budgets b ON b.scope = h.scope AND b.period = h.period AND h.until > :now
WHERE (h.until <= :now OR h.cap < h.need
    OR h.cap - coalesce(b.spent, 0) - coalesce(b.reserved, 0) >= h.need
    OR (h.at_limit = 'drop' AND h.cap - coalesce(b.spent, 0) < h.need))
  AND EXISTS (SELECT 1 FROM lanes l WHERE l.gate = h.gate AND l.pipeline = :pipeline AND l.worker IS NULL)
ORDER BY h.since, h.gate LIMIT :most;

-- next_hold --
-- When the next period of a budget begins that runs of a pipeline wait for
SELECT min(h.until) AS until FROM holds h
WHERE EXISTS (SELECT 1 FROM lanes l WHERE l.gate = h.gate AND l.pipeline = :pipeline AND l.worker IS NULL);

-- list_holds --
-- Budget gates at which runs wait
SELECT h.gate, h.scope, h.period, h.cap, h.need, h.until, h.since FROM holds h
WHERE EXISTS (SELECT 1 FROM lanes l WHERE l.gate = h.gate AND l.worker IS NULL) ORDER BY h.since, h.gate;

-- holds_of --
-- The same, as far as it concerns one pipeline
SELECT h.gate, h.scope, h.period, h.cap, h.need, h.until, h.since FROM holds h
WHERE EXISTS (SELECT 1 FROM lanes l WHERE l.gate = h.gate AND l.pipeline = :pipeline AND l.worker IS NULL)
ORDER BY h.since, h.gate;

-- add_alert --
-- A threshold was passed for the first time
INSERT INTO alerts (scope, period, threshold, at) VALUES (:scope, :period, :threshold, :now) ON CONFLICT DO NOTHING RETURNING at;

-- given_alerts --
-- Thresholds that were passed since some time
SELECT scope, period, threshold FROM alerts WHERE at >= :since;

-- list_budgets --
-- Money of the periods that are not over, of budgets that are one for everybody
SELECT scope, period, spent, reserved, cap FROM budgets
WHERE period IN (:day, :month) AND scope NOT LIKE '%/%' ORDER BY scope, period;

-- forget_budgets --
-- Money of single users, tenants and records, in months that are long over
DELETE FROM budgets WHERE period < :before AND reserved = 0 AND scope LIKE '%/%';

-- forget_alerts --
-- What was reported in months that are long over
DELETE FROM alerts WHERE at < :before;

-- counted --
-- Since when an event counts against a rate
SELECT at FROM counted WHERE scope = :scope AND run = :run;

-- counted_last --
-- The time of the last but some of what counts against a rate
SELECT at FROM counted WHERE scope = :scope ORDER BY at DESC LIMIT 1 OFFSET :skip;

-- count_event --
-- An event counts from that time on
INSERT INTO counted (scope, run, at) VALUES (:scope, :run, :at) ON CONFLICT DO NOTHING;

-- forget_counted --
-- What left every window long ago, and is over
DELETE FROM counted WHERE at < :before AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.run = counted.run AND r.state <> 'final');
