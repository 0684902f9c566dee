"""
What asking may cost, before it is asked.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from ai import prices
from ai.factors import factor
from ai.providers.contract import THINKING_ROOM

if TYPE_CHECKING:
    from ai.models import ModelSpec

OVERHEAD = 64  # tokens providers put around messages
SCHEMA = 400  # tokens of an answer schema, where it is not known yet
COMPLAINT = 400  # tokens of what a repair turn says is wrong
WIDER = 2  # how much more room an answer gets that did not fit


def billed_input(counted: int, ratio: float) -> int:
    """
    Return the most input tokens that *counted* tokens of ours may be billed as.
    """
    return math.ceil((counted + OVERHEAD) * ratio)


def estimate(
    spec: ModelSpec,
    prompt_tokens: int,
    max_output: int,
    *,
    schema_tokens: int = SCHEMA,
    ratio: float | None = None,
    at: datetime | None = None,
    batched: bool = False,
) -> tuple[int, int] | None:
    """
    Return what the first try costs at most and what the whole ask costs at most, in micro-USD.

    The whole ask is a first try, one with more room, and one repair; all of it is asked at once, even when a *batched*
    first try pays half. None when the price is unknown.
    """
    price = prices.find(spec, at)
    if price is None:
        return None
    ratio = factor(spec) if ratio is None else ratio
    counted = prompt_tokens + schema_tokens
    room = room_of(spec, max_output)
    wide = room * WIDER
    first = price.worst_case(billed_input(counted, ratio), room)
    second = price.worst_case(billed_input(counted, ratio), wide)
    repair = price.worst_case(billed_input(counted + wide + COMPLAINT, ratio), wide)
    tried = price.halved().worst_case(billed_input(counted, ratio), room) if batched else first
    return tried, first + second + repair


def room_of(spec: ModelSpec, max_output: int) -> int:
    """
    Return the most output tokens *spec* may bill for an answer of *max_output*.
    """
    return max_output + (THINKING_ROOM if thinks(spec) else 0)


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model reasons before it answers, and bills it as output.
    """
    if spec.provider == "offline":
        return False
    from ai.providers import adapter

    return adapter(spec.provider).thinks(spec)
