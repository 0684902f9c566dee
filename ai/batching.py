"""
The first question of an ask, left to a batch: put down once, and read when its answer is there.

Everything after it (more room, a repair, a larger model) is asked live: hours have passed already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ai import replies
from ai.errors import AIError
from ai.estimates import billed_input
from ai.providers import adapter
from ledger.batching import NewItem
from penstock.clock import utc
from penstock.errors import PenstockError
from penstock.http import Response

if TYPE_CHECKING:
    from ai.exchange import Exchange
    from ai.providers.contract import Question, Reading
    from ledger.batching import Item


LOOKS_AGAIN = 1_200_000  # ms after it was due at which a run looks for its answer, should nobody wake it


class Batched(PenstockError):
    """
    The question waits for a batch: its run goes on when it is answered, or due.
    """

    def __init__(self, model: str, due_at: int, now: int) -> None:
        due = utc(due_at).strftime("%Y-%m-%d %H:%M UTC")
        super().__init__(
            f"its question waits for a batch of model {model!r}; without an answer it is asked at once at {due}"
        )
        self.due_at = max(due_at, now) + LOOKS_AGAIN
        """UTC ms from which to look again, should nobody wake it before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    How an ask goes through a batch.
    """

    within: float = 0.0
    """Seconds an answer may take."""
    due_at: int = 0
    """UTC ms at which the run asks by itself."""
    ask_hash: str = ""
    asked: Any = None
    """JSON data: what the answer will be read against."""
    item: Item | None = None
    """The answered one; None when the question is still to be put."""


async def first(exchange: Exchange, terms: Terms, question: Question, counted: int) -> Reading:
    """
    Return the answer to *question* that is there, or put it down and raise `Batched`.

    Raises `AIError` for an answer that is none, and `OverBudget`.
    """
    given = billed_input(counted, exchange.tools.factors.of(exchange.spec))
    if terms.item is None:
        await _put(exchange, terms, question, given)
        raise Batched(exchange.spec.name, terms.due_at, exchange.tools.clock.now_ms())
    exchange.attempt += 1
    exchange.cost += terms.item.cost
    outcome = _heard(terms.item, exchange)
    error = outcome if isinstance(outcome, AIError) else replies.unfinished(outcome, question.room)
    if error is not None:
        if error.error_class != "truncated":  # what did not fit may still be asked again with more room
            await exchange.tools.ledger.spend_item(terms.item.call, str(error))
        raise replies.scrubbed(error, exchange.spec)
    assert not isinstance(outcome, AIError)
    if not outcome.usage.estimated:
        exchange.tools.factors.observe(exchange.spec, counted, outcome.usage.input)
    return replies.counted(outcome, given)


def _heard(item: Item, exchange: Exchange) -> Reading | AIError:
    response = Response(status=item.answer["status"], body=orjson.dumps(item.answer["body"]))
    return replies.heard(exchange.spec, response)


async def _put(exchange: Exchange, terms: Terms, question: Question, given: int) -> None:
    exchange.check_window(given, question.room)
    price = exchange.price.halved() if exchange.price else None
    new = NewItem(
        model=exchange.spec.name,
        within=terms.within,
        due_at=terms.due_at,
        ask_hash=terms.ask_hash,
        body=adapter(exchange.spec.provider).request(question, None).content,
        asked={**terms.asked, "given": given, "room": question.room},
    )
    await exchange.step.put(
        new,
        amount=price.worst_case(given, question.room) if price else 0,
        caps=exchange.allowance.caps(),
        per_event=exchange.allowance.per_event,
        priced=price is not None,
    )
