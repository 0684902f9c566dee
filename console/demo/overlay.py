"""
The worked examples with a pretend desk and a chosen model laid over them, in memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Literal

from engine import Layout
from pipelines.declaration import Connection, Declaration, Kafka, Model

Choice = Literal["offline", "openai", "anthropic"]

PIPELINE = "ticket-summary"
CONNECTION = "helpdesk"
PARTITIONS = 3
PER_EVENT = 50_000  # micro-USD: room for the dearest model offered, with its repair turn
SECRETS: Mapping[str, str] = {"DEMO_ZENDESK_TOKEN": "demo-token", "DEMO_ZENDESK_HOOK": "demo-signing-secret"}
"""Of the pretend desk, which is on this machine and gone afterwards."""

_MODELS: Mapping[Choice, Model] = {
    "offline": Model(provider="offline", model="extractive"),
    "openai": Model(provider="openai", model="gpt-5-mini", key="${env:OPENAI_API_KEY}"),
    "anthropic": Model(provider="anthropic", model="claude-haiku-4-5", key="${env:ANTHROPIC_API_KEY}"),
}
KEYS: Mapping[Choice, str] = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


def overlaid(
    declaration: Declaration, *, desk: str, model: Choice, state: str, bus: Kafka | None = None
) -> Declaration:
    """
    Return *declaration* reduced to the desk's pipeline, with the desk at the URL *desk*; events travel over *bus*.
    """
    worked = declaration.pipelines[PIPELINE]
    pipeline = worked.model_copy(update={"limits": worked.limits.model_copy(update={"per_event": PER_EVENT})})
    connection = Connection.model_validate(
        {
            "connector": declaration.connections[CONNECTION].connector,
            "subdomain": "acme",
            "email": "hub@acme.example",
            "api_token": "${env:DEMO_ZENDESK_TOKEN}",
            "webhook_secret": "${env:DEMO_ZENDESK_HOOK}",
            "url": desk,
        }
    )
    return declaration.model_copy(
        update={
            "hub": declaration.hub.model_copy(update={"state": state, "listen": "127.0.0.1:0", "bus": bus}),
            "connections": {CONNECTION: connection},
            "models": {pipeline.ask.model: _MODELS[model]},
            "pipelines": {PIPELINE: pipeline},
        }
    )


def model(choice: Choice) -> Model:
    """
    Return the chosen model.
    """
    return _MODELS[choice]


def kafka(servers: str) -> Kafka:
    """
    Return a bus on the brokers *servers*, with a topic that no demo had before.
    """
    return Kafka(kafka=servers, prefix=f"demo-{secrets.token_hex(3)}", partitions=PARTITIONS)


def topic(bus: Kafka) -> str:
    """
    Return the topic of the desk's events.
    """
    return Layout(prefix=bus.prefix).topic(CONNECTION)


def label(model: Choice) -> str:
    """
    Return how the chosen model is named to people.
    """
    chosen = _MODELS[model]
    return f"{chosen.provider}/{chosen.model}"
