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
_DATED = re.compile(r"([-@]20\d{2}-?\d{2}-?\d{2}|-latest|-00\d)$")
_LISTED = {"vertex": "google", "bedrock": "aws"}
"""Providers that the list calls otherwise."""
_AT_HOME = frozenset({"azure", "google", "vertex", "bedrock"})
"""Providers whose models are theirs at every address: a gateway or a private endpoint changes no price."""
_BEDROCK = re.compile(
    r"^(?:arn:[^/]*/)?(?:(?:global|regional|us|us-gov|eu|apac|jp|au|ca|in)\.)?(.+?)(?:-v\d+)?(?::\d+)?$"
)


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

    def halved(self) -> Rate:
        """
        Return half of it, rounded up.
        """
        return Rate(base=_half(self.base), tiers=tuple((start, _half(rate)) for start, rate in self.tiers))

    def dearest(self, total_input: int) -> int:
        """
        Return the highest rate that a call of at most *total_input* tokens can reach.
        """
        most = max(self.base, 0)
        for start, rate in self.tiers:
            if rate > most and total_input > start:
                most = rate
        return most


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

    def halved(self) -> Price:
        """
        Return what a batch pays: half of every rate, each rounded up.
        """
        return Price(
            input=self.input.halved(),
            output=self.output.halved(),
            cache_read=self.cache_read.halved(),
            cache_write=self.cache_write.halved(),
        )

    def worst_case(self, input_tokens: int, max_output: int) -> int:
        """
        Return the most a call can cost: nothing read from a cache, everything written to it.
        """
        given = input_tokens
        read = max(self.input.dearest(given), self.cache_read.dearest(given), self.cache_write.dearest(given))
        return _rounded_up(given * read + max_output * self.output.dearest(given))


def find(spec: ModelSpec, at: datetime | None = None) -> Price | None:
    """
    Return the price of *spec* at the moment *at*, by default the list's newest; None when unknown.
    """
    if spec.provider == "offline":
        return _FREE
    if spec.price is not None:
        return _override(spec.price)
    moment = at or datetime.now(UTC)
    return _current(spec.provider, spec.url, spec.model, spec.price_as, moment.replace(second=0, microsecond=0))


def window(spec: ModelSpec) -> int | None:
    """
    Return how many tokens the model reads at most; None when unknown.
    """
    if spec.window is not None:
        return spec.window
    found = _listed(spec)
    return found.context_window if found is not None else None


@lru_cache(maxsize=256)
def _current(provider: str, url: str | None, model: str, price_as: str | None, minute: datetime) -> Price | None:
    """
    Return the listed price in one minute: lists change at the full minute, and calls come by the hundred.
    """
    found = _found(provider, url, model, price_as)
    return None if found is None else _price(found, minute)


def _listed(spec: ModelSpec) -> Any:
    return None if spec.provider == "offline" else _found(spec.provider, spec.url, spec.model, spec.price_as)


def _found(provider: str, url: str | None, model: str, price_as: str | None) -> Any:
    if price_as:
        provider, _, model = price_as.partition("/")
        url = None
    return _lookup(_LISTED.get(provider, provider), None if provider in _AT_HOME else url, model)


@lru_cache(maxsize=256)
def _lookup(provider: str, url: str | None, model: str) -> Any:
    from genai_prices.data_snapshot import get_snapshot  # slow to import, and not needed without a key

    for known in get_snapshot().providers:
        if (re.match(known.api_pattern, url) is not None) if url else (known.id == provider):
            if (found := _exact(known.models, model.lower())) is not None:
                return found
            if known.id == "aws":
                return _on_bedrock(known.models, model.lower())
            others = known.fallback_model_providers or () if known.id == "azure" else ()
            return next(filter(None, (_lookup(other, None, model) for other in others)), None)
    return None


def _on_bedrock(models: list[Any], name: str) -> Any:
    """
    Return the entry of a model that goes by its region, its version and sometimes its date.
    """
    plain = _plain(name)
    return next((model for model in models if _plain(model.id.lower()) == plain and model.is_match(_bare(name))), None)


def _plain(name: str) -> str:
    found = _BEDROCK.match(name)
    return _DATED.sub("", found[1] if found else name)


def _bare(name: str) -> str:
    return name.rpartition("/")[2]


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


def _half(rate: int) -> int:
    return -(-rate // 2)


def _rounded_up(micro_millions: int) -> int:
    return -(-micro_millions // MILLION)


_FREE = Price(input=Rate(base=0), output=Rate(base=0), cache_read=Rate(base=0), cache_write=Rate(base=0))
