-- Drafts that wait for a person. Each statement runs inside a transaction of the writer thread, or of a reader.

-- put_draft --
-- A draft that is about to be put before people
INSERT INTO drafts (key, run, step, generation, record, args, at, expires_at)
VALUES (:key, :run, :step, :generation, :record, :args, :now, :expires_at) ON CONFLICT DO NOTHING;

-- draft_of --
-- One draft
SELECT key, run, step, generation, record, args, choice, text, person, at, expires_at, decided_at FROM drafts
WHERE key = :key;

-- drafts_of --
-- The drafts of a run
SELECT key, run, step, generation, record, args, choice, text, person, at, expires_at, decided_at FROM drafts
WHERE run = :run ORDER BY at, key;

-- decide_draft --
-- What a person said first
UPDATE drafts SET choice = :choice, text = :text, person = :person, decided_at = :now
WHERE key = :key AND choice IS NULL
RETURNING key;

-- show_draft --
-- People see it now: its time begins
UPDATE drafts SET expires_at = :expires_at WHERE key = :key AND choice IS NULL;

-- late_drafts --
-- Nobody said anything in time
SELECT key, run FROM drafts WHERE choice IS NULL AND expires_at <= :now ORDER BY expires_at LIMIT :most;

-- decided --
-- How many drafts of a run's generation were decided, and how many wait
SELECT count(d.choice) AS decided, count(*) - count(d.choice) AS open FROM drafts d
JOIN runs r ON r.run = d.run AND r.generation = d.generation WHERE d.run = :run;

-- forget_drafts --
-- The drafts of a run
DELETE FROM drafts WHERE run = :run;
