"""
The declaration: `pipelines.yaml` as frozen values.

Only shapes and defaults live here. `pipelines.loading` reads files into these models and remembers
where every value stands; `pipelines.check` proves what can be proved before a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from penstock.units import Amount, Duration, Percent, Spend, Tokens
from pipelines.anatomy import (
    Ask,
    Context,
    Deliver,
    EventType,
    Expression,
    Flag,
    Identifier,
    Limits,
    Name,
    Number,
    OnError,
    Part,
    Pipeline,
    Rollout,
    Section,
    SetField,
    Target,
    Trigger,
    Use,
    Who,
)

__all__ = [
    "Ask",
    "Budget",
    "Connection",
    "Context",
    "Declaration",
    "Deliver",
    "EventType",
    "Expression",
    "Flag",
    "Hub",
    "Identifier",
    "Kafka",
    "Limits",
    "Model",
    "Name",
    "Number",
    "OnError",
    "Part",
    "Pipeline",
    "Price",
    "Rollout",
    "Route",
    "Section",
    "SetField",
    "Target",
    "Trigger",
    "Use",
    "Who",
]


class Kafka(Part):
    """
    A Kafka cluster in place of the embedded bus.
    """

    kafka: str = Field(min_length=1)
    """Bootstrap servers, or a reference to them."""
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")] = "penstock"
    """What the names of topics begin with."""
    partitions: Annotated[Number, Field(ge=1, le=1000)] = 12
    """Of each topic, when it is made."""


class Hub(Part):
    """
    The running installation.
    """

    state: str = ".penstock"
    """Folder of the embedded bus and the ledger."""
    listen: str = "127.0.0.1:8080"
    """Where deliveries come in: `host:port`, this machine only."""
    timezone: str = "UTC"
    """In which days and months of `spend` begin, e.g. `Europe/Paris`."""
    keep: Duration = 30 * 86400.0
    """How long details of events and runs are kept; identities stay 400d."""
    bus: Kafka | None = None
    """Kafka in place of the embedded bus."""
    ledger: str | None = None
    """`postgresql://…`, as a reference, in place of the file in `state`."""


class Connection(Part):
    """
    One configured instance of a connector; its settings are the connector's own.
    """

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    connector: Name
    """Which kind of system it is; the other keys are its settings."""

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
    """Per million tokens."""
    output: Amount
    """Per million tokens."""
    cache_read: Amount | None = None
    """Per million tokens; as `input` when not set."""
    cache_write: Amount | None = None
    """Per million tokens; as `input` when not set."""


class Model(Part):
    """
    One language model at one provider.
    """

    provider: Literal["openai", "anthropic", "offline"]
    """`openai` is also every compatible server, with `url`. `offline` needs no key and costs nothing."""
    model: str = Field(min_length=1)
    """What the provider calls it."""
    key: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] | None = None
    """A reference to the API key, e.g. `${env:OPENAI_API_KEY}`, or two during a rotation: [new, old]."""
    url: str | None = None
    """Base URL of an OpenAI-compatible server; the vendor's own when not set."""
    window: Tokens | None = None
    """Context window in the model's tokens; from the price list when not set."""
    price: Price | None = None
    """In place of the price list."""
    price_as: str | None = None
    """`provider/model` whose price applies, e.g. for a self-named deployment."""


class Route(Part):
    """
    A ladder of models, cheapest first.
    """

    try_: tuple[Name, ...] = Field(alias="try", min_length=1)
    """Models in the order they are asked."""
    escalate_when: Expression | None = None
    """When to ask the next one; sees `output`. Invalid and unsupported answers always escalate."""


class Budget(Part):
    """
    Money at most for everything or for what carries some labels.
    """

    spend: Spend
    """Money per day or month, e.g. `2000 USD/month`."""
    labels: Mapping[str, str] | None = None
    """Which pipelines it is for: those that carry all of these. All of them when not set."""
    alert_at: tuple[Percent, ...] = ()
    """Shares at which people are told, e.g. `[50%, 80%]`."""
    at_limit: Literal["hold", "drop"] = "hold"
    """`hold`: events wait for the next period. `drop`: they end over-budget."""


class Declaration(Part):
    """
    A whole hub as its people wrote it.
    """

    version: Literal[1]
    """Of the language; 1."""
    include: tuple[str, ...] = ()
    """Files that hold more of the maps below, e.g. `[pipelines/*.yaml]`."""
    hub: Hub = Hub()
    """The installation itself; all of it has defaults."""
    connections: Mapping[Name, Connection] = Field(default_factory=dict)
    """Systems, by the name pipelines call them."""
    models: Mapping[Name, Model] = Field(default_factory=dict)
    """Language models, by name."""
    routes: Mapping[Name, Route] = Field(default_factory=dict)
    """Ladders of models, by name."""
    budgets: Mapping[Name, Budget] = Field(default_factory=dict)
    """Money for many pipelines, by name."""
    pipelines: Mapping[Name, Pipeline] = Field(default_factory=dict)
    """What happens, by name."""
