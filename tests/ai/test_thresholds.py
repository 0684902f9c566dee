"""
Proposed thresholds: read from an expression, weighed as pairs were sampled, and kept on questions nobody has seen.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from ai.thresholds import Threshold, propose, threshold_of, wilson
from ledger.pairing import Pair

PATH = "output.confidence"
NOW = Threshold(path=PATH, operator="<", at=0.75)
SEEDS = 60


def pair(score: float, *, kept: bool = True, agree: bool = True, share: float = 1.0, **more: Any) -> Pair:
    usual: dict[str, Any] = {"route": "r", "small": "s", "large": "l", "small_cost": 100, "large_cost": 1_000}
    return Pair(kept=kept, agree=agree, share=share, scores={PATH: score}, **usual | more)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("output.confidence < 0.75", (PATH, "<", 0.75)),
        ("  output.confidence<=1 ", (PATH, "<=", 1.0)),
        ("output.doubt.overall > 0.2", ("output.doubt.overall", ">", 0.2)),
        ("0.75 > output.confidence", (PATH, "<", 0.75)),
        ("-1 <= output.score", ("output.score", ">=", -1.0)),
        ("output.confidence < 0.75 or output.mood == 'angry'", None),
        ("output.confidence == 0.75", None),
        ("output.confidence < output.other", None),
        ("output.confidence | round < 0.7", None),
        (None, None),
    ],
)
def test_a_threshold_is_one_number_compared(text: str | None, read: Any) -> None:
    """
    Either way round; anything else is none.
    """
    found = threshold_of(text)

    assert (found and (found.path, found.operator, found.at)) == read


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(hits: float, of: float, low: float, high: float) -> None:
    """
    Figures of Newcombe 1998 (Statistics in Medicine 17, table I, method 3) among them.
    """
    assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("operator", "kept"), [("<", {0.5, 0.7, 0.9}), ("<=", {0.7, 0.9}), (">", {0.3, 0.5}), (">=", {0.3})]
)
def test_a_score_at_the_threshold_is_on_the_side_the_operator_says(operator: Any, kept: set[float]) -> None:
    """
    What is not escalated is kept.
    """
    pairs = [pair(score, small_cost=0, large_cost=1) for score in (0.3, 0.5, 0.7, 0.9)]
    found = propose(pairs, Threshold(path=PATH, operator=operator, at=0.5), 0.02)

    assert found is not None
    assert found.now.share_kept == len(kept) / 4
    assert found.now.cost == 1 - len(kept) / 4


def test_pairs_count_for_as_many_as_they_stand_for() -> None:
    """
    One kept answer compared at 10 % stands for ten, an escalated one for itself.
    """
    pairs = [pair(0.9, share=0.1), pair(0.5, kept=False, agree=False, share=0.1)]
    found = propose(pairs, NOW, 0.5)
    everything = propose(pairs, Threshold(path=PATH, operator="<", at=0.1), 0.5)

    assert found is not None
    assert everything is not None
    assert (found.now.share_kept, found.now.disagreement) == (pytest.approx(10 / 11), 0.0)
    assert found.now.cost == pytest.approx(100 + 1_000 / 11)
    assert everything.now.disagreement == pytest.approx(1 / 11)


def test_nothing_is_proposed_without_evidence() -> None:
    """
    Few pairs that all agree prove little; many that disagree prove the opposite.
    """
    few = propose([pair(0.9)] * 50, NOW, 0.02)
    bad = propose([pair(0.9, agree=number % 5 > 0) for number in range(2_000)], NOW, 0.02)

    assert few is not None
    assert bad is not None
    assert (few.best, bad.best) == (None, None)
    assert propose([], NOW, 0.02) is None


def test_a_route_saves_only_below_its_break_even() -> None:
    """
    An ask that climbs pays both models.
    """
    found = propose([pair(0.9, small_cost=400)] * 300, NOW, 0.02)

    assert found is not None
    assert found.most_escalated == pytest.approx(0.6)


def _steep(score: float) -> float:
    return 0.4 * (1 - score) ** 2


def _step(score: float) -> float:
    return 0.005 if score >= 0.7 else 0.15


def _logistic(score: float) -> float:
    return 1 / (1 + math.exp(12 * (score - 0.55)))


def _flat(_score: float) -> float:
    return 0.03


def asked(seed: int, wrong: Callable[[float], float], draw: Callable[[random.Random], float], compared: int) -> Any:
    """Return pairs as a hub collects them: every escalated answer, and a quarter of the others."""
    chance, found, kept = random.Random(seed), [], 0
    while kept < compared:
        score = round(draw(chance), 2)
        used = score >= NOW.at
        if used and chance.random() > 0.25:
            continue
        kept += used
        found.append(pair(score, kept=used, agree=chance.random() >= wrong(score), share=0.25))
    return found


@pytest.mark.parametrize("wrong", [_steep, _step, _logistic, _flat])
@pytest.mark.parametrize(
    "draw",
    [
        lambda chance: chance.betavariate(5, 2),
        lambda chance: chance.betavariate(8, 1.2),
        lambda chance: chance.choice([0.6, 0.7, 0.8, 0.85, 0.9, 0.9, 0.95, 0.95, 0.98]),
    ],
    ids=["spread", "sure", "lumpy"],
)
@pytest.mark.parametrize(("compared", "target"), [(200, 0.05), (600, 0.02)])
def test_a_proposal_keeps_its_word(wrong: Any, draw: Any, compared: int, target: float) -> None:
    """
    On questions nobody has seen, kept answers disagree at most as often as wanted, in 95 % of hubs at least.
    """
    chance = random.Random(-1)
    fresh = [round(draw(chance), 2) for _ in range(20_000)]
    broken = 0
    for seed in range(SEEDS):
        found = propose(asked(seed, wrong, draw, compared), NOW, target)
        assert found is not None
        if found.best is not None:
            kept = [wrong(score) for score in fresh if score >= found.best.at]
            broken += sum(kept) > target * len(kept)

    assert broken <= 0.05 * SEEDS


def test_with_many_pairs_the_proposal_is_near_the_best() -> None:
    """
    Kept answers above a threshold t disagree at 0.4 (1 - t)² / 3 where scores are even: 2 % at t = 0.61.
    """
    proposals = [propose(asked(seed, _steep, lambda chance: chance.random(), 3_000), NOW, 0.02) for seed in range(10)]

    for found in proposals:
        assert found is not None
        assert found.best is not None
        assert 0.6 <= found.best.at <= 0.72
        assert found.best.share_kept == pytest.approx(1 - found.best.at, abs=0.03)
