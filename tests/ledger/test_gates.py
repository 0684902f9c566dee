"""
Gates: runs wait while a system is down, one probe at a time looks whether it is back.
"""

from __future__ import annotations

import pytest

from ledger.testing import beside, bury

BODY = b'{"specversion":"1.0"}'
GATE = "connection:desk"


@pytest.fixture
async def waiting(book, site, make):
    """Five runs of five lanes at a shut gate whose probe is due in 60 s."""
    for n in range(5):
        claim = await site.claim(book, make(str(n), lane=f"k{n}"))
        await book.wait(claim, "outage", BODY, why="503", gate=GATE)
    await book.shut(GATE, "503", probe_at=site.clock.now_ms() + 60_000)
    return [make(str(n)).run for n in range(5)]


async def test_nothing_passes_a_shut_gate(book, site, waiting):
    """Runs at a shut gate wait until its probe is due."""
    assert await book.pick_up(["p"], 10) == []
    assert await book.next_due(["p"]) == site.clock.now_ms() + 60_000
    (gate,) = await book.gates()
    assert (gate.gate, gate.state, gate.reason) == (GATE, "shut", "503")


async def test_one_probe_goes_through(book, site, waiting):
    """When its time has come, the oldest run at the gate is its only probe."""
    await site.clock.advance(60)
    (probe,) = await book.pick_up(["p"], 10)

    assert (probe.claim.run, probe.gate, probe.probe) == (waiting[0], GATE, True)
    assert await book.pick_up(["p"], 10) == []
    assert [gate.state for gate in await book.gates()] == ["probing"]


async def test_a_reopened_gate_lets_the_oldest_through_first(book, site, waiting):
    """After a probe got through, runs come oldest first, as many as there is room for."""
    await site.clock.advance(60)
    (probe,) = await book.pick_up(["p"], 10)
    await book.reopen(GATE)
    await book.finish(probe.claim, "delivered")
    first = await book.pick_up(["p"], 2)
    rest = await book.pick_up(["p"], 10)

    assert [one.claim.run for one in first] == waiting[1:3]
    assert [one.claim.run for one in rest] == waiting[3:]
    assert [one.gate for one in rest] == [GATE, GATE]
    assert not any(one.probe for one in first + rest)
    assert await book.gates() == []


async def test_a_failed_probe_puts_the_next_one_off(book, site, waiting):
    """A probe that meets the outage again waits again, in its old place."""
    await site.clock.advance(60)
    (probe,) = await book.pick_up(["p"], 10)
    await book.shut(GATE, "still 503", probe_at=site.clock.now_ms() + 120_000)
    await book.wait(probe.claim, "outage", BODY, why="503", gate=GATE)

    assert await book.pick_up(["p"], 10) == []
    assert await book.next_due(["p"]) == site.clock.now_ms() + 120_000
    await site.clock.advance(120)
    assert [one.claim.run for one in await book.pick_up(["p"], 10)] == waiting[:1]


async def test_a_gate_tells_since_when_it_is_shut(book, site, waiting):
    """Failed probes do not make an outage look younger; a new outage has a new beginning."""
    start = site.clock.now_ms()
    await site.clock.advance(60)
    await book.shut(GATE, "still 503", probe_at=0)
    assert [gate.since for gate in await book.gates()] == [start]
    await book.reopen(GATE)
    await site.clock.advance(60)
    await book.shut(GATE, "503 again", probe_at=0)

    assert [gate.since for gate in await book.gates()] == [start + 120_000]


async def test_a_refusal_is_announced_once_until_the_gate_opens(book, site):
    """An outage is not announced; a refusal is, with its reason, and again after the gate was open."""

    async def announced():
        return [(one.id, one.body) for one in await book.take_parcels(["refused"], 10, hold=60)]

    await book.shut(GATE, "503", probe_at=0)
    assert await announced() == []
    await book.shut(GATE, "401", probe_at=0, refused=True)
    await site.clock.advance(30)
    await book.shut(GATE, "still 401", probe_at=0, refused=True)
    ((first, body),) = await announced()
    await book.parcel_sent(first)
    assert (b'"gate":"connection:desk"' in body, b'"reason":"401"' in body) == (True, True)

    await book.reopen(GATE)
    await site.clock.advance(30)
    await book.shut(GATE, "401", probe_at=0, refused=True)
    ((second, _),) = await announced()
    assert second != first


async def test_a_probe_that_only_waits_again_is_not_sent_at_once(book, site, waiting):
    """A probe that came back to its gate without a word of the engine rests a little."""
    await site.clock.advance(60)
    (probe,) = await book.pick_up(["p"], 10)
    await book.wait(probe.claim, "outage", BODY, why="503", gate=GATE)

    assert await book.pick_up(["p"], 10) == []
    assert await book.next_due(["p"]) == site.clock.now_ms() + 5_000


async def test_a_probe_that_says_nothing_leaves_the_gate_shut(book, site, waiting):
    """A probe that ends for a reason of its own makes room for the next probe."""
    await site.clock.advance(60)
    (probe,) = await book.pick_up(["p"], 10)
    await book.finish(probe.claim, "dead", why="its own fault")
    (second,) = await book.pick_up(["p"], 10)

    assert (second.claim.run, second.probe) == (waiting[1], True)


