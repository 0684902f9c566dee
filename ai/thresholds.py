"""
Where a route's threshold should stand: the one that keeps most answers of the cheap model at an accepted risk.

A cascade asks a cheap model first and a dear one when a score says so (FrugalGPT, Chen, Zaharia and Zou 2023,
arXiv 2305.05176). Its threshold is learned here from pairs of answers to the same question. Two kinds of pairs are
there in unlike parts: every question that was escalated, and a small share of those that were not. Each pair counts for
as many questions as it stands for, the inverse of the chance with which it was compared (Horvitz and Thompson 1952).

How many kept answers disagree is known from a sample, so what is held against the target is the upper end of Wilson's
95 % interval (E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927), with
the effective number of pairs, (sum of weights) squared by sum of squares (Kish 1965). Thresholds are tried from the
strictest down, and the first that fails after one that did not is the end: whoever tries them all and takes the best
finds one by chance.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from ledger.pairing import Pair

ENOUGH = 200  # compared answers that were used, below which nothing is proposed
Z = 1.959964  # two-sided 95 %
_STEPS = 100  # thresholds to a power of ten: 0.01, 0.02 … for scores up to 1

Operator = Literal["<", "<=", ">", ">="]
_MIRRORED: dict[str, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_PATH, _NUMBER = r"output(?:\.[A-Za-z_]\w*)+", r"-?\d+(?:\.\d+)?"
_FORMS = (
    re.compile(rf"\s*(?P<path>{_PATH})\s*(?P<operator><=?|>=?)\s*(?P<number>{_NUMBER})\s*"),
    re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?P<operator><=?|>=?)\s*(?P<path>{_PATH})\s*"),
)


def wilson(hits: float, of: float, z: float = Z) -> tuple[float, float]:
    """
    Return between which shares the true one is, when *hits* of *of* were found; 0 to 1 of nothing.
    """
    if of <= 0:
        return 0.0, 1.0
    part = hits / of
    middle = part + z * z / (2 * of)
    half = z * math.sqrt(part * (1 - part) / of + z * z / (4 * of * of))
    below = 1 + z * z / of
    return max(0.0, (middle - half) / below), min(1.0, (middle + half) / below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """
    An `escalate_when` that compares one number of the answer with one of ours.
    """

    path: str
    """E.g. `output.confidence`."""
    operator: Operator
    """When the next model is asked: the score is *operator* *at*."""
    at: float

    def __str__(self) -> str:
        return f"{self.path} {self.operator} {self.at:g}"

    @property
    def falls(self) -> bool:
        """
        Whether low scores are those that escalate, so that a higher threshold is a stricter one.
        """
        return self.operator in ("<", "<=")


def threshold_of(escalate_when: str | None) -> Threshold | None:
    """
    Return the threshold that an expression is; None when it is anything else.
    """
    for mirrored, form in enumerate(_FORMS):
        if found := form.fullmatch(escalate_when or ""):
            operator: Operator = _MIRRORED[found["operator"]] if mirrored else found["operator"]  # type: ignore[assignment]
            return Threshold(path=found["path"], operator=operator, at=float(found["number"]))
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    What is to be expected where a threshold stands.
    """

    at: float
    share_kept: float
    """Of the answers of the cheap model that can be used."""
    disagreement: float
    """Of those kept, how many the next model would have answered otherwise."""
    disagreement_at_most: float
    """The upper end of the 95 % interval."""
    cost: float
    """Micro-USD of one ask: the cheap model always, the next one too for what is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """
    A threshold, against the present one and against asking the next model at once.
    """

    threshold: Threshold
    """As it is now."""
    now: Standing
    best: Standing | None
    """None when none keeps the target."""
    least: Standing
    """Of those tried, the one whose upper end is lowest."""
    small_cost: float
    """Micro-USD of one answer of the cheap model, as the next one."""
    large_cost: float
    pairs: int

    @property
    def most_escalated(self) -> float:
        """
        The share of asks up to which climbing saves anything: each that climbs pays both models.
        """
        return 1 - self.small_cost / self.large_cost if self.large_cost else 0.0


def propose(pairs: Iterable[Pair], threshold: Threshold, target: float) -> Proposal | None:
    """
    Return where the threshold should stand so that at most *target* of the kept answers disagree.

    None without a pair that has the score.
    """
    known = [pair for pair in pairs if threshold.path in pair.scores and pair.share > 0]
    if not known:
        return None
    sample = _Sample(known, threshold)
    best: Standing | None = None
    tried: list[Standing] = []
    for at in _candidates([pair.scores[threshold.path] for pair in known], threshold):
        tried.append(sample.standing(at))
        if tried[-1].disagreement_at_most <= target:
            best = tried[-1]
        elif best is not None:
            break
    return Proposal(
        threshold=threshold,
        now=sample.standing(threshold.at),
        best=best,
        least=min(tried, key=lambda each: each.disagreement_at_most),
        small_cost=sample.small_cost,
        large_cost=sample.large_costs[-1] / sample.weights[-1],
        pairs=len(known),
    )


class _Sample:
    """
    Pairs from the surest answer down, each for as many questions as it stands for, summed up to each.
    """

    def __init__(self, pairs: Sequence[Pair], threshold: Threshold) -> None:
        self._threshold = threshold
        ordered = sorted(pairs, key=self._place_of)
        weights = [1 / pair.share if pair.kept else 1.0 for pair in ordered]
        both = list(zip(ordered, weights, strict=True))
        self._places = [self._place_of(pair) for pair in ordered]
        self.weights = _summed(weights)
        self._squares = _summed(weight * weight for weight in weights)
        self._differing = _summed(weight * (not pair.agree) for pair, weight in both)
        self.large_costs = _summed(weight * pair.large_cost for pair, weight in both)
        self.small_cost = sum(weight * pair.small_cost for pair, weight in both) / self.weights[-1]

    def standing(self, at: float) -> Standing:
        """
        Return what is to be expected where the threshold stands *at*.
        """
        find = bisect_right if self._threshold.operator in ("<", ">") else bisect_left
        kept = find(self._places, -at if self._threshold.falls else at)
        of, whole = self.weights[kept], self.weights[-1]
        part = self._differing[kept] / of if kept else 0.0
        effective = of * of / self._squares[kept] if kept else 0.0
        return Standing(
            at=at,
            share_kept=of / whole,
            disagreement=part,
            disagreement_at_most=wilson(part * effective, effective)[1],
            cost=self.small_cost + (self.large_costs[-1] - self.large_costs[kept]) / whole,
        )

    def _place_of(self, pair: Pair) -> float:
        score = pair.scores[self._threshold.path]
        return -score if self._threshold.falls else score


def _summed(values: Iterable[float]) -> list[float]:
    return list(accumulate(values, initial=0.0))


def _candidates(scores: Sequence[float], threshold: Threshold) -> Iterator[float]:
    """
    Yield thresholds from the strictest down, as round as people write them: none of them depends on who agreed.
    """
    largest = max(abs(score) for score in scores) or 1.0
    step = 10.0 ** math.ceil(math.log10(largest) - 1e-9) / _STEPS
    low, high = math.floor(min(scores) / step), math.ceil(max(scores) / step)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    steps = range(high, low - 1, -1) if threshold.falls else range(low, high + 1)
    for count in steps:
        yield round(count * step, places)
