-- The ledger on SQLite: what happened and what it cost.
--
-- Ids (run, call, answer, worker, token) are 16-byte blobs, hex at the Python edge. Times are UTC
-- milliseconds, money is micro-USD, JSON is text. `counter` in meta gives every fence and every seq,
-- so both only ever grow, also over lanes that came and went.

-- Facts about the ledger itself: schema, secret, counter, horizon.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- One process and its lease. lease_until is CLOCK_BOOTTIME of the boot named by boot_id.
CREATE TABLE workers (
    worker      BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    host        TEXT NOT NULL,
    boot_id     TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('alive', 'dead'))
) STRICT, WITHOUT ROWID;

-- What is ordered, claimed and fenced. head is the oldest run that holds the lane; due_at and gate
-- mirror it, so that picking up reads this table only. The row goes when nothing holds the lane.
CREATE TABLE lanes (
    tenant   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    lane     TEXT NOT NULL,
    fence    INTEGER NOT NULL,
    worker   BLOB,
    token    BLOB,                     -- the claim that won it: a repeated claim finds itself here
    head     BLOB NOT NULL,
    head_seq INTEGER NOT NULL,
    due_at   INTEGER,
    gate     TEXT,
    PRIMARY KEY (tenant, pipeline, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX lanes_due  ON lanes (pipeline, due_at, head_seq) WHERE worker IS NULL AND due_at IS NOT NULL;
CREATE INDEX lanes_gate ON lanes (pipeline, gate, head_seq)   WHERE worker IS NULL AND gate IS NOT NULL;
CREATE INDEX lanes_held ON lanes (gate)                       WHERE worker IS NULL AND gate IS NOT NULL;
CREATE INDEX lanes_of   ON lanes (worker)                     WHERE worker IS NOT NULL;
CREATE INDEX lanes_won  ON lanes (token)                      WHERE token IS NOT NULL;

-- One event through one pipeline; the id is sha256(tenant, pipeline, source, event id).
CREATE TABLE runs (
    run           BLOB PRIMARY KEY,
    tenant        TEXT NOT NULL,
    pipeline      TEXT NOT NULL,
    lane          TEXT NOT NULL,
    seq           INTEGER NOT NULL,    -- its place in the lane; a new one each time it comes back
    first_seq     INTEGER NOT NULL DEFAULT 0,  -- its first place: what came after it is newer
    source        TEXT NOT NULL,
    event_id      TEXT NOT NULL,
    subject       TEXT NOT NULL,
    body_hash     TEXT NOT NULL,
    generation    INTEGER NOT NULL DEFAULT 0,
    state         TEXT NOT NULL CHECK (state IN ('running', 'waiting', 'aside', 'final')),
    fence         INTEGER NOT NULL DEFAULT 0,
    reason        TEXT,
    due_at        INTEGER,
    gate          TEXT,
    attempts      INTEGER NOT NULL DEFAULT 0,
    first_due     INTEGER,             -- settle: when the burst's first member was due
    burst_until   INTEGER,             -- settle: the burst ends here at the latest
    burst         TEXT,                -- settle: JSON; how many events it stands for, and which fields they changed
    verdict       TEXT,
    superseded_by BLOB,
    error         TEXT,
    failed_step   TEXT,                -- where it died
    deaths        INTEGER NOT NULL DEFAULT 0,
    insist        INTEGER NOT NULL DEFAULT 0,  -- 1: it runs also when a newer run of its lane was delivered
    redelivered   INTEGER NOT NULL DEFAULT 0,
    config_hash   TEXT NOT NULL,
    topic         TEXT NOT NULL,
    part          INTEGER NOT NULL,
    off           INTEGER NOT NULL,
    bus_time      INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    started_at    INTEGER,
    finished_at   INTEGER,
    cost          INTEGER NOT NULL DEFAULT 0,
    "user"        TEXT NOT NULL DEFAULT '',   -- whose event it is; empty for nobody
    CHECK ((state = 'final') = (verdict IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX runs_one_running ON runs (tenant, pipeline, lane) WHERE state = 'running';
CREATE INDEX runs_lane     ON runs (tenant, pipeline, lane, seq) WHERE state IN ('running', 'waiting');
CREATE INDEX runs_newest   ON runs (created_at DESC, first_seq DESC);
CREATE INDEX runs_pipeline ON runs (pipeline, created_at DESC, first_seq DESC);
CREATE INDEX runs_verdict  ON runs (pipeline, verdict, finished_at DESC);
CREATE INDEX runs_subject  ON runs (subject, created_at DESC);
CREATE INDEX runs_aside    ON runs (tenant, pipeline, lane) WHERE state = 'aside';
CREATE INDEX runs_wrote    ON runs (tenant, pipeline, lane, first_seq) WHERE verdict IN ('delivered', 'unchanged');
CREATE INDEX runs_passing  ON runs (gate) WHERE state = 'running' AND gate IS NOT NULL;
CREATE INDEX runs_prune    ON runs (finished_at) WHERE state = 'final';

-- The event of every waiting and aside run, and of final runs where it was kept for people.
CREATE TABLE bodies (
    run     BLOB PRIMARY KEY,
    body    BLOB NOT NULL,
    headers TEXT                       -- JSON; bus headers that are not part of the event
) STRICT;

-- What people decided: to replay a run, or how one that stood aside goes on. seq is the place it had by then.
CREATE TABLE decisions (
    run    BLOB NOT NULL,
    seq    INTEGER NOT NULL,
    what   TEXT NOT NULL,
    insist INTEGER NOT NULL,
    person TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- Identity after the details were pruned.
CREATE TABLE seen (
    run         BLOB PRIMARY KEY,
    body_hash   TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    finished_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_prune ON seen (finished_at);

-- The ask, a delivery by its name, or a lookup worth remembering.
CREATE TABLE steps (
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('ask', 'write', 'lookup')),
    class      TEXT NOT NULL CHECK (class IN ('keyed', 'read-back', 'blind', 'ai')),
    state      TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed', 'unknown')),
    fence      INTEGER NOT NULL,
    token      BLOB NOT NULL,          -- the begin that won it: a repeated begin finds itself here
    doubt      INTEGER NOT NULL,       -- 1 when an attempt before this one may have taken effect
    attempts   INTEGER NOT NULL,
    idem_key   TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    first_at   INTEGER NOT NULL,       -- of the first begin
    intent_at  INTEGER NOT NULL,       -- of the last begin that could send a request
    timeout_ms INTEGER NOT NULL,
    result     TEXT,
    receipt    TEXT,
    ended_at   INTEGER,
    PRIMARY KEY (run, step, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX steps_open ON steps (run) WHERE state = 'intent';

-- What actions change in other systems: stored before the request, so that its echo is recognised.
CREATE TABLE writes (
    connection TEXT NOT NULL,
    record     TEXT NOT NULL,
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    pipeline   TEXT NOT NULL,
    fields     TEXT NOT NULL,          -- JSON object: field name to hash of the value written
    value_hash TEXT NOT NULL,
    version    TEXT,
    state      TEXT NOT NULL CHECK (state IN ('open', 'done', 'unknown')),
    at         INTEGER NOT NULL,
    PRIMARY KEY (connection, record, run, step, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX writes_record ON writes (connection, record, at DESC);
CREATE INDEX writes_run    ON writes (run, step, generation);
CREATE INDEX writes_version ON writes (connection, version, at) WHERE version IS NOT NULL;

-- Paid answers that came after their worker had lost the lane.
CREATE TABLE answers (
    answer      BLOB PRIMARY KEY,
    run         BLOB NOT NULL,
    step        TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    ask_hash    TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    body        TEXT NOT NULL,
    receipt     TEXT,
    late        INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX answers_step ON answers (run, step, generation, ask_hash);

-- One request to a model provider. entry is the whole ModelCall; the columns are for sums.
CREATE TABLE calls (
    call          BLOB PRIMARY KEY,
    run           BLOB NOT NULL,
    step          TEXT NOT NULL,
    rung          INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    model         TEXT NOT NULL,
    provider      TEXT NOT NULL,
    outcome       TEXT NOT NULL,       -- ok, an error class, or what the ledger booked itself: lost, swept
    tokens_in     INTEGER NOT NULL,
    tokens_out    INTEGER NOT NULL,
    tokens_cached INTEGER NOT NULL,
    cost          INTEGER NOT NULL,
    latency_ms    INTEGER NOT NULL,
    late          INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    entry         TEXT NOT NULL,       -- JSON
    priced        INTEGER NOT NULL DEFAULT 1,  -- 0: the model has no known price, and cost is not what it cost
    cause         TEXT NOT NULL DEFAULT ''     -- above the first rung: why the one below was not enough
) STRICT;
CREATE INDEX calls_run ON calls (run, at);
CREATE INDEX calls_at  ON calls (at);

-- Money per scope and period; the limit comes with each statement, from the configuration.
CREATE TABLE budgets (
    scope    TEXT NOT NULL,
    period   TEXT NOT NULL,
    spent    INTEGER NOT NULL DEFAULT 0,
    reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    cap      INTEGER NOT NULL DEFAULT 0,   -- as it was at the last reservation; 0 when nobody said
    alert_at TEXT NOT NULL DEFAULT '[]',   -- JSON list of shares of it
    PRIMARY KEY (scope, period)
) STRICT, WITHOUT ROWID;

-- The gates of budgets: what the oldest run there needs, and when the next period begins. A gate lets
-- through what fits; it is looked at, never opened or shut, so that nothing is written while runs wait.
CREATE TABLE holds (
    gate     TEXT PRIMARY KEY,
    scope    TEXT NOT NULL,
    period   TEXT NOT NULL,
    cap      INTEGER NOT NULL,
    need     INTEGER NOT NULL,
    at_limit TEXT NOT NULL CHECK (at_limit IN ('hold', 'drop')),
    until    INTEGER NOT NULL,
    since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that count against a rate, each once, at the time from which it may run.
CREATE TABLE counted (
    scope TEXT NOT NULL,
    run   BLOB NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (scope, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX counted_at ON counted (scope, at);

-- One provider call's claim on money: held, then settled, released or swept, once; a swept one may
-- be corrected once, by the answer that came after all.
CREATE TABLE reservations (
    call     BLOB PRIMARY KEY,
    tenant   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    lane     TEXT NOT NULL,
    fence    INTEGER NOT NULL,
    run      BLOB NOT NULL,
    step     TEXT NOT NULL,
    amount   INTEGER NOT NULL CHECK (amount >= 0),
    rows     TEXT NOT NULL,            -- JSON list of [scope, period]
    state    TEXT NOT NULL CHECK (state IN ('held', 'settled', 'released', 'swept', 'corrected')),
    booked   INTEGER NOT NULL DEFAULT 0,
    at       INTEGER NOT NULL,
    model    TEXT NOT NULL DEFAULT '',
    priced   INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX reservations_held ON reservations (tenant, pipeline, lane) WHERE state = 'held';
CREATE INDEX reservations_run  ON reservations (run);

-- Budget thresholds that were passed, each reported once: by a parcel of the outbox.
CREATE TABLE alerts (
    scope     TEXT NOT NULL,
    period    TEXT NOT NULL,
    threshold TEXT NOT NULL,
    at        INTEGER NOT NULL,
    sent_at   INTEGER,
    PRIMARY KEY (scope, period, threshold)
) STRICT, WITHOUT ROWID;

-- What runs wait at while a budget, a connection or a model is shut. No row: open.
CREATE TABLE gates (
    gate       TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('open', 'shut', 'probing')),
    reason     TEXT NOT NULL,
    since      INTEGER NOT NULL,
    probe_at   INTEGER NOT NULL,
    probe_run  BLOB,
    probing_at INTEGER                 -- when the present probe was sent
) STRICT, WITHOUT ROWID;

-- Where each pipeline stands on the bus, beside the bus' own memory.
CREATE TABLE positions (
    pipeline TEXT NOT NULL,
    topic    TEXT NOT NULL,
    part     INTEGER NOT NULL,
    next_off INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    lost     INTEGER NOT NULL DEFAULT 0,       -- messages the bus deleted before they were read
    lost_at  INTEGER,                          -- when that was last seen
    PRIMARY KEY (pipeline, topic, part)
) STRICT, WITHOUT ROWID;

-- What a topic was when it was first used: more partitions would move keys, another identity is another log.
CREATE TABLE topics (
    topic      TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    identity   TEXT NOT NULL,                  -- the bus' own id of it; empty where there is none
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where each pull source stands; lane `source:<connection>`.
CREATE TABLE cursors (
    lane   TEXT PRIMARY KEY,
    fence  INTEGER NOT NULL,
    cursor BLOB NOT NULL,
    at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What must leave at least once: dead letters to the bus, alerts, completion webhooks.
CREATE TABLE outbox (
    id         BLOB PRIMARY KEY,
    kind       TEXT NOT NULL,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL DEFAULT 0,     -- when it may be taken; in the future while somebody has it in hand
    attempts   INTEGER NOT NULL DEFAULT 0,
    sent_at    INTEGER
) STRICT;
CREATE INDEX outbox_unsent ON outbox (kind, created_at) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent   ON outbox (sent_at)          WHERE sent_at IS NOT NULL;

-- The text of every configuration a run was made with.
CREATE TABLE configs (
    config_hash TEXT PRIMARY KEY,
    body        TEXT NOT NULL,
    first_seen  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What providers take per minute of one credential and model; shared by all workers.
CREATE TABLE paces (
    pace          TEXT PRIMARY KEY,            -- a credential's model
    requests      INTEGER NOT NULL,            -- per minute, as the next ones; 0: without a limit
    tokens        INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    told          INTEGER NOT NULL,            -- 0: nobody told the limits, they are guessed; 1: answers did; 2: the declaration
    next_request  INTEGER NOT NULL,            -- UTC microseconds from which the next request may go, as the next one
    next_tokens   INTEGER NOT NULL,
    paused_until  INTEGER NOT NULL,            -- UTC ms
    cut           INTEGER NOT NULL,            -- thousandths of the limits that are used since cut_at
    cut_at        INTEGER NOT NULL,
    at            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Questions whose answers are used again, each with the run that asks, or has asked: the answer is that of its step.
CREATE TABLE cache (
    key        BLOB PRIMARY KEY,               -- SHA-256 of the question
    pipeline   TEXT NOT NULL,
    run        BLOB NOT NULL,
    generation INTEGER NOT NULL,
    failures   INTEGER NOT NULL DEFAULT 0,     -- how many asked before it, one after the other, and got no answer
    at         INTEGER NOT NULL,               -- when it began
    until      INTEGER NOT NULL                -- when its answer is too old
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_run   ON cache (run);
CREATE INDEX cache_until ON cache (until);

-- Answers that were taken from there, and not paid again.
CREATE TABLE cache_hits (
    run        BLOB NOT NULL,                  -- who took it
    generation INTEGER NOT NULL,
    source     BLOB NOT NULL,                  -- the run that had paid for it
    model      TEXT NOT NULL,                  -- who had given it
    saved      INTEGER NOT NULL,               -- micro-USD it had cost there
    at         INTEGER NOT NULL,
    PRIMARY KEY (run, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_hits_at ON cache_hits (at);

-- Two models' answers to one question, compared: how much worse the cheap one is, and how much it knows of that.
CREATE TABLE pairs (
    run        BLOB PRIMARY KEY,               -- whose question it was
    pipeline   TEXT NOT NULL,
    route      TEXT NOT NULL,
    small      TEXT NOT NULL,                  -- the model that was asked first
    large      TEXT NOT NULL,                  -- the next one
    kept       INTEGER NOT NULL,               -- 1: the small one's answer was used; 0: it was not sure enough
    share      INTEGER NOT NULL,               -- billionths of the used answers that were compared then
    agree      INTEGER NOT NULL,
    scores     TEXT NOT NULL,                  -- JSON: how sure the small one was, by path
    small_cost INTEGER NOT NULL,               -- micro-USD, as the next one
    large_cost INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pairs_at ON pairs (pipeline, at);

-- Questions that go through a provider's batch API. An item owns its reservation, whatever becomes of its lane's fence.
CREATE TABLE batch_items (
    call       BLOB PRIMARY KEY,               -- its reservation; the provider knows it by this name
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    model      TEXT NOT NULL,                  -- the name in models: its key is found by it
    within     INTEGER NOT NULL,               -- ms an answer may take: items of one batch share it
    ask_hash   TEXT NOT NULL,                  -- what was configured when it was asked
    body       TEXT NOT NULL,                  -- the provider's request, JSON; empty when it is over
    size       INTEGER NOT NULL,               -- bytes of the request
    asked      TEXT NOT NULL,                  -- JSON: prompt, receipt and evidence, so that its answer is read against them
    state      TEXT NOT NULL CHECK (state IN ('open', 'sealed', 'answered', 'free', 'lost')),
    batch      BLOB,
    answer     TEXT,                           -- JSON: status and body
    cost       INTEGER NOT NULL DEFAULT 0,     -- micro-USD booked
    why        TEXT,                           -- of a free or lost one
    at         INTEGER NOT NULL,
    due_at     INTEGER NOT NULL                -- when its run asks by itself
) STRICT;
CREATE INDEX batch_items_run   ON batch_items (run);
CREATE INDEX batch_items_batch ON batch_items (batch);
CREATE INDEX batch_items_open  ON batch_items (model, within, at) WHERE state = 'open';

-- Batches at providers: each is written before anybody is called.
CREATE TABLE batches (
    batch   BLOB PRIMARY KEY,                  -- our own id, made before anybody is called
    model   TEXT NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('sealed', 'sending', 'running', 'cancelling', 'ended')),
    handle  TEXT,                              -- the provider's id
    items   INTEGER NOT NULL,
    sent_at INTEGER,
    at      INTEGER NOT NULL,
    due_at  INTEGER NOT NULL,                  -- the earliest of its items
    look_at INTEGER NOT NULL,
    looks   INTEGER NOT NULL DEFAULT 0,
    why     TEXT
) STRICT;
CREATE INDEX batches_look ON batches (look_at) WHERE state <> 'ended';

-- Who does what one worker does for all.
CREATE TABLE leads (
    what   TEXT PRIMARY KEY,                   -- work that one worker does for all
    worker BLOB NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was put before people, and what they said.
CREATE TABLE drafts (
    key        TEXT PRIMARY KEY,               -- of the step that put it there
    run        BLOB NOT NULL,
    step       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    record     TEXT NOT NULL,
    args       TEXT NOT NULL,                  -- JSON: what was put before them
    choice     TEXT CHECK (choice IN ('approve', 'discard', 'expired')),
    text       TEXT,                           -- as a person changed it
    person     TEXT,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX drafts_run  ON drafts (run);
CREATE INDEX drafts_open ON drafts (expires_at) WHERE choice IS NULL;

-- Runs whose events come of writes of ours, as far as that had to be found out.
CREATE TABLE lineage (
    run      BLOB PRIMARY KEY,                 -- its event comes of a write of ours
    cause    BLOB NOT NULL,                    -- the run that wrote
    pipeline TEXT NOT NULL,                    -- of that run
    step     TEXT NOT NULL,
    depth    INTEGER NOT NULL,                 -- how many writes of ours led to the event, this one included
    heard_by TEXT NOT NULL,                    -- the pipeline that was given the event
    event    TEXT NOT NULL,                    -- its type: a write of nobody's known authorship explains one of each
    beside   INTEGER NOT NULL                  -- 1: it had led to one of that type before
) STRICT, WITHOUT ROWID;
CREATE INDEX lineage_cause ON lineage (cause);

-- Lanes whose pipeline wrote too often: they take nothing until then.
CREATE TABLE fuses (
    tenant   TEXT NOT NULL,
    pipeline TEXT NOT NULL,
    lane     TEXT NOT NULL,
    run      BLOB NOT NULL,                    -- the last one that was stopped
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    stopped  INTEGER NOT NULL,                 -- runs since then
    PRIMARY KEY (tenant, pipeline, lane)
) STRICT, WITHOUT ROWID;

-- How many events a source sent in each hour.
CREATE TABLE beats (
    connection TEXT NOT NULL,
    source     TEXT NOT NULL,
    hour       INTEGER NOT NULL,               -- since the epoch
    events     INTEGER NOT NULL,
    PRIMARY KEY (connection, source, hour)
) STRICT, WITHOUT ROWID;

-- When a source was heard last, and since when it is silent.
CREATE TABLE pulses (
    connection TEXT NOT NULL,
    source     TEXT NOT NULL,
    first_at   INTEGER NOT NULL,               -- when it was first listened to
    last_at    INTEGER,                        -- its last event
    quiet_from INTEGER NOT NULL,               -- since then somebody has listened in vain
    watched_at INTEGER NOT NULL,               -- when somebody listened last
    silent_at  INTEGER,                        -- when people were told; empty while it speaks
    PRIMARY KEY (connection, source)
) STRICT, WITHOUT ROWID;
