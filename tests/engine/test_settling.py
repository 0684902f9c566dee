"""
Bursts through the real executor and runner: what joins, what runs, what is lost by nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.echoes import value_hash
from ledger.contract import WriteIntent, run_id
from ledger.testing import beside, bury
from penstock.clock import utc
from tests.engine.hall import Hall

SETTLE = "20s"
BURST = "{{ event.burst.count }} {{ event.burst.changed | join('+') }}"


def settling(hall: Hall, **changes: Any) -> Any:
    """
    Return a runner whose note says what its burst was.
    """
    (hall.world.root / "templates/note.j2").write_text(BURST)
    return hall.runner(**({"trigger__settle": SETTLE} | changes))


def edited(ticket: Any, number: str, *changed: str, **data: Any) -> Any:
    known = {"id": "35", "org_id": "9", "status": "open", "priority": "high"}
    return ticket(number, type="ticket.updated", data=known | {"changed": list(changed)} | data)


def notes(hall: Hall) -> list[str]:
    return [text for _, _, text in hall.world.desk.notes]


async def test_a_burst_is_asked_and_written_once(hall: Hall, ticket: Any) -> None:
    """
    Three edits in half a minute: one run on the newest, which knows what all of them changed.
    """
    async with hall.working(settling(hall)):
        for number, field in (("1", "status"), ("2", "priority"), ("3", "status")):
            await hall.give(edited(ticket, number, field))
            await hall.idle()
            await hall.passes(10)
        assert hall.world.model.asked == 0
        await hall.passes(11)
        await hall.ended(_1="superseded", _2="superseded", _3="delivered")

    assert (notes(hall), hall.world.model.asked) == (["3 status+priority"], 1)


@pytest.mark.parametrize("last", ["filtered", "own", "echo", "lineage"])
async def test_p27_what_the_trigger_does_not_want_supersedes_nobody(hall: Hall, ticket: Any, last: str) -> None:
    """
    The last event of a burst does not match `where`, is our own, the echo of a write, or comes of one that the system
    changed on the way: the one before it runs.
    """
    claim = await hall.ledger.claim(hall.runner("other").offer(ticket("0")))
    write = WriteIntent(connection="desk", record="35", fields={"status": value_hash("solved")}, value_hash="v")
    how: Any = {"kind": "write", "action_class": "keyed", "timeout": 5.0}
    async with hall.ledger.step(claim, "desk.note", write=write, **how) as step:
        await step.done({"outcome": "delivered"})
    await hall.ledger.finish(claim, "delivered")
    event = {
        "filtered": edited(ticket, "2", "status", status="spam"),
        "own": edited(ticket, "2", "status").model_copy(update={"actor": "4711"}),
        "echo": edited(ticket, "2", "status", status="solved"),
        "lineage": edited(ticket, "2", "status", status="SOLVED").model_copy(update={"time": utc(hall.clock.now_ms())}),
    }[last]
    async with hall.working(settling(hall, trigger__where="event.data.status != 'spam'")):
        await hall.give(edited(ticket, "1", "priority"))
        await hall.idle()
        await hall.passes(10)
        await hall.give(event)
        await hall.idle()
        await hall.passes(11)
        await hall.ended(_1="delivered", _2="filtered" if last == "filtered" else "own-write")

    assert notes(hall) == ["1 priority"]


@pytest.mark.parametrize("settle", [None, SETTLE])
async def test_a_chain_runs_and_stops_through_the_executor(hall: Hall, ticket: Any, settle: str | None) -> None:
    """
    Our own account wrote: the pipeline that follows whoever did runs, in a burst or not; the other one does not.
    """
    claim = await hall.ledger.claim(hall.runner("other").offer(ticket("0")))
    write = WriteIntent(connection="desk", record="35", fields={}, value_hash="v")
    how: Any = {"kind": "write", "action_class": "keyed", "timeout": 5.0}
    async with hall.ledger.step(claim, "desk.note", write=write, **how) as step:
        await step.done({"outcome": "delivered"})
    await hall.ledger.finish(claim, "delivered")
    changes = {"trigger__settle": settle} if settle else {}
    follower, stranger = hall.runner(trigger__follows=["other"], **changes), hall.runner("q", **changes)
    async with hall.working(follower, stranger):
        await hall.give(ticket("1", actor="4711", time=utc(hall.clock.now_ms())))
        await hall.idle()
        await hall.passes(21)
        await hall.ended(_1="delivered")
    detail = await hall.ledger.detail(run_id("", "p", "https://desk.example", "1"))

    assert (detail.origin.run, detail.origin.depth) == (claim.run, 1)
    assert await hall.ends("q") == {"1": "own-write"}


async def test_an_event_beside_an_open_write_waits_for_that_write(hall: Hall, ticket: Any) -> None:
    """
    Nobody can tell yet whether it is an echo: it joins no burst, supersedes nobody, and is judged afterwards.
    """
    claim = await hall.ledger.claim(hall.runner("other").offer(ticket("0")))
    write = WriteIntent(connection="desk", record="35", fields={"status": value_hash("solved")}, value_hash="v")
    how: Any = {"kind": "write", "action_class": "keyed", "timeout": 5.0}
    async with hall.working(settling(hall)):
        await hall.give(edited(ticket, "1", "priority"))
        await hall.idle()
        async with hall.ledger.step(claim, "desk.note", write=write, **how) as step:
            await hall.give(edited(ticket, "2", "status", status="solved"), edited(ticket, "3", "status"))
            await hall.idle()
            assert await hall.ends() == {"1": "waiting", "2": "waiting", "3": "waiting"}
            await step.done({"outcome": "delivered"})
        await hall.passes(21)
        await hall.ended(_1="delivered", _2="own-write", _3="delivered")


async def test_p27_a_redelivered_member_does_not_put_the_end_off(hall: Hall, ticket: Any) -> None:
    """
    The bus gives a member of the burst again, at once and later: the burst ends when it would have.
    """
    first = edited(ticket, "1", "status")
    async with hall.working(settling(hall)):
        await hall.give(first, first)
        await hall.idle()
        await hall.passes(15)
        await hall.give(first)
        await hall.idle()
        await hall.passes(6)
        await hall.ended(_1="delivered")

    assert notes(hall) == ["1 status"]


async def test_a_waiting_burst_outlives_its_worker(hall: Hall, ticket: Any) -> None:
    """
    The worker is killed between two members; the next process goes on with the burst where it was.
    """
    async with hall.working(settling(hall)) as executor:
        await hall.give(edited(ticket, "1", "status"))
        await hall.idle()
        await executor._commit()
    await hall.reopen()
    async with hall.working(settling(hall)):
        await hall.give(edited(ticket, "2", "priority"))
        await hall.idle()
        await hall.passes(21)
        await hall.ended(_1="superseded", _2="delivered")

    assert notes(hall) == ["2 status+priority"]


async def test_a_member_that_was_read_and_not_committed_counts_once(hall: Hall, ticket: Any) -> None:
    """
    The worker is killed after the event joined and before its position was stored: it is read again, and known.
    """
    async with hall.working(settling(hall)):
        await hall.give(edited(ticket, "1", "status"))
        await hall.ended(_1="waiting")
    await hall.reopen()
    async with hall.working(settling(hall)):
        await hall.idle()
        await hall.passes(21)
        await hall.ended(_1="delivered")

    assert notes(hall) == ["1 status"]


async def test_a_burst_goes_on_after_a_rebalance(hall: Hall, ticket: Any) -> None:
    """
    Its partition moves to another worker between two members: one run, on the newest, by whoever picks it up.
    """
    other = await beside(hall.ledger)
    async with hall.working(settling(hall)) as executor:
        await hall.give(edited(ticket, "1", "status"))
        await hall.idle()
        await executor._commit()
    async with hall.working(settling(hall, ledger=other), ledger=other):
        await bury(hall.ledger)
        await hall.give(edited(ticket, "2", "priority"))
        await hall.idle()
        await hall.passes(21)
        await hall.ended(_1="superseded", _2="delivered")

    assert notes(hall) == ["2 status+priority"]


@pytest.mark.parametrize("settle", [None, "1s"])
async def test_a_shorter_pause_holds_for_what_waits(hall: Hall, ticket: Any, settle: str | None) -> None:
    """
    `settle` was taken out, or shortened, while a burst waits: it ends soon after the restart, nothing is lost.
    """
    async with hall.working(settling(hall, trigger__settle="1h")) as executor:
        await hall.give(edited(ticket, "1", "status"), edited(ticket, "2", "status"))
        await hall.idle()
        await executor._commit()
    async with hall.working(settling(hall, trigger__settle=settle)):
        await hall.passes(2)
        await hall.ended(_1="superseded", _2="delivered")
        await hall.give(edited(ticket, "3", "priority"))
        await hall.idle()
        await hall.passes(2)
        await hall.ended(_1="superseded", _2="delivered", _3="delivered")

    assert notes(hall) == ["2 status", "1 priority"]


async def test_five_hundred_edits_at_once_are_one_run(memory_hall: Hall, ticket: Any) -> None:
    """
    More than a lane may have in memory: all of them join, in order, and the last one runs.
    """
    async with memory_hall.working(settling(memory_hall)):
        await memory_hall.give(*(edited(ticket, str(n), "status") for n in range(500)))
        await memory_hall.passes(3)
        await memory_hall.idle()
        await memory_hall.passes(21)
        await memory_hall.until(lambda: len(memory_hall.world.desk.notes) == 1)
        detail = await memory_hall.ledger.detail(run_id("", "p", "https://desk.example", "499"))

    assert notes(memory_hall) == ["500 status"]
    assert detail is not None
    assert detail.run.verdict == "delivered"


async def test_a_burst_sees_what_it_was_in_its_context(memory_hall: Hall, ticket: Any) -> None:
    """
    A section may print `event.burst`; an event without settling stands for itself.
    """
    sections = {"burst": {"from": "event.burst"}}
    runner = settling(memory_hall, trigger__settle=None, context__sections=sections)
    async with memory_hall.working(runner):
        await memory_hall.give(edited(ticket, "1", "status"))
        await memory_hall.until(lambda: len(memory_hall.world.desk.notes) == 1)

    assert "count: 1" in memory_hall.world.model.prompts[0].user
