"""
What a connector is. Authors read this first.

A connector turns a system's words into ours: deliveries into events, records into declared fields,
actions into writes. It never retries, sleeps, logs secrets or keeps state of its own; everything it
needs comes in as an argument. It tells the engine what to do next by the error it raises
(`penstock.errors`): `Unavailable` later, `Rejected` never, `AuthFailed` shut the gate,
`Conflict` read again, `NotFound`, `UnknownOutcome` look before writing again.

When each method is called:

- `receive` once per HTTP delivery, before the answer; pure: bytes in, events or a handshake out.
- `read` of a source by one worker at a time, from the cursor that was saved after its last page.
- `fetch` of a lookup while the context is assembled, and of `Action.reads` right before a write.
- `write` of an action inside a ledger step; `find` before it whenever an earlier try may have worked.
- `own` for every event, before it may cost anything.
- `show` and `clear` of an action's progress, and `publish` and `close` of its approval, where it has them.
- `health` at start, from `doctor`, and as the probe of a shut gate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from penstock.http import Response
from schemas.entries import ActionClass
from schemas.events import Event

JsonSchema = Mapping[str, Any]
Record = dict[str, Any]
WriteMode = Literal["add", "replace-own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """
    One HTTP request as it arrived.
    """

    method: str
    url: str
    """The public URL the sender used (some signatures cover it)."""
    headers: Mapping[str, str]
    """Lower-case names."""
    body: bytes
    received_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    What to answer at once, instead of 202: a handshake.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """
    What a person said of a draft that was put before them.
    """

    key: str
    """The idempotency key of the write that put it there."""
    choice: Literal["approve", "discard"]
    text: str | None = None
    """The draft as they changed it; None when they did not."""
    by: str
    """The system's id of who decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """
    What a delivery means: events to publish, or a handshake to answer, or neither (an ignored kind).
    """

    events: tuple[Event, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """Kept durably before the answer, as events are."""
    reply: Reply | None = None
    """What to answer in place of 202, once events and decisions are kept."""
    ignored: str | None = None
    """Why a well-signed delivery carries no event for us."""
    follow: Callable[[Call], Awaitable[None]] | None = None
    """A request that has to follow at once, such as opening a form; tried once, after the answer."""


class Call(Protocol):
    """
    One piece of work for one run; given to every lookup and action.
    """

    key: str
    """Idempotency key, stable over attempts of this step."""
    slot: str
    """Stable over runs: this pipeline's delivery to this record. `replace-own` finds our earlier write by it."""
    deadline: float
    """Monotonic seconds; nothing is sent after it."""

    async def send(self, method: str, url: str, **kw: Any) -> Response:
        """
        Send a request with this connection's auth, rate budget, fence and size cap.

        Keywords as `penstock.http.Request.to`: `params`, `headers`, `json`, `content`; and `write=True` for a
        request with effect, so that a lost answer is `UnknownOutcome` instead of `Unavailable`.
        Error statuses are raised by the connector's error map.
        """
        ...

    def fence(self) -> None:
        """
        Raise `Fenced` when the lane is lost; the last call before a client we do not own sends.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    What a write left behind.
    """

    remote_id: str | None = None
    version: str | None = None
    url: str | None = None
    already: bool = False
    """True when our earlier try was found and nothing was sent now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """
    A read that returns declared fields.
    """

    name: str
    description: str
    fields: Mapping[str, JsonSchema]
    """Every field it can return, with its schema; nothing else ever leaves it."""
    many: bool
    """True: a list of records, newest first; False: one record."""
    ttl: float
    """Seconds a result may be reused; 0 never. `Action.reads` always reads fresh."""
    timeout: float
    fetch: Callable[[str, Call, int], Awaitable[list[Record]]]
    """`fetch(by, call, most)`: at most *most* records; one record is a list of one. Raises `NotFound`."""
    version: str | None = None
    """The field that is another one after every change of the record; None when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """
    How people are told that an answer is under way. Best effort: nothing depends on it.
    """

    show: Callable[[str, Call], Awaitable[None]]
    """`show(record, call)`: leave a placeholder with `call.key`, once; the action's `write` with that key replaces it."""
    clear: Callable[[str, Call], Awaitable[None]]
    """`clear(record, call)`: take it away, as nothing will be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """
    How a draft that `Action.write` put before people becomes a write, or is put away.
    """

    publish: Callable[[str, Mapping[str, Any], Decision, Call], Awaitable[Written]]
    """
    `publish(record, args, decision, call)`: write *args*, as a person approved them, where they were meant for.
    Its `call.key` is that of a step of its own; the draft carries `decision.key`.
    """
    find: Callable[[str, Call], Awaitable[Written | None]] | None
    """`find(record, call)`: what `publish` wrote with `call.key`, if it took effect; None: `publish` is keyed."""
    close: Callable[[str, Decision | None, Call], Awaitable[None]]
    """`close(record, decision, call)`: let the draft with `call.key` say what became of it; None: it expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """
    A write with an idempotency class.
    """

    name: str
    description: str
    idempotency: ActionClass
    takes: frozenset[Literal["text", "fields"]]
    """`text`: `deliver.template` renders it. `fields`: `deliver.set` gives them."""
    modes: tuple[WriteMode, ...]
    """The first is the default."""
    sets: frozenset[str] | None
    """Fields it may set; None when any."""
    emits: frozenset[str]
    """Event types this write causes."""
    touches: frozenset[str]
    """Names of changed fields its echo reports, for loop net 2."""
    reads: str | None
    """Lookup that re-reads the record before the write, as `record` in `unless`."""
    key_lifetime: float | None
    """Seconds the system remembers the key; None for ever. Only for `keyed`."""
    timeout: float
    write: Callable[[str, Mapping[str, Any], WriteMode, Call], Awaitable[Written]]
    """`write(record, args, mode, call)`; args: `{"text": str}` and/or `{"fields": {...}}`."""
    find: Callable[[str, WriteMode, Call], Awaitable[Written | None]] | None
    """`find(record, mode, call)`: our write with `call.key`, if it took effect."""
    progress: Progress | None = None
    """For `show_progress`."""
    approval: Approval | None = None
    """When it has one, `write` puts a draft before people, and the run waits for their `Decision`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """
    What a source read: events to publish, decisions to keep, and the cursor to save after that.
    """

    events: tuple[Event, ...] = ()
    decisions: tuple[Decision, ...] = ()
    cursor: bytes | None = None
    """Where the next reading begins; None leaves it where it was."""
    taken: Callable[[], Awaitable[None]] | None = None
    """Called once all of it is kept: here the system is told so, if it wants to know. Tried once."""
    follow: Callable[[Call], Awaitable[None]] | None = None
    """As in `Received`: tried once, after `taken`."""
    refused: tuple[tuple[Event, str], ...] = ()
    """What cannot be the event it is declared to be, as one without data, and why: each becomes a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """
    A way to read changes that the system does not deliver: a poll or a stream.

    One worker at a time reads it. What was published before its cursor was saved comes again after a crash:
    the event ids of both have to be the same.
    """

    name: str
    """Its cursor is kept under it: a new name begins anew."""
    description: str
    every: float
    """Seconds from the end of one reading to the next; 0: a stream, whose reading ends only when it breaks."""
    read: Callable[[bytes | None, Call], AsyncIterator[Page]]
    """
    `read(cursor, call)`: the pages from *cursor* on; without one, from now on: its first page says where that is.

    The `deadline` of its call is one request's, always some seconds away. Errors end the reading, and it begins
    again at the cursor, later. A cursor that the system does not take any more is the connector's to mend: it
    reads everything there is anew, or as much as the system keeps, and never begins at now in silence.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """
    What a read-only call found.
    """

    state: Literal["ok", "auth", "down", "degraded"]
    detail: str
    acts_as: str | None = None
    """The system's id of the account we write as."""
    latency_ms: int = 0
    quota_left: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """
    A raw delivery and the events it must give: documentation, test and `preview` input at once.
    """

    name: str
    headers: Mapping[str, str]
    body: bytes
    events: tuple[Mapping[str, Any], ...]
    """Expected attributes (a subset) per event."""


@runtime_checkable
class Connector(Protocol):
    """
    One configured connection to a system.
    """

    name: str
    """The connector's name, e.g. `zendesk`."""
    acts_as: str | None
    """Learned from `health`; the identity that loop net 1 compares with."""
    events: Mapping[str, JsonSchema]
    lookups: Mapping[str, Lookup]
    actions: Mapping[str, Action]
    sources: Mapping[str, Source]
    samples: Sequence[Sample]
    accepts: frozenset[str]
    """Media types of its deliveries; names that end in `+json` go with `application/json`."""

    def receive(self, delivery: Delivery) -> Received:
        """
        Verify and translate one delivery. Raises `Forged` (401) or `Rejected` (400).
        """
        ...

    def own(self, event: Event) -> str | None:
        """
        Return why *event* is our own write, e.g. `actor=4711`; None when it is not.
        """
        ...

    async def health(self, call: Call) -> Health:
        """
        Make one cheap authenticated read. Never raises for a system that is down or refuses us.
        """
        ...

    async def close(self) -> None:
        """
        Give back what was opened: clients, threads. Nothing is asked of it afterwards.
        """
        ...
