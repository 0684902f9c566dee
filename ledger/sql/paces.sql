-- What providers take per minute. Each statement runs inside a transaction of the writer thread, or of a reader.

-- pace --
-- One pace
SELECT * FROM paces WHERE pace = :pace;

-- paces --
-- All of them
SELECT * FROM paces ORDER BY pace;

-- keep_pace --
-- How a pace is now
INSERT INTO paces (pace, requests, tokens, input_tokens, output_tokens, told, next_request, next_tokens, paused_until,
    cut, cut_at, at)
VALUES (:pace, :requests, :tokens, :input_tokens, :output_tokens, :told, :next_request, :next_tokens, :paused_until,
    :cut, :cut_at, :at)
ON CONFLICT (pace) DO UPDATE SET requests = excluded.requests, tokens = excluded.tokens,
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, told = excluded.told,
    next_request = excluded.next_request, next_tokens = excluded.next_tokens, paused_until = excluded.paused_until,
    cut = excluded.cut, cut_at = excluded.cut_at, at = excluded.at;

-- forget_pace --
-- A pace that was declared, and is not any more
DELETE FROM paces WHERE pace = :pace AND told = 2;

-- forget_paces --
-- Paces nobody has used for long
DELETE FROM paces WHERE at < :before;
