-- Questions in batches. Each statement runs inside a transaction of the writer thread, or of a reader.

-- put_item --
-- A question for the next batch
INSERT INTO batch_items (call, run, step, generation, model, within, ask_hash, body, size, asked, state, at, due_at)
VALUES (:call, :run, :step, :generation, :model, :within, :ask_hash, :body, :size, :asked, 'open', :now, :due_at)
ON CONFLICT DO NOTHING;

-- item_of --
-- The newest item of a step
SELECT call, model, ask_hash, asked, state, answer, cost, why, due_at FROM batch_items
WHERE run = :run AND step = :step AND generation = :generation ORDER BY at DESC, call LIMIT 1;

-- item_waits --
-- Whether a run still has an item without an end
SELECT 1 FROM batch_items WHERE run = :run AND state IN ('open', 'sealed') LIMIT 1;

-- has_batches --
-- Whether there is anything to do for whoever looks after batches
SELECT 1 FROM batch_items WHERE state = 'open'
UNION ALL SELECT 1 FROM batches WHERE state <> 'ended' LIMIT 1;

-- open_groups --
-- What could be a batch: open items of one model that may take equally long
SELECT model, within, count(*) AS items, CAST(sum(size) AS BIGINT) AS size, min(at) AS at FROM batch_items
WHERE state = 'open' GROUP BY model, within ORDER BY min(at);

-- open_items --
-- Open items of one group, the oldest first
SELECT call, size, due_at FROM batch_items
WHERE state = 'open' AND model = :model AND within = :within ORDER BY at, call LIMIT :most;

-- seal_item --
-- An item becomes part of a batch
UPDATE batch_items SET state = 'sealed', batch = :batch WHERE call = :call AND state = 'open';

-- add_batch --
-- A batch that nobody was told of yet
INSERT INTO batches (batch, model, state, items, at, due_at, look_at)
VALUES (:batch, :model, 'sealed', :items, :now, :due_at, :now) ON CONFLICT DO NOTHING;

-- due_batches --
-- Batches that are to be looked at
SELECT batch, model, state, handle, items, sent_at, at, due_at, looks FROM batches
WHERE state <> 'ended' AND look_at <= :now ORDER BY look_at, batch LIMIT :most;

-- move_batch --
-- A batch is in another state, or is looked at later, unless somebody moved it or sent it again meanwhile
UPDATE batches SET state = :state, handle = coalesce(:handle, handle), sent_at = coalesce(:sent_at, sent_at),
    look_at = :look_at, looks = :looks, why = :why
WHERE batch = :batch AND state = :was AND sent_at IS NOT DISTINCT FROM :was_sent_at;

-- known_handle --
-- Whether a provider's batch is one of ours
SELECT 1 FROM batches WHERE handle = :handle LIMIT 1;

-- items_of_batch --
-- What a batch is made of, as far as it has no end
SELECT i.call, i.body, i.asked, i.step, i.at, i.run, i.generation, v.tenant, v.pipeline, v.lane
FROM batch_items i JOIN reservations v ON v.call = i.call WHERE i.batch = :batch AND i.state = 'sealed' ORDER BY i.call;

-- due_items --
-- Items that are in no batch and will be in none: their run asks by itself, or is over
SELECT i.call FROM batch_items i LEFT JOIN runs r ON r.run = i.run
WHERE i.state = 'open' AND (i.due_at <= :now OR r.run IS NULL OR r.state = 'final') LIMIT :most;

-- item --
-- One item, and whose it is
SELECT i.call, i.model, i.step, i.run, v.tenant, v.pipeline, v.lane, v.rows, v.amount, v.priced
FROM batch_items i JOIN reservations v ON v.call = i.call WHERE i.call = :call;

-- end_item --
-- What became of an item
UPDATE batch_items SET state = :state, answer = :answer, cost = :cost, why = :why, body = ''
WHERE call = :call AND state IN ('open', 'sealed');

-- spend_item --
-- The answer was an error, and a run has heard it: the next try asks by itself
UPDATE batch_items SET state = 'free', why = :why WHERE call = :call AND state = 'answered';

-- wake_run --
-- A run that waits for its item is due
UPDATE runs SET due_at = :now WHERE run = :run AND state = 'waiting' AND reason = 'batch';

-- wake_lane --
-- The same for its lane
UPDATE lanes SET due_at = :now WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND head = :run
  AND worker IS NULL AND gate IS NULL
  AND EXISTS (SELECT 1 FROM runs r WHERE r.run = :run AND r.state = 'waiting' AND r.reason = 'batch');

-- lead --
-- Be the one who does some work for all, unless a live worker is
INSERT INTO leads (what, worker, until) VALUES (:what, :worker, :until)
ON CONFLICT (what) DO UPDATE SET worker = excluded.worker, until = excluded.until
WHERE leads.worker = excluded.worker OR leads.until <= :now
  OR NOT EXISTS (SELECT 1 FROM workers w WHERE w.worker = leads.worker AND w.state = 'alive')
RETURNING worker;

-- forget_batch_items --
-- The items of a run
DELETE FROM batch_items WHERE run = :run AND state NOT IN ('open', 'sealed');

-- forget_batches --
-- Batches that are over, and whose items are forgotten
DELETE FROM batches WHERE state = 'ended' AND at < :before
  AND NOT EXISTS (SELECT 1 FROM batch_items i WHERE i.batch = batches.batch);
