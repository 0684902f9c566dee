"""
Ladders: models in the order they are asked, the next one when an answer cannot be used or is not sure enough.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai.errors import AIError, ErrorClass

if TYPE_CHECKING:
    from ai.exchange import Exchange
    from ai.models import ModelSpec

log = logging.getLogger(__name__)

UNUSABLE: frozenset[ErrorClass] = frozenset({"invalid_output", "unsupported", "truncated"})
"""What a model may say that is no answer: another one may do better."""

UNSURE = "unsure"
"""Why the next model is asked although there is an answer."""


def _sure(_output: Mapping[str, Any]) -> bool:
    return False


def _open(_model: str) -> None:
    """
    Let every model be asked.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """
    Which used answers of a ladder's first model are compared with what the next one says.
    """

    route: str
    share: float
    """Of the events whose first answer is used; 0.02 for 2%."""
    scores: frozenset[tuple[str, ...]]
    """Fields of the answer that say how sure it is."""

    def picks(self, run: str) -> bool:
        """
        Say whether *run* is one of them: the same in every attempt and worker, by a hash of the event's identity.
        """
        place = int.from_bytes(hashlib.sha256(f"shadow\0{run}".encode()).digest()[:8], "big")
        return place < self.share * 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """
    One model, or several to be asked in turn.
    """

    models: tuple[str, ...]
    unsure: Callable[[Mapping[str, Any]], bool] = _sure
    """Whether an answer that can be used asks for the next model all the same."""
    may_ask: Callable[[str], None] = _open
    """Called before each model; what it raises ends the ask."""
    shadow: Shadow | None = None
    """None when nothing is compared."""

    @property
    def rungs(self) -> list[Ladder]:
        """
        This ladder, then what is left of it without its first model, and so on.
        """
        return [
            Ladder(models=self.models[start:], unsure=self.unsure, may_ask=self.may_ask)
            for start in range(len(self.models))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What one model answered, whether it was used or not.
    """

    value: dict[str, Any]
    cost: int
    """Micro-USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Climbed:
    """
    The answer of a ladder, and who gave it.
    """

    value: dict[str, Any]
    spec: ModelSpec
    cost: int
    """Micro-USD of all rungs together."""
    said: tuple[Said | None, ...]
    """By rung; None where there was no usable answer."""


async def climb(
    ladder: Ladder,
    exchange_of: Callable[[str, int, str], Exchange],
    ask: Callable[[Exchange], Awaitable[dict[str, Any]]],
) -> Climbed:
    """
    Ask one model after the other until one answers well enough, or there is none left.

    *exchange_of* gives the calls with a model at its rung, and why the one below was not enough; *ask* asks one. Raises what the last one asked raises.
    """
    cost, last, cause = 0, len(ladder.models) - 1, ""
    said: list[Said | None] = []
    for rung, name in enumerate(ladder.models):
        ladder.may_ask(name)
        exchange = exchange_of(name, rung, cause)
        try:
            value = await ask(exchange)
        except AIError as error:
            if rung == last or error.error_class not in UNUSABLE:
                raise
            cause = error.error_class
            said.append(None)
            log.info("model %s gave no usable answer, the next one is asked: %s", name, error.error_class)
        else:
            said.append(Said(value=value, cost=exchange.cost))
            if rung == last or not ladder.unsure(value):
                return Climbed(value=value, spec=exchange.spec, cost=cost + exchange.cost, said=tuple(said))
            cause = UNSURE
            log.info("model %s is not sure enough, the next one is asked", name)
        cost += exchange.cost
    raise AssertionError("a ladder has at least one model")
