"""
What the ledger keeps and people see: runs, steps, model calls, writes, receipts.

Money is integer micro-USD, tokens are o200k tokens unless a field says `billed`, times are UTC
milliseconds since the epoch, ids are 32 lower-case hex digits.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["running", "waiting", "aside", "final"]
"""`running` a worker holds it · `waiting` for a time, a gate or its lane · `aside` a person decides · `final`."""

Verdict = Literal[
    "delivered",  # at least one write took effect
    "unchanged",  # every write would have repeated what is already there
    "skipped",  # no delivery applied
    "filtered",  # the trigger did not want it
    "own-write",  # it is the echo of a write of ours
    "superseded",  # a newer event of the lane replaced it
    "over-budget",  # its worst case did not fit under a cap
    "refused",  # a content policy said no
    "discarded",  # a person said no, or an approval expired
    "stale",  # older than the pipeline wants, or than what the ledger can remember
    "dead",  # it failed for good; the reason is kept, it can be replayed
]

WaitReason = Literal[
    "retry", "behind", "outage", "settle", "hold", "pace", "pause", "replay", "decided", "changed", "batch"
]
AsideReason = Literal["parked", "approval"]
StepState = Literal["intent", "done", "failed", "unknown"]
StepKind = Literal["ask", "write", "lookup"]
ActionClass = Literal["keyed", "read-back", "blind"]


class Entry(BaseModel):
    """
    A frozen record of the ledger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class SectionReceipt(Entry):
    """
    What the context kept of one section.
    """

    name: str
    priority: int
    floor: int
    """Tokens reserved first."""
    ceiling: int | None
    """Tokens at most; None without one."""
    wanted: int
    """Tokens of the whole section, framed."""
    kept: int
    """Tokens placed in the prompt, framed, with the marker."""
    units: int
    units_kept: int
    unit: Literal["records", "paragraphs", "sentences", "words"]
    cut: Literal["end", "start", "middle"]
    note: str | None = None
    """Why it is empty or short, in words for a person."""


class Receipt(Entry):
    """
    What the context kept and cut, in tokens.
    """

    budget: int
    """`context.tokens`."""
    used: int
    """Exact tokens of all sections as placed; never above *budget*."""
    instructions: int
    """Tokens of the system block and of the user block outside sections."""
    sections: tuple[SectionReceipt, ...]


class Prompt(Entry):
    """
    What is sent to a model: two finished texts.
    """

    system: str
    user: str
    tokens: int
    """o200k tokens of both."""
    nonce: str = ""
    """The 12 digits that frame untrusted sections; masked where prompts are compared."""


class Usage(Entry):
    """
    Tokens a provider billed.
    """

    input: int = 0
    """All input tokens, cached ones included."""
    output: int = 0
    """All output tokens, reasoning included."""
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    """True when the provider did not say and we counted ourselves."""


class ModelCall(Entry):
    """
    One request to a model provider.
    """

    call: str
    run: str
    step: str
    model: str
    """The name in `models`."""
    provider: str
    """As in `models`, e.g. `openai`, `bedrock`, `offline`."""
    request_model: str
    response_model: str | None = None
    response_id: str | None = None
    rung: int = 0
    attempt: int = 0
    outcome: str = "ok"
    """`ok` or the error class, e.g. `rate_limited`."""
    finish_reason: str | None = None
    usage: Usage = Field(default_factory=Usage)
    cost: int = 0
    latency_ms: int = 0
    priced: bool = True
    """False when the model has no known price: then *cost* is not what it cost."""
    cause: str = ""
    """Above the first rung, why the one below was not enough: `unsure`, or the class of its error."""
    late: bool = False
    """True when the answer came after the worker had lost its lane."""
    at: int = 0


class Answer(Entry):
    """
    The validated output of a model; kept, so that it is paid for once.
    """

    output: dict[str, Any]
    model: str
    """The name in `models` of the rung that gave it."""
    provider: str
    label: str
    """How it names itself to people, e.g. `openai/gpt-5-mini` or `offline/extractive`."""
    ask_hash: str
    """Hash of what was configured (template, schema, models, sections), not of the event."""
    schema_hash: str
    unsupported: tuple[str, ...] = ()
    """Ids, amounts, dates and URLs in the output that the context does not contain."""
    cost: int = 0
    """All calls of the step."""
    stored: bool = False
    """True when it was taken from the ledger and nothing was paid now."""
    question: str = ""
    """SHA-256 of the question, where its answer may be used again."""
    cached: str = ""
    """The run that had paid for it, when it was taken from the cache."""
    saved: int = 0
    """What it had cost there."""


