-- What must leave at least once. Each statement runs inside a transaction of the writer thread.

-- put_parcel --
-- Something to send; an id that is known stays as it is
INSERT INTO outbox (id, kind, body, created_at, due_at) VALUES (:id, :kind, :body, :now, :now) ON CONFLICT DO NOTHING;

-- due_parcels --
-- The oldest unsent parcels of a kind that nobody has in hand
SELECT id, kind, body, attempts, created_at FROM outbox
WHERE kind = :kind AND sent_at IS NULL AND due_at <= :now ORDER BY created_at, id LIMIT :most;

-- take_parcel --
-- One worker has it in hand for a while
UPDATE outbox SET due_at = :until, attempts = attempts + 1 WHERE id = :id AND sent_at IS NULL;

-- put_parcel_off --
-- It could not be sent; later
UPDATE outbox SET due_at = :until WHERE id = :id AND sent_at IS NULL;

-- parcel_sent --
-- It has arrived
UPDATE outbox SET sent_at = :now WHERE id = :id AND sent_at IS NULL;

-- forget_parcels --
-- Parcels that arrived long ago
DELETE FROM outbox WHERE sent_at < :before;
