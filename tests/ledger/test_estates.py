"""
What a pipeline leaves that is not declared any more, or has another name now.
"""

from __future__ import annotations

import pytest

from ledger import Known
from ledger.testing import beside, bury
from penstock.errors import Fenced, Invalid

BODY = b'{"specversion":"1.0"}'


async def left(book, site, make):
    """
    Leave a run of each state that is not final, one final, and one that waits behind another.
    """
    for number, state in enumerate(("retry", "aside", "final")):
        claim = await site.claim(book, make(state, lane=str(number)))
        if state == "retry":
            await book.wait(claim, "retry", BODY, why="later", due_at=site.clock.now_ms() + 9_999_999)
            await book.admit(make("behind", lane="0"), BODY, reason="behind")
        elif state == "aside":
            await book.aside(claim, "parked", BODY, why="unknown")
        else:
            await book.finish(claim, "delivered", body=BODY)
    await book.admit(make("paused", lane="3"), BODY, reason="pause", gate="pipeline:p")
    await book.pause("p", reason="no")


async def test_a_retired_pipeline_has_no_open_runs(book, site, make):
    """
    Whatever its runs waited for, they are discarded, and who did it is said; what was final stays.
    """
    await left(book, site, make)

    assert 4 == await book.retire("p", person="ana")
    assert {("p", "discarded"): 4, ("p", "delivered"): 1} == await book.counts()
    assert "ana" in (await book.detail(make("retry", lane="0").run)).run.error
    assert 0 == await book.retire("p", person="ana")


async def test_what_a_live_hub_runs_is_not_discarded(book, site, make):
    """
    Its claim stays good; what a dead one left is discarded.
    """
    second = await beside(book)
    claim = await second.claim(make("1"))

    assert 0 == await book.retire("p", person="ana")
    await bury(second)
    assert 1 == await book.retire("p", person="ana")
    with pytest.raises(Fenced):
        await second.finish(claim, "delivered")


async def test_an_heir_takes_everything_over(book, site, make):
    """
    Runs, their order, positions and the pause go to the new name; an old event delivered again is recognised.
    """
    await left(book, site, make)
    await book.keep_positions("p", "events.desk", {0: 7, 1: 9})

    assert 5 == await book.adopt("p", "q")
    assert {"q"} == {name for name, _ in await book.counts()}
    assert {0: 7, 1: 9} == await book.positions("q", "events.desk")
    assert ["q"] == [pause.pipeline for pause in await book.pauses()]
    again = await book.claim(make("final", lane="2", pipeline="q", identity="p"))
    assert isinstance(again, Known)
    assert "delivered" == again.verdict
    await book.resume("q")
    (picked,) = await book.pick_up(["q"], 10)
    assert make("paused", lane="3").run == picked.claim.run
    await book.finish(picked.claim, "delivered")
    assert 0 == await book.adopt("p", "q")


async def test_two_pipelines_with_runs_in_one_lane_are_not_joined(book, site, make):
    """
    Their orders cannot be merged: it is refused, and says what to do.
    """
    await site.claim(book, make("1", pipeline="p"))
    await site.claim(book, make("1", pipeline="q"))

    with pytest.raises(Invalid, match="stop the hubs that still run p"):
        await book.adopt("p", "q")
