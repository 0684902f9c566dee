"""
Ladders: the next model is asked when an answer cannot be used or is not sure enough, and each call pays for itself.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ai import AIError, Ladder
from ai.double import Fault
from ledger.contract import Cap
from ledger.limits import CapReached
from penstock.errors import OverBudget

BOTH = ("small", "large")


def doubtful(output: Any) -> bool:
    return float(output.get("confidence", 0)) < 0.75


def says(confidence: float) -> str:
    return orjson.dumps({"summary": "A lamp is lost.", "mood": "calm", "confidence": confidence}).decode()


async def paid(desk: Any, claim: Any) -> list[tuple[int, str]]:
    return [(call.rung, call.model) for call in await desk.calls(claim)]


async def worst(desk: Any) -> int:
    """What a call of the small model reserves."""
    await desk.ask(model="small")
    amount = await desk.ledger.store.read(lambda c: c.execute("SELECT max(amount) FROM reservations").fetchone()[0])
    return int(amount)


async def test_a_sure_answer_asks_nobody_else(desk: Any) -> None:
    """
    The first model is sure: it is the one that answered, and the only one paid.
    """
    claim = await desk.claim()
    desk.double.answers.append(says(0.9))
    answer = await desk.ask(claim, model=Ladder(models=BOTH, unsure=doubtful))

    assert (answer.model, await paid(desk, claim)) == ("small", [(0, "small")])


async def test_an_unsure_answer_asks_the_next(desk: Any) -> None:
    """
    The answer and its name are the second model's, its cost is that of both; the last one needs not be sure.
    """
    claim = await desk.claim()
    desk.double.answers.extend([says(0.5), says(0.6)])
    answer = await desk.ask(claim, model=Ladder(models=BOTH, unsure=doubtful))
    calls = await desk.calls(claim)

    assert (answer.model, answer.output["confidence"]) == ("large", 0.6)
    assert await paid(desk, claim) == [(0, "small"), (1, "large")]
    assert answer.cost == sum(call.cost for call in calls) > calls[0].cost


@pytest.mark.parametrize("kind", ["wrong-schema", "not-json", "invented", "truncated"])
async def test_an_answer_that_cannot_be_used_asks_the_next(desk: Any, kind: Any) -> None:
    """
    What is wrong after its repair is left to the next model, whoever is sure of what.
    """
    claim = await desk.claim()
    desk.double.faults.extend([Fault(kind=kind)] * 2)
    answer = await desk.ask(claim, model=Ladder(models=BOTH))

    assert answer.model == "large"
    assert await paid(desk, claim) == [(0, "small"), (0, "small"), (1, "large")]


async def test_the_last_wrong_answer_is_the_end(desk: Any) -> None:
    """
    When no model gives a usable answer, the error is the last one's.
    """
    desk.double.faults.extend([Fault(kind="not-json")] * 4)
    with pytest.raises(AIError) as caught:
        await desk.ask(model=Ladder(models=BOTH))

    assert (caught.value.model, caught.value.error_class) == ("large", "invalid_output")


async def test_an_outage_does_not_ask_the_next(desk: Any) -> None:
    """
    A model that cannot be reached is waited for: its event is not wrong.
    """
    claim = await desk.claim()
    with pytest.raises(AIError) as caught:
        await desk.ask(claim, model=Ladder(models=("nowhere", "large")))

    assert (caught.value.model, caught.value.advice, desk.double.calls) == ("nowhere", "gate", [])


async def test_each_rung_reserves_for_itself(desk: Any) -> None:
    """
    A cap that the first model fits under, and both do not, refuses the second call and not the first.
    """
    cap = Cap(scope="pipeline:p", period="d", limit=await worst(desk))
    claim = await desk.claim()
    desk.double.answers.append(says(0.5))
    with pytest.raises(CapReached):
        await desk.ask(claim, model=Ladder(models=BOTH, unsure=doubtful), caps=lambda: [cap])

    assert [call.model for call in await desk.calls(claim)] == ["small"]


async def test_one_event_pays_for_all_rungs_together(desk: Any) -> None:
    """
    `per_event` covers the sum: what the first model cost counts before the second is asked.
    """
    limit = await worst(desk)
    claim = await desk.claim()
    desk.double.answers.append(says(0.5))
    with pytest.raises(OverBudget) as caught:
        await desk.ask(claim, model=Ladder(models=BOTH, unsure=doubtful), per_event=limit)

    assert caught.value.scope == "per_event"
    assert [call.model for call in await desk.calls(claim)] == ["small"]


async def test_a_stored_answer_climbs_no_ladder(desk: Any) -> None:
    """
    An answer that was paid for is taken as it is.
    """
    claim = await desk.claim()
    desk.double.answers.append(says(0.9))
    ladder = Ladder(models=BOTH, unsure=doubtful)
    await desk.ask(claim, model=ladder)
    again = await desk.ask(claim, model=ladder)

    assert (again.stored, again.model, len(desk.double.calls)) == (True, "small", 1)


async def test_a_call_says_why_the_one_below_was_not_enough(desk: Any) -> None:
    """
    For the report: unsure, or the class of the error; the first rung needs no reason.
    """
    unsure, wrong = await desk.claim(), await desk.claim()
    desk.double.answers.extend([says(0.5), says(0.6)])
    await desk.ask(unsure, model=Ladder(models=BOTH, unsure=doubtful))
    desk.double.answers.extend(["nonsense", "nonsense", says(0.9)])
    await desk.ask(wrong, model=Ladder(models=BOTH))

    assert [call.cause for call in await desk.calls(unsure)] == ["", "unsure"]
    assert [call.cause for call in await desk.calls(wrong)] == ["", "", "invalid_output"]
