"""
One pipeline: trigger, context, ask, deliver, limits.

The string below a field is its description: editors and the reference show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.units import NOW, Amount, Duration, DurationRange, Rate, Spend, StartingPoint, TokenRange, Tokens
from pipelines.switches import Fuse

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Expression = Annotated[str, Field(min_length=1, max_length=2000, json_schema_extra={"x-expression": True})]
Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9_]*$")]
EventType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_-]*$")]
Flag = Annotated[bool, Field(strict=True)]
Number = Annotated[int, Field(strict=True)]


class Part(BaseModel):
    """
    A piece of the declaration: frozen, no unknown keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Trigger(Part):
    """
    Which events start a run.
    """

    connection: Name
    """Whose events."""
    events: tuple[EventType, ...] = Field(min_length=1)
    """Types of events, e.g. `ticket.created`."""
    where: Expression | None = None
    """Only events for which this is true; sees `event`."""
    changed: tuple[str, ...] | None = None
    """Fields of which at least one must have changed (`event.data.changed`)."""
    key: Expression | None = None
    """What keeps order, and what settles together, in place of the event's own key; sees `event`."""
    settle: DurationRange | None = None
    """Waits until events of a key have paused this long, then runs once on the newest: `20s` (at most ten
    times as long in all) or `20s..5m`."""
    start: StartingPoint = NOW
    """From where a new pipeline reads: `now`, `oldest`, a span back (`2h`) or a time (`2026-11-24T08:00:00Z`)."""
    max_age: Duration | None = None
    """Events whose change is longer ago (`event.time`) are not run."""
    follows: tuple[Name, ...] | None = Field(default=None, min_length=1)
    """Pipelines whose writes may start it; what any other pipeline wrote is no news to it."""
    depth: Annotated[Number, Field(ge=1, le=64)] | None = None
    """With `follows`: how many writes of ours, one after the other, may have led to its event. As many as the
    chain of pipelines it follows has when not set; pipelines that follow each other in a circle say it."""


class Who(Part):
    """
    On whose behalf a run happens: for limits, cache and attribution.
    """

    tenant: Expression | None = None
    """Sees `event`. Nothing is shared between tenants."""
    user: Expression | None = None
    """Sees `event`."""


class Section(Part):
    """
    A named part of the context with a priority and token bounds.
    """

    from_: Expression | None = Field(default=None, alias="from")
    """A part of the event, e.g. `event.data`."""
    fetch: Target | None = None
    """A lookup: `connection.lookup`."""
    by: Expression | None = None
    """Which record to fetch; sees `event` and the sections above."""
    fields: tuple[str, ...] | None = None
    """What is printed; everything when not set."""
    template: str | None = None
    """Prints one `item`, in place of `key: value` lines."""
    newest: Annotated[Number, Field(ge=1, le=1000)] | None = None
    """Records at most, the newest ones."""
    first: Annotated[Number, Field(ge=1, le=1000)] | None = None
    """Records at most, in the order they come."""
    tokens: TokenRange = TokenRange(floor=0, ceiling=None)
    """At least and at most, e.g. `60..120`, `..500`, `300..`."""
    cut: Literal["end", "start", "middle"] = "end"
    """Where text is left out when it does not fit."""
    optional: Flag = False
    """True: nothing found, or a failing lookup, leaves it empty."""
    priority: Annotated[Number, Field(ge=1, le=99)] = 1
    """1 is cut last."""
    trusted: Flag = False
    """True frames it without a nonce: for text your own people wrote."""


class Context(Part):
    """
    What the model may know, under a token budget.
    """

    tokens: Tokens
    """All sections together at most; instructions and answer come on top."""
    sections: Mapping[Identifier, Section] = Field(min_length=1)
    """In the order they stand in the prompt."""


class Cache(Part):
    """
    Answers that are used again.
    """

    match: Literal["exact", "normalised"] = "exact"
    """When a question is the same: `exact`, to the letter; `normalised`, also with other spaces, times to the second, UUIDs and ids of mails."""
    keep: Duration = 86400.0
    """How long an answer is used again; never longer than `hub.keep`."""


class Ask(Part):
    """
    The one question of a pipeline.
    """

    model: Name | None = None
    """One of `models`."""
    route: Name | None = None
    """One of `routes`, in place of `model`."""
    template: str
    """A file in `templates/` with the blocks `system` and `user`."""
    output: str
    """A JSON Schema in `schemas/`: what the answer looks like."""
    max_output: Tokens = 500
    """Tokens the answer may have."""
    timeout: Duration = 60.0
    """For all calls of one ask together, repairs included."""
    cache: Literal["exact", "normalised"] | Cache | None = None
    """Whether an answer to the same question is used again, for 24 hours unless `keep` says otherwise; every event is asked when not set."""
    mode: Literal["live", "batch"] = "live"
    """`batch` goes through the provider's batch API: half the price, and it may take hours."""
    within: Duration | None = None
    """How long an event may wait for a batch before it is asked at once, from `1h` to `24h`; 24 hours when not set."""


