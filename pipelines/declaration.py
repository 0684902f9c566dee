"""
The declaration: `pipelines.yaml` as frozen values.

Only shapes and defaults live here. `pipelines.loading` reads files into these models and remembers
where every value stands; `pipelines.check` proves what can be proved before a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from penstock.units import Amount, Duration, Percent, PerMinute, Share, Spend, Tokens
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
from pipelines.switches import Silence

__all__ = [
    "Alerts",
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
    "KafkaSecurity",
    "Limits",
    "Model",
    "Name",
    "Number",
    "OnError",
    "Otel",
    "Part",
    "Pipeline",
    "Price",
    "Quota",
    "Rollout",
    "Route",
    "Section",
    "SetField",
    "Target",
    "Trigger",
    "Use",
    "Who",
]


class KafkaSecurity(Part):
    """
    How workers and brokers trust each other.
    """

    tls: bool = False
    """Encrypt, and check who the brokers are."""
    ca: str | None = None
    """File of who signed the brokers' certificates; the system's list when not set."""
    certificate: str | None = None
    """File of our own certificate, where brokers ask for one."""
    certificate_key: str | None = None
    """File of its key, unencrypted; in the same file when not set."""
    mechanism: Literal["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"] | None = None
    """How a name and a password, or a token, are proved; nobody logs in when not set."""
    username: str | None = None
    """Who we are to the brokers."""
    password: str | None = None
    """A reference, e.g. `${env:KAFKA_PASSWORD}`."""
    token: str | None = None
    """`oauthbearer`: a reference to a token that somebody else renews, e.g. `${file:/run/kafka/token}`."""
    token_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    """`oauthbearer`: where tokens are fetched, by the client credentials grant."""
    client_id: str | None = None
    """Who we are there."""
    client_secret: str | None = None
    """A reference, e.g. `${env:KAFKA_CLIENT_SECRET}`."""
    scope: str | None = None
    """What the token shall be good for, where the token endpoint asks."""


class Kafka(Part):
    """
    A Kafka cluster in place of the embedded bus.
    """

    kafka: str = Field(min_length=1)
    """Some brokers, `host:port,host:port`, or a reference to them."""
    prefix: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")] = "penstock"
    """What the names of topics and consumer groups begin with."""
    partitions: Annotated[Number, Field(ge=1, le=1000)] = 12
    """Of each topic; fixed when it is made."""
    member: str | None = None
    """A name of this worker that stays over restarts, or a reference, e.g. `${env:HOSTNAME}`."""
    security: KafkaSecurity | None = None
    """In the clear and without a login when not set."""


class Alerts(Part):
    """
    Who is told when budgets run out or something stands still, beside the log.
    """

    url: str = Field(min_length=1)
    """Where alerts are posted, or a reference, e.g. `${env:ALERTS_URL}`."""
    secret: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    """A reference to what signs them, e.g. `${env:ALERTS_SECRET}`, or two during a rotation: [new, old]."""
    allow_private: Flag = False
    """True lets them go to an address of your own network, and without TLS."""


class Otel(Part):
    """
    A collector for OpenTelemetry, over OTLP/HTTP.
    """

    url: str = Field(min_length=1)
    """Its address without `/v1/traces`, e.g. `http://127.0.0.1:4318`, or a reference."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """What it wants to see, by reference: `{authorization: "${env:OTLP_TOKEN}"}`."""


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
    in_flight: Annotated[Number, Field(ge=1, le=20_000)] = 256
    """Runs at once, all pipelines together; fewer where the system allows too few open files."""
    processes: Annotated[Number, Field(ge=1, le=64)] = 1
    """Processes of one `penstock run`, for as many cores; they share the runs at once."""
    alerts: Alerts | None = None
    """Posts alerts, signed: of budgets, refused credentials, fuses and silent sources. They are only logged when not set, and budgets counted."""
    silence: Silence = "usual"
    """When a source that sends no events is an alert: `usual`, when some twenty fail to come that are usual at these hours of the week; a span such as `2h`, after that long; `off`, never. A connection may say otherwise."""
    otel: Otel | None = None
    """Sends spans and metrics; when not set, only where `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector."""


class Connection(Part):
    """
    One configured instance of a connector; its settings are the connector's own.
    """

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    connector: Name
    """Which kind of system it is; the other keys are its settings."""
    silence: Silence | None = None
    """In place of `hub.silence`; a span is for all sources of the connection together."""

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


class Quota(Part):
    """
    What a provider takes of one model per minute.
    """

    requests: PerMinute | None = None
    """E.g. `500/minute`."""
    tokens: PerMinute | None = None
    """Input and output together, e.g. `200k/minute`."""
    input_tokens: PerMinute | None = None
    """Where input and output have limits of their own."""
    output_tokens: PerMinute | None = None
    """Where input and output have limits of their own."""


class Model(Part):
    """
    One language model at one provider.
    """

    provider: Literal["openai", "azure", "anthropic", "google", "vertex", "bedrock", "offline"]
    """`openai` is also every compatible server, with `url`. `offline` needs no key and costs nothing."""
    model: str = Field(min_length=1)
    """What the provider calls it; for `azure` the name of the deployment."""
    key: str | Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] | None = None
    """A reference to the API key, e.g. `${env:OPENAI_API_KEY}`, or two during a rotation: [new, old]. For `vertex` it leads to a service account's JSON. `azure`, `vertex` and `bedrock` need none where the machine has an identity of its own."""
    url: str | None = None
    """Base URL of an OpenAI-compatible server, of the resource for `azure`, or of a private endpoint; the vendor's own when not set."""
    api_version: str | None = Field(default=None, pattern=r"^(v1|preview|latest|20\d\d-\d\d-\d\d(-preview)?)$")
    """For `azure`: a dated version of the API, e.g. `2024-10-21`, asks at the deployment's own address; `v1` when not set."""
    project: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9.:-]{0,99}$")
    """For `vertex`: the project in Google Cloud."""
    region: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9-]{0,30}$")
    """For `bedrock`, e.g. `us-east-1`, and `vertex`, e.g. `europe-west4`; `global` for `vertex` when not set."""
    window: Tokens | None = None
    """Context window in the model's tokens; from the price list when not set."""
    price: Price | None = None
    """In place of the price list."""
    price_as: str | None = None
    """`provider/model` whose price applies, e.g. for a self-named deployment."""
    limits: Quota | None = None
    """What the provider takes per minute, for all workers together. Where answers tell it (OpenAI, Azure, Anthropic), the lower of both holds."""


class Route(Part):
    """
    A ladder of models, cheapest first.
    """

    try_: tuple[Name, ...] = Field(alias="try", min_length=1)
    """Models in the order they are asked."""
    escalate_when: Expression | None = None
    """When to ask the next one, also when a field is missing; sees `output`. Invalid and unsupported answers always escalate."""
    shadow: Share = 0.0
    """Share of the events answered by the first model for which the next one is asked too, after their delivery and for comparison only, e.g. `2%`."""


class Budget(Part):
    """
    Money at most for everything or for what carries some labels.
    """

    spend: Spend
    """Money per day or month, e.g. `2000 USD/month`."""
    labels: Mapping[str, str] | None = None
    """Which pipelines it is for: those that carry all of these. All of them when not set."""
    per: Literal["tenant", "user", "key"] | None = None
    """Each tenant, user or record has this much of its own; all of them together when not set."""
    alert_at: tuple[Percent, ...] = ()
    """Shares at which people are told, e.g. `[50%, 80%]`."""
    at_limit: Literal["hold", "drop"] = "hold"
    """`hold`: events wait until money comes back or the next period begins. `drop`: they end over-budget."""


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