async def test_a_probe_that_never_comes_back_is_given_up(book, site, waiting):
    """A gate does not stay probing for ever."""
    await site.clock.advance(60)
    await book.pick_up(["p"], 10)
    assert await book.next_due(["p"]) == site.clock.now_ms() + 300_000
    await site.clock.advance(300)
    (second,) = await book.pick_up(["p"], 10)

    assert (second.claim.run, second.probe) == (waiting[1], True)


async def test_a_dead_workers_probe_is_picked_up(book, site, waiting):
    """The run that was a probe goes on under another worker."""
    await site.clock.advance(60)
    await book.pick_up(["p"], 10)
    successor = await beside(book)
    await bury(book)

    (taken,) = await successor.pick_up(["p"], 10)
    assert taken.claim.run == waiting[0]


async def test_a_gate_never_shut_is_open(book, site, make):
    """Waiting at a gate nobody shut is waiting for the next pick-up."""
    claim = await site.claim(book, make())
    await book.wait(claim, "outage", BODY, why="503", gate="model:small")

    assert await book.next_due(["p"]) == site.clock.now_ms()
    assert len(await book.pick_up(["p"], 10)) == 1


async def test_a_gate_holds_other_pipelines_too(book, site, make, waiting):
    """One gate has one probe, whichever pipeline it comes from; each sees its own runs only."""
    claim = await site.claim(book, make("q", pipeline="q"))
    await book.wait(claim, "outage", BODY, why="503", gate=GATE)
    await site.clock.advance(60)

    (probe,) = await book.pick_up(["q"], 10)
    assert (probe.claim.pipeline, probe.probe) == ("q", True)
    assert await book.pick_up(["p", "q"], 10) == []


async def test_no_room_means_no_probe(book, site, waiting):
    """Asking for nothing claims nothing."""
    await site.clock.advance(60)

    assert await book.pick_up(["p"], 0) == []
    assert len(await book.pick_up(["p"], 1)) == 1


# ---- pauses --------------------------------------------------------------------------------------


async def test_nothing_of_a_paused_pipeline_is_picked_up(book, site, make):
    """
    Whatever its runs wait for, they wait; those of other pipelines do not. Resumed, the oldest goes first.
    """
    for number in range(3):
        await book.admit(make(str(number), lane=str(number)), BODY, reason="pause", gate="pipeline:p")
    await book.admit(make("due", lane="due"), BODY, reason="retry", due_at=site.clock.now_ms())
    await book.admit(make("other", pipeline="q"), BODY, reason="retry", due_at=site.clock.now_ms())
    await book.pause("p", reason="mending the desk")

    assert [make("other", pipeline="q").run] == [one.claim.run for one in await book.pick_up(["p", "q"], 10)]
    assert await book.next_due(["p", "q"]) is None
    assert ["p"] == [pause.pipeline for pause in await book.pauses()]
    assert await book.resume("p")
    assert not await book.resume("p")
    picked = await book.pick_up(["p", "q"], 10)
    assert [make(name, lane=name).run for name in ("0", "1", "2", "due")] == [one.claim.run for one in picked]
    assert not any(one.probe for one in picked)


async def test_a_pause_ends_by_itself_at_its_time(book, site, make):
    """
    Until then nobody probes it; then everything goes on, and the pick-up knows when to look.
    """
    await book.admit(make("1"), BODY, reason="pause", gate="pipeline:p")
    until = site.clock.now_ms() + 60_000
    await book.pause("p", reason="an hour", until=until)
    await site.clock.advance(59)

    assert [] == await book.pick_up(["p"], 10)
    assert until == await book.next_due(["p"])
    await site.clock.advance(1)
    assert [] == await book.pauses()
    (picked,) = await book.pick_up(["p"], 10)
    assert not picked.probe


async def test_a_dead_workers_run_waits_for_the_pause_too(book, make):
    """
    What another worker left is started by nobody while its pipeline is paused.
    """
    claimed = await book.claim(make("1"))
    await book.admit(make("1"), BODY, reason="behind")
    await book.give_up(claimed)
    await book.pause("p", reason="no")

    assert [] == await book.pick_up(["p"], 10)
    await book.resume("p")
    assert 1 == len(await book.pick_up(["p"], 10))


async def test_nobody_gives_up_what_is_paused(book, site, make):
    """
    A run at the gate of an outage is not ended as too late while its pipeline is paused.
    """
    claim = await site.claim(book, make("1"))
    await book.shut("connection:desk", "down", probe_at=site.clock.now_ms() + 10_000_000)
    await book.wait(claim, "outage", BODY, why="down", gate="connection:desk")
    await book.pause("p", reason="no")
    await site.clock.advance(1000)
    late = {"began_before": site.clock.now_ms(), "most": 10}

    assert [] == await book.pick_up_late("p", **late)
    await book.resume("p")
    assert 1 == len(await book.pick_up_late("p", **late))