class SetField(Part):
    """
    One field to write.
    """

    value: Expression
    """Sees `event`, `output` and `record`."""
    only_if: Literal["empty"] | None = None
    """Only when the field of the record is empty."""
    min_confidence: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """Only when `output.confidence` is at least this."""


class Deliver(Part):
    """
    One write of the answer into a system.
    """

    to: Target
    """An action: `connection.action`."""
    name: Name | Target | None = None
    """What the step is called; `to` when not set."""
    record: Expression | None = None
    """Which record to write to; sees `event`. `event.subject` when not set."""
    when: Expression | None = None
    """Only when this is true; sees `event`, `output` and `record`."""
    unless: Expression | None = None
    """Not when this is true; sees `event`, `output` and `record` as it is right before the write."""
    template: str | None = None
    """A file in `templates/`: the text to write."""
    set: Mapping[str, SetField] | None = None
    """The fields to write."""
    write: Literal["add", "replace-own"] | None = None
    """`replace-own` changes what we wrote before, where the action can."""
    show_progress: Flag = False
    """Tells people that an answer is under way."""
    expires: Duration | None = None
    """How long a person has to approve it, once it was shown."""
    if_record_changed: Literal["rerun", "skip", "write"] | None = None
    """
    What to do when the record is another right before the first write than before the model was asked: ask again,
    which costs again, at most twice within `per_event`, and then skip; skip; or write all the same.
    """
    on_unknown: Literal["park", "resend"] = "park"
    """Blind actions only: what to do when nobody can tell whether the write took effect."""

    @property
    def step(self) -> str:
        """
        The step's name: *name*, by default *to*; never a position.
        """
        return self.name or self.to


class Use(Part):
    """
    Another route, instead of waiting or dropping.
    """

    use: Name
    """One of `routes`."""


class Limits(Part):
    """
    What a pipeline may cost and do.
    """

    spend: Spend | None = None
    """Money per day or month, e.g. `25 USD/day`."""
    per_event: Amount | None = None
    """Money for one event at most, repairs and escalation included."""
    per_user: Rate | None = None
    """Events per user in any such time, e.g. `20/hour`."""
    per_key: Rate | None = None
    """Events per record in any such time, e.g. `6/day`."""
    fuse: Fuse = Rate(100, 3600.0)
    """Runs delivered per record in any such time, after which the record's events end `dead`: a pipeline that writes so often to one record answers itself. `off` for none, as without a word where `trigger.key` is set."""
    at_limit: Literal["hold", "drop"] | Use | None = None
    """What happens over a limit: `hold` lets events wait, `drop` ends them over-budget (so when not set), `{use: ROUTE}` asks other models."""


class OnError(Part):
    """
    How often and how patiently a failing event is tried again.
    """

    retry: Annotated[Number, Field(ge=0, le=20)] = 4
    """Further tries of a failing event."""
    backoff: DurationRange = DurationRange(low=2.0, high=60.0)
    """From the first to the longest pause between tries."""
    give_up_after: Duration = 86400.0
    """From the first try on, however it waits: to try again, or for a system or model that is down."""


class Rollout(Part):
    """
    How far a pipeline may act.
    """

    mode: Literal["shadow", "draft", "canary", "live"] = "live"
    """`shadow` writes nothing, `draft` leaves drafts, `canary` acts for a part."""


class Pipeline(Part):
    """
    Trigger, context, ask, deliver, limits.
    """

    description: str | None = None
    """What it is for, in one sentence."""
    owner: str | None = None
    """Who answers for it."""
    was: Name | None = None
    """Its first name, after it was renamed: it takes over that pipeline's runs. Keep it; ids of events are made of it."""
    labels: Mapping[str, str] = Field(default_factory=dict)
    """For budgets and cost reports, e.g. `{team: support}`."""
    trigger: Trigger
    """Which events start it."""
    who: Who = Who()
    """On whose behalf it runs."""
    context: Context
    """What the model may know."""
    ask: Ask
    """The question."""
    deliver: tuple[Deliver, ...] = Field(min_length=1)
    """Where the answer goes."""
    limits: Limits = Limits()
    """What it may cost."""
    on_error: OnError = OnError()
    """How patiently a failing event is tried again."""
    rollout: Rollout = Rollout()
    """How far it may act."""