class StepEntry(Entry):
    """
    One step of a run: the ask, or a delivery by its name.
    """

    step: str
    generation: int
    kind: StepKind
    action_class: str
    """`keyed`, `read-back`, `blind` or `ai`."""
    state: StepState
    attempts: int
    key: str
    intent_at: int | None = None
    ended_at: int | None = None
    result: Any = None
    receipt: Any = None
    """Ask: `{"receipt": Receipt, "prompt": {"system", "user"}}`. Write: the rendered arguments."""


class WriteEntry(Entry):
    """
    What an action did to a record.
    """

    connection: str
    record: str
    step: str
    generation: int
    fields: dict[str, str]
    """Name and value hash of each field the write's echo reports as changed."""
    value_hash: str
    """Hash of the rendered arguments."""
    version: str | None = None
    """Remote id or version the system gave back."""
    state: Literal["open", "done", "unknown"]
    at: int


class Run(Entry):
    """
    One event through one pipeline.
    """

    run: str
    tenant: str
    pipeline: str
    user: str = ""
    """Whose event it is; empty for nobody, and for runs of versions that did not keep it."""
    lane: str
    seq: int
    source: str
    event_id: str
    subject: str
    generation: int = 0
    state: State
    reason: str | None = None
    """Why it waits or stands aside."""
    due_at: int | None = None
    gate: str | None = None
    attempts: int = 0
    verdict: Verdict | None = None
    superseded_by: str | None = None
    """The run that stands for this one."""
    error: str | None = None
    """Why it waits, died, was filtered …: one sentence for a person."""
    failed_step: str | None = None
    """Where it died: `trigger`, `context`, `ask` or a delivery's name."""
    deaths: int = 0
    """How often it died; each death is one dead letter."""
    redelivered: int = 0
    """How often the bus or the source delivered it again."""
    config_hash: str = ""
    topic: str = ""
    partition: int = 0
    offset: int = 0
    bus_time: int = 0
    created_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    cost: int = 0


class DecisionEntry(Entry):
    """
    What a person decided about a run, or nobody: that a draft expired, that the record changed.
    """

    what: str
    """
    `replay`, `again`, or of a run that stood aside `delivered`, `again`, `approved`, `discarded`, `expired`;
    `changed` of one that began anew by itself.
    """
    insist: bool
    """Whether it is to run also when a newer run of its lane was delivered."""
    person: str
    at: int


class DraftEntry(Entry):
    """
    What a run put before people.
    """

    step: str
    generation: int
    record: str
    args: dict[str, Any]
    """What is written unless somebody changes it: `{"text": str}` and/or `{"fields": {...}}`."""
    choice: Literal["approve", "discard", "expired"] | None = None
    """None while nobody said anything."""
    text: str | None = None
    """As a person changed it."""
    person: str | None = None
    at: int
    expires_at: int
    decided_at: int | None = None


class OriginEntry(Entry):
    """
    The write of ours that a run's event comes of.
    """

    run: str
    """The run that wrote."""
    pipeline: str
    step: str
    depth: int
    """How many writes of ours led to the event, this one included."""


class RunDetail(Entry):
    """
    Everything the ledger knows about one run.
    """

    run: Run
    event: dict[str, Any] | None
    """The event in structured JSON form; None once its details were pruned."""
    steps: tuple[StepEntry, ...]
    calls: tuple[ModelCall, ...]
    writes: tuple[WriteEntry, ...]
    decisions: tuple[DecisionEntry, ...] = ()
    drafts: tuple[DraftEntry, ...] = ()
    origin: OriginEntry | None = None
    """None when its event comes of no write of ours, as far as is known."""


class GateEntry(Entry):
    """
    What runs wait at when a connection or a model is shut.
    """

    gate: str
    """`connection:<name>` or `model:<name>`."""
    state: Literal["open", "shut", "probing"]
    reason: str
    since: int
    probe_at: int
