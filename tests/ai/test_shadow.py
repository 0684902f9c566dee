"""
Shadows: a second model is asked for comparison only, once, where it harms nobody; and what escalations give for free.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from ai import AIError, Ladder, Paced, Shadow
from ai.double import Fault
from ledger.contract import Cap
from ledger.costs import CostQuery
from ledger.limits import CapReached
from ledger.pacing import Quota
from ledger.pairing import SHADOW, Pair
from penstock.errors import OverBudget
from tests.ai.conftest import PROMPT, SUMMARY, TICKET

EVER = CostQuery(since=0, until=2**60, pipeline="ticket-summary")
RUNS = [f"{number:032x}" for number in range(20_000)]


def doubtful(output: Any) -> bool:
    return float(output.get("confidence", 0)) < 0.75


def shadow(share: float = 0.02) -> Shadow:
    return Shadow(route="cheap-first", share=share, scores=frozenset({("confidence",)}))


BOTH = Ladder(models=("small", "large"), unsure=doubtful, shadow=shadow())


def says(confidence: float, mood: str = "calm") -> str:
    return orjson.dumps({"summary": "A lamp is lost.", "mood": mood, "confidence": confidence}).decode()


async def compare(desk: Any, claim: Any, answer: Any, **more: Any) -> bool | None:
    given: dict[str, Any] = {
        "model": BOTH,
        "output": SUMMARY,
        "max_output": 300,
        "timeout": 60.0,
        "ask_hash": "h1",
        "evidence": TICKET,
    } | more
    found: bool | None = await desk.ai.shadow(claim, PROMPT, answer, **given)
    return found


async def asked(desk: Any, *answers: str, **more: Any) -> tuple[Any, Any]:
    """Let a run be answered by the first of *answers*; the others are what is said next."""
    claim = await desk.claim()
    desk.double.answers.extend(answers)
    return claim, await desk.ask(claim, model=BOTH, **more)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_a_share_of_the_runs_is_picked(share: float) -> None:
    """
    About as many as it says, the same ones each time; a larger share has those of a smaller one.
    """
    picked = {run for run in RUNS if shadow(share).picks(run)}

    assert abs(len(picked) - share * len(RUNS)) <= 4 * (share * (1 - share) * len(RUNS)) ** 0.5
    assert picked == {run for run in RUNS if shadow(share).picks(run)}
    assert {run for run in RUNS if shadow(share / 2).picks(run)} <= picked


@pytest.mark.parametrize(("mood", "agree"), [("calm", True), ("angry", False)])
async def test_the_next_model_is_asked_and_compared(desk: Any, mood: str, agree: bool) -> None:
    """
    Field by field, however sure either is; the pair knows what both cost, and how sure the small one was.
    """
    claim, answer = await asked(desk, says(0.9), says(0.5, mood))
    found = await compare(desk, claim, answer)
    first, second = await desk.calls(claim)
    (pair,) = await desk.ledger.pairs(EVER)

    assert found is agree
    assert pair == Pair(
        route="cheap-first",
        small="small",
        large="large",
        kept=True,
        share=0.02,
        agree=agree,
        scores={"output.confidence": 0.9},
        small_cost=first.cost,
        large_cost=second.cost,
        at=pair.at,
    )
    assert (second.step, second.rung, second.cause) == (SHADOW, 1, "shadow")


async def test_its_answer_is_nowhere(desk: Any) -> None:
    """
    The run's answer stays what it was, and nothing the second model said is kept.
    """
    claim, answer = await asked(desk, says(0.9), says(0.5, "angry"))
    await compare(desk, claim, answer)
    recalled = await desk.ai.recall(claim, output=SUMMARY, ask_hash="h1")
    detail = await desk.ledger.detail(claim.run)

    assert (recalled.output, recalled.model, recalled.cost) == (answer.output, "small", answer.cost)
    (step,) = [step for step in detail.steps if step.step == SHADOW]
    assert (step.result, step.receipt) == ({"model": "large", "agree": False}, None)
    assert "angry" not in detail.model_dump_json()


async def test_it_is_asked_at_most_once(desk: Any) -> None:
    """
    Also when it failed: whatever came of the first time, there is no second.
    """
    done, answer = await asked(desk, says(0.9), says(0.9))
    await compare(desk, done, answer)
    again = await compare(desk, done, answer)
    failed, other = await asked(desk, says(0.9), "nonsense", "nonsense")
    with pytest.raises(AIError):
        await compare(desk, failed, other)
    after = await compare(desk, failed, other)

    assert (again, after) == (None, None)
    assert len(desk.double.calls) == 2 + 3
    assert len(await desk.ledger.pairs(EVER)) == 1


async def test_what_it_costs_is_reserved_and_booked(desk: Any) -> None:
    """
    Under the same caps as the ask, and within the same event.
    """
    cap = Cap(scope="pipeline:p", period="d", limit=1_000_000)
    claim, answer = await asked(desk, says(0.9), says(0.9), caps=lambda: [cap])
    await compare(desk, claim, answer, caps=lambda: [cap])
    calls = await desk.calls(claim)

    assert await desk.ledger.spent("pipeline:p", "d") == (sum(call.cost for call in calls), 0)
    assert await desk.ledger.shadow_cost(EVER) == calls[1].cost > 0


async def test_without_money_nothing_is_asked(desk: Any) -> None:
    """
    A cap that the ask fitted under refuses the comparison, and so does `per_event`.
    """
    claim, answer = await asked(desk, says(0.9))
    cap = Cap(scope="pipeline:p", period="d", limit=10)
    with pytest.raises(CapReached):
        await compare(desk, claim, answer, caps=lambda: [cap])
    other, its = await asked(desk, says(0.9))
    with pytest.raises(OverBudget) as caught:
        await compare(desk, other, its, per_event=its.cost + 10)

    assert caught.value.scope == "per_event"
    assert [call.model for call in desk.double.calls] == ["small-1", "small-1"]


async def test_it_does_not_wait_for_its_turn(desk: Any) -> None:
    """
    Where the pace leaves no room now, it is not asked; what waits goes first.
    """
    pace = desk.ai.paces
    await pace._set(pace._names["large"], Quota(requests=1))
    first, answer = await asked(desk, says(0.9), says(0.9))
    await compare(desk, first, answer)
    second, other = await asked(desk, says(0.9))
    with pytest.raises(Paced):
        await compare(desk, second, other)

    assert [call.step for call in await desk.calls(second)] == ["ask"]


async def test_it_does_not_come_again_when_told_to_slow_down(desk: Any) -> None:
    """
    One request, and the model's pace is slower for all.
    """
    claim, answer = await asked(desk, says(0.9))
    desk.double.faults.append(Fault(kind="status", status=429, retry_after=2.0))
    with pytest.raises(Paced):
        await compare(desk, claim, answer)

    assert [call.outcome for call in await desk.calls(claim)] == ["ok", "rate_limited"]
    assert desk.ai.paces.of("large") is not None


async def test_a_shut_model_is_not_asked(desk: Any) -> None:
    """
    What objects to a model objects to its shadow: nothing is reserved.
    """

    def shut(name: str) -> None:
        if name == "large":
            raise OverBudget("no", scope="x")

    claim, answer = await asked(desk, says(0.9))
    closed = Ladder(models=BOTH.models, unsure=doubtful, shadow=BOTH.shadow, may_ask=shut)
    with pytest.raises(OverBudget):
        await compare(desk, claim, answer, model=closed)

    assert len(await desk.calls(claim)) == 1


async def test_an_escalation_is_a_pair_for_free(desk: Any) -> None:
    """
    Both were asked anyway: the pair is kept with the answer, and says that the small one's was not used.
    """
    claim, answer = await asked(desk, says(0.5, "angry"), says(0.6))
    small, large = await desk.calls(claim)
    (pair,) = await desk.ledger.pairs(EVER)

    assert answer.model == "large"
    assert (pair.kept, pair.agree, pair.share, pair.scores) == (False, False, 0.02, {"output.confidence": 0.5})
    assert (pair.small_cost, pair.large_cost) == (small.cost, large.cost)


async def test_of_three_models_the_first_two_are_a_pair(desk: Any) -> None:
    """
    The next one's answer is what the event gets when the first one's is not used, whoever answers in the end.
    """
    claim = await desk.claim()
    desk.double.answers.extend([says(0.5), says(0.6, "angry"), says(0.9)])
    ladder = Ladder(models=("small", "large", "google"), unsure=doubtful, shadow=shadow())
    answer = await desk.ask(claim, model=ladder)
    (pair,) = await desk.ledger.pairs(EVER)

    assert answer.model == "google"
    assert (pair.large, pair.agree) == ("large", False)


@pytest.mark.parametrize("answers", [["nonsense", "nonsense", says(0.9)], [says(0.9)]])
async def test_other_asks_are_no_pairs(desk: Any, answers: list[str]) -> None:
    """
    A wrong answer says nothing of thresholds; a sure one asks nobody else.
    """
    await asked(desk, *answers)

    assert await desk.ledger.pairs(EVER) == []


async def test_without_a_shadow_escalations_are_not_kept(desk: Any) -> None:
    """
    Alone they would say nothing of the answers that are used.
    """
    claim = await desk.claim()
    desk.double.answers.extend([says(0.5), says(0.6)])
    await desk.ask(claim, model=Ladder(models=BOTH.models, unsure=doubtful))

    assert await desk.ledger.pairs(EVER) == []
