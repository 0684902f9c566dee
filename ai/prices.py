"""
What a call costs, in integer micro-USD, and how much a model can read.

Prices come from the list that ships with genai-prices, never fetched, or from the declaration. Only
the model that was named is looked up: its own id, with or without a date or `-latest`. An alias to a
model of another name is unknown, and unknown is None, never zero.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

    from ai.models import ModelSpec, Rates
    from schemas.entries import Usage

MILLION = 1_000_000
_DATED = re.compile(r"([-@]20\d{2}-?\d{2}-?\d{2}|-latest)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """
    Micro-USD per million tokens, dearer from some sizes of the input on.
    """

    base: int
    tiers: tuple[tuple[int, int], ...] = ()
    """(total input tokens above which it applies, rate), ascending; it applies to all tokens."""

    def at(self, total_input: int) -> int:
        """
        Return the rate for a call with *total_input* tokens.
        """
        return [self.base, *(rate for start, rate in self.tiers if total_input > start)][-1]

    def dearest(self, total_input: int) -> int:
        """
        Return the highest rate that a call of at most *total_input* tokens can reach.
        """
        return max(self.base, *(rate for start, rate in self.tiers if total_input > start), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """
    What one model charges for tokens.
    """

    input: Rate
    output: Rate
    cache_read: Rate
    cache_write: Rate

    def cost(self, usage: Usage) -> int:
        """
        Return what *usage* costs in micro-USD, rounded up.
        """
        read, write = min(usage.cache_read, usage.input), min(usage.cache_write, usage.input)
        plain = max(usage.input - read - write, 0)
        parts = ((plain, self.input), (read, self.cache_read), (write, self.cache_write), (usage.output, self.output))
        return _rounded_up(sum(tokens * rate.at(usage.input) for tokens, rate in parts))

    def worst_case(self, input_tokens: int, max_output: int) -> int:
        """
        Return the most a call can cost: nothing read from a cache, everything written to it.
        """
        read = max(rate.dearest(input_tokens) for rate in (self.input, self.cache_read, self.cache_write))
        return _rounded_up(input_tokens * read + max_output * self.output.dearest(input_tokens))


def find(spec: ModelSpec, at: datetime | None = None) -> Price | None:
    """
    Return the price of *spec* at the moment *at*, by default the list's newest; None when unknown.
    """
    if spec.provider == "offline":
        return _FREE
    if spec.price is not None:
        return _override(spec.price)
    if (found := _listed(spec)) is None:
        return None
    return _price(found, at or datetime.now(UTC))


def window(spec: ModelSpec) -> int | None:
    """
    Return how many tokens the model reads at most; None when unknown.
    """
    if spec.window is not None:
        return spec.window
    found = _listed(spec)
    return found.context_window if found is not None else None


def _listed(spec: ModelSpec) -> Any:
    if spec.price_as:
        provider, _, model = spec.price_as.partition("/")
        return _lookup(provider, None, model)
    return None if spec.provider == "offline" else _lookup(spec.provider, spec.url, spec.model)


@lru_cache(maxsize=256)
def _lookup(provider: str, url: str | None, model: str) -> Any:
    from genai_prices.data_snapshot import get_snapshot  # slow to import, and not needed without a key

    for known in get_snapshot().providers:
        if (re.match(known.api_pattern, url) is not None) if url else (known.id == provider):
            return _exact(known.models, model.lower())
    return None


def _exact(models: list[Any], name: str) -> Any:
    by_id = {model.id.lower(): model for model in models}
    if name in by_id:
        return by_id[name]
    plain = _DATED.sub("", name)
    same = (model for key, model in by_id.items() if _DATED.sub("", key).removesuffix("-0") == plain)
    return next((model for model in same if model.is_match(name)), None)


def _price(found: Any, at: datetime) -> Price | None:
    listed = found.get_prices(at)
    if listed.input_mtok is None or listed.output_mtok is None:
        return None
    return Price(
        input=_rate(listed.input_mtok),
        output=_rate(listed.output_mtok),
        cache_read=_rate(listed.input_mtok if listed.cache_read_mtok is None else listed.cache_read_mtok),
        cache_write=_rate(listed.input_mtok if listed.cache_write_mtok is None else listed.cache_write_mtok),
    )


def _rate(listed: Any) -> Rate:
    tiers = getattr(listed, "tiers", ())
    base = getattr(listed, "base", listed)
    return Rate(base=_micro(base), tiers=tuple((tier.start, _micro(tier.price)) for tier in tiers))


def _micro(usd_per_million: Decimal) -> int:
    return math.ceil(usd_per_million * MILLION)


def _override(rates: Rates) -> Price:
    read = rates.input if rates.cache_read is None else rates.cache_read
    write = rates.input if rates.cache_write is None else rates.cache_write
    return Price(
        input=Rate(base=rates.input),
        output=Rate(base=rates.output),
        cache_read=Rate(base=read),
        cache_write=Rate(base=write),
    )


def _rounded_up(micro_millions: int) -> int:
    return -(-micro_millions // MILLION)


_FREE = Price(input=Rate(base=0), output=Rate(base=0), cache_read=Rate(base=0), cache_write=Rate(base=0))
