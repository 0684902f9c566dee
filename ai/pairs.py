"""
Two answers to one question, as the ledger keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai.agreement import Comparison
from ledger.pairing import Pair

if TYPE_CHECKING:
    from ai.output import OutputSchema
    from ai.routing import Climbed, Ladder, Said
    from ledger.contract import Claim

COMPARED = "shadow"
"""Why the next model is asked although nobody needs its answer."""


def comparison_of(ladder: Ladder, output: OutputSchema) -> Comparison:
    """
    Return what can be compared of the answers *ladder* gives.
    """
    return Comparison(output=output, scores=ladder.shadow.scores if ladder.shadow else ())


def of_both(claim: Claim, ladder: Ladder, climbed: Climbed, output: OutputSchema) -> Pair | None:
    """
    Return the pair of an ask whose first model was not sure enough: both answers are paid for anyway.

    Only where used answers are compared as well: alone, those that were not used would say nothing of the others.
    """
    if ladder.shadow is None or claim.generation or len(climbed.said) < 2:
        return None
    small, large = climbed.said[:2]
    comparison = comparison_of(ladder, output)
    if small is None or large is None or not comparison.fields:
        return None
    return pair_of(ladder, comparison, small, large, used=False)


def pair_of(ladder: Ladder, comparison: Comparison, small: Said, large: Said, *, used: bool) -> Pair:
    """
    Return what the first two models of *ladder*, which has a shadow, said; *used* is whether the first was believed.
    """
    assert ladder.shadow is not None
    return Pair(
        route=ladder.shadow.route,
        small=ladder.models[0],
        large=ladder.models[1],
        kept=used,
        share=ladder.shadow.share,
        agree=comparison.agree(small.value, large.value),
        scores=comparison.scores_of(small.value),
        small_cost=small.cost,
        large_cost=large.cost,
    )
