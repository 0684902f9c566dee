-- Lanes in which a pipeline wrote too often. Each statement runs inside a transaction of the writer thread, or of a reader.

-- delivered_lately --
-- When the last but some of the runs of a lane ended that wrote, or found it written; not of those somebody sent again
SELECT finished_at FROM runs
WHERE tenant = :tenant AND pipeline = :pipeline AND lane = :lane AND verdict IN ('delivered', 'unchanged')
  AND first_seq IN (0, seq)
ORDER BY first_seq DESC LIMIT 1 OFFSET :skip;

-- blow_fuse --
-- A run was stopped; a fuse whose time is over blows anew
INSERT INTO fuses (tenant, pipeline, lane, run, since, until, stopped) VALUES (:tenant, :pipeline, :lane, :run, :now, :until, 1)
ON CONFLICT (tenant, pipeline, lane) DO UPDATE SET
    since = CASE WHEN fuses.until <= :now THEN :now ELSE fuses.since END,
    stopped = CASE WHEN fuses.until <= :now THEN 1 WHEN fuses.run = :run THEN fuses.stopped ELSE fuses.stopped + 1 END,
    run = :run, until = :until
RETURNING since, stopped;

-- fuses --
-- The fuses that hold
SELECT tenant, pipeline, lane, since, until, stopped FROM fuses WHERE until > :now ORDER BY since DESC, pipeline, lane;

-- adopt_fuses --
-- The pipeline has another name now
UPDATE fuses SET pipeline = :new WHERE pipeline = :old
  AND NOT EXISTS (SELECT 1 FROM fuses n WHERE n.pipeline = :new AND n.tenant = fuses.tenant AND n.lane = fuses.lane);

-- forget_fuses --
-- Those that are over for long
DELETE FROM fuses WHERE until < :before;
