-- How far sources were read; a lane is what is led. Each statement runs inside a transaction of the writer thread, or of a reader.

-- cursor_of --
-- Where the next reading of a source begins
SELECT lane, cursor, at FROM cursors WHERE lane = :lane;

-- all_cursors --
-- Of every source that was ever read
SELECT lane, cursor, at FROM cursors ORDER BY lane;

-- keep_cursor --
-- A source was read up to here, by the one who leads it; the fence is until when it did
INSERT INTO cursors (lane, fence, cursor, at)
SELECT l.what, l.until, :cursor, :now FROM leads l WHERE l.what = :lane AND l.worker = :worker
ON CONFLICT (lane) DO UPDATE SET fence = excluded.fence, cursor = excluded.cursor, at = excluded.at
RETURNING lane;

-- leads --
-- Whether it is this worker who does some work for all
SELECT 1 FROM leads WHERE what = :what AND worker = :worker;

-- stop_leading --
-- Let another do it
DELETE FROM leads WHERE what = :what AND worker = :worker;

-- forget_cursor --
-- Begin a source anew
DELETE FROM cursors WHERE lane = :lane;
