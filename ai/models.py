"""
What ops configured about one language model, as a frozen value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from penstock.secrets import SecretRefs

ProviderName = Literal["openai", "anthropic", "offline"]

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
    window: int | None = None
    """Context window in the model's tokens; from the price list when not set."""
    price: Rates | None = None
    """Replaces the price list."""
    price_as: str | None = None
    """`provider/model` whose price applies, e.g. for a self-named deployment."""

    @property
    def label(self) -> str:
        """
        How the model names itself to people.
        """
        return OFFLINE_LABEL if self.provider == "offline" else f"{self.provider}/{self.model}"
