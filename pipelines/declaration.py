"""
The declaration: `pipelines.yaml` as frozen values.

Only shapes and defaults live here. `pipelines.loading` reads files into these models and remembers
where every value stands; `pipelines.check` proves what can be proved before a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from penstock.units import (
    Amount,
    Duration,
    DurationRange,
    Percent,
    Rate,
    Spend,
    TokenRange,
    Tokens,
)

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

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kafka(Part):
    """
    A Kafka cluster in place of the embedded bus.
    """

    kafka: str = Field(min_length=1)
    """Bootstrap servers, or a reference to them."""
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")] = "penstock"
    partitions: Annotated[Number, Field(ge=1, le=1000)] = 12


class Hub(Part):
    """
    The running installation.
    """

    state: str = ".penstock"
    listen: str = "127.0.0.1:8080"
    timezone: str = "UTC"
    keep: Duration = 30 * 86400.0
    bus: Kafka | None = None
    ledger: str | None = None


class Connection(Part):
    """
    One configured instance of a connector; its settings are the connector's own.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    connector: Name

    @property
    def settings(self) -> dict[str, Any]:
        """
        What the connector's own settings model reads.
        """
        return dict(self.model_extra or {})


class Price(Part):
    """
    An override of the price list, USD per million tokens.
    """

    input: Amount
    output: Amount
    cache_read: Amount | None = None
    cache_write: Amount | None = None


class Model(Part):
    """
    One language model at one provider.
    """

    provider: Literal["openai", "anthropic", "offline"]
    model: str = Field(min_length=1)
    key: str | None = None
    url: str | None = None
    """Base URL of an OpenAI-compatible server; the vendor's own when not set."""
    window: Tokens | None = None
    """Context window in the model's tokens; from the price list when not set."""
    price: Price | None = None
    price_as: str | None = None
    """`provider/model` whose price applies, e.g. for a self-named deployment."""


class Route(Part):
    """
    A ladder of models, cheapest first.
    """

    try_: tuple[Name, ...] = Field(alias="try", min_length=1)
    escalate_when: Expression | None = None


class Budget(Part):
    """
    Money at most for everything or for what carries some labels.
    """

    spend: Spend
    labels: Mapping[str, str] | None = None
    alert_at: tuple[Percent, ...] = ()
    at_limit: Literal["hold", "drop"] = "hold"


class Trigger(Part):
    """
    Which events start a run.
    """

    connection: Name
    events: tuple[EventType, ...] = Field(min_length=1)
    where: Expression | None = None
    changed: tuple[str, ...] | None = None
    """Fields of which at least one must have changed (`event.data.changed`)."""
    key: Expression | None = None
    settle: DurationRange | None = None
    start: str | None = None
    max_age: Duration | None = None


class Who(Part):
    """
    On whose behalf a run happens: for limits, cache and attribution.
    """

    tenant: Expression | None = None
    user: Expression | None = None


class Section(Part):
    """
    A named part of the context with a priority and token bounds.
    """

    from_: Expression | None = Field(default=None, alias="from")
    fetch: Target | None = None
    by: Expression | None = None
    fields: tuple[str, ...] | None = None
    template: str | None = None
    newest: Annotated[Number, Field(ge=1, le=1000)] | None = None
    first: Annotated[Number, Field(ge=1, le=1000)] | None = None
    tokens: TokenRange = TokenRange(floor=0, ceiling=None)
    cut: Literal["end", "start", "middle"] = "end"
    optional: Flag = False
    priority: Annotated[Number, Field(ge=1, le=99)] = 1
    trusted: Flag = False
    """True frames it without a nonce: for text your own people wrote."""


class Context(Part):
    """
    What the model may know, under a token budget.
    """

    tokens: Tokens
    sections: Mapping[Identifier, Section] = Field(min_length=1)


class Ask(Part):
    """
    The one question of a pipeline.
    """

    model: Name | None = None
    route: Name | None = None
    template: str
    output: str
    max_output: Tokens = 500
    timeout: Duration = 60.0
    cache: Duration | None = None
    mode: Literal["live", "batch"] = "live"
    within: Duration | None = None


class SetField(Part):
    """
    One field to write.
    """

    value: Expression
    only_if: Literal["empty"] | None = None
    min_confidence: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None


class Deliver(Part):
    """
    One write of the answer into a system.
    """

    to: Target
    name: Name | Target | None = None
    record: Expression | None = None
    when: Expression | None = None
    unless: Expression | None = None
    template: str | None = None
    set: Mapping[str, SetField] | None = None
    write: Literal["add", "replace-own"] | None = None
    show_progress: Flag = False
    expires: Duration | None = None
    if_record_changed: Literal["rerun", "skip", "write"] | None = None
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


class Limits(Part):
    """
    What a pipeline may cost and do.
    """

    spend: Spend | None = None
    per_event: Amount | None = None
    per_user: Rate | None = None
    per_key: Rate | None = None
    at_limit: Literal["hold", "drop"] | Use | None = None


class OnError(Part):
    """
    How often and how patiently a failing event is tried again.
    """

    retry: Annotated[Number, Field(ge=0, le=20)] = 4
    backoff: DurationRange = DurationRange(low=2.0, high=60.0)
    give_up_after: Duration = 86400.0


class Rollout(Part):
    """
    How far a pipeline may act.
    """

    mode: Literal["shadow", "draft", "canary", "live"] = "live"


class Pipeline(Part):
    """
    Trigger, context, ask, deliver, limits.
    """

    description: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = Field(default_factory=dict)
    trigger: Trigger
    who: Who = Who()
    context: Context
    ask: Ask
    deliver: tuple[Deliver, ...] = Field(min_length=1)
    limits: Limits = Limits()
    on_error: OnError = OnError()
    rollout: Rollout = Rollout()


class Declaration(Part):
    """
    A whole hub as its people wrote it.
    """

    version: Literal[1]
    include: tuple[str, ...] = ()
    hub: Hub = Hub()
    connections: Mapping[Name, Connection] = Field(default_factory=dict)
    models: Mapping[Name, Model] = Field(default_factory=dict)
    routes: Mapping[Name, Route] = Field(default_factory=dict)
    budgets: Mapping[Name, Budget] = Field(default_factory=dict)
    pipelines: Mapping[Name, Pipeline] = Field(default_factory=dict)
