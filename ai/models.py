"""
What ops configured about one language model, as a frozen value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ledger.pacing import Quota
    from penstock.secrets import SecretRefs

ProviderName = Literal["openai", "azure", "anthropic", "google", "vertex", "bedrock", "offline"]

OFFLINE_LABEL = "offline/extractive"
"""How the offline provider names itself, whatever its `model` is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """
    A price list line: micro-USD per million tokens.
    """

    input: int
    output: int
    cache_read: int | None = None
    """The input rate when not set."""
    cache_write: int | None = None
    """The input rate when not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """
    One entry of `models`.
    """

    name: str
    """What pipelines call it."""
    provider: ProviderName
    model: str
    """What the provider calls it."""
    key: SecretRefs | None = None
    url: str | None = None
    """Base URL of a compatible server, up to and including its version, e.g. `http://localhost:8000/v1`."""
    api_version: str | None = None
    """Azure's, e.g. `2024-10-21`; its `v1` API when not set."""
    project: str | None = None
    """Of Google Cloud, for Vertex AI."""
    region: str | None = None
    """Where Vertex AI or Bedrock is asked, e.g. `europe-west4`, `us-east-1`."""
    window: int | None = None
    """Context window in the model's tokens; from the price list when not set."""
    price: Rates | None = None
    """Replaces the price list."""
    price_as: str | None = None
    """`provider/model` whose price applies, e.g. for a self-named deployment."""

    quota: Quota | None = None
    """What the provider takes per minute at most; learned from its answers when not set."""

    @property
    def family(self) -> str:
        """
        The vendor's own name of the model, where `price_as` tells it: a deployment may be called anything.
        """
        return self.price_as.rpartition("/")[2] if self.price_as else self.model

    @property
    def label(self) -> str:
        """
        How the model names itself to people.
        """
        return OFFLINE_LABEL if self.provider == "offline" else f"{self.provider}/{self.model}"
