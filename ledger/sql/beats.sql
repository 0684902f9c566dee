-- What sources send, and since when they do not. Each statement runs inside a transaction of the writer thread, or of a reader.

-- know_pulse --
-- A source is listened to
INSERT INTO pulses (connection, source, first_at, quiet_from, watched_at) VALUES (:connection, :source, :now, :now, :now)
ON CONFLICT DO NOTHING;

-- count_beats --
-- Events of one hour
INSERT INTO beats (connection, source, hour, events) VALUES (:connection, :source, :hour, :events)
ON CONFLICT (connection, source, hour) DO UPDATE SET events = beats.events + excluded.events;

-- beat_pulse --
-- A source was heard
UPDATE pulses SET last_at = :at, quiet_from = :at, silent_at = NULL
WHERE connection = :connection AND source = :source AND (last_at IS NULL OR last_at <= :at);

-- watch_pulse --
-- It is listened to; what was quiet while nobody did begins to be quiet now
UPDATE pulses SET quiet_from = CASE WHEN watched_at < :before THEN :now ELSE quiet_from END,
    silent_at = CASE WHEN watched_at < :before THEN NULL ELSE silent_at END, watched_at = :now
WHERE connection = :connection AND source = :source AND watched_at < :now;

-- silence_pulse --
-- People are told, once
UPDATE pulses SET silent_at = :now
WHERE connection = :connection AND source = :source AND quiet_from = :quiet_from AND silent_at IS NULL RETURNING silent_at;

-- pulses --
-- Every source that was ever listened to
SELECT connection, source, first_at, last_at, quiet_from, watched_at, silent_at FROM pulses ORDER BY connection, source;

-- beats_of --
-- How many events a source sent in each hour
SELECT hour, events FROM beats WHERE connection = :connection AND source = :source AND hour >= :since;

-- forget_beats --
-- Hours of which nobody learns any more
DELETE FROM beats WHERE hour < :before;

-- forget_pulses --
-- Sources nobody has listened to for as long
DELETE FROM pulses WHERE watched_at < :before;
