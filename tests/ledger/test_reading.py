"""
What people find in a ledger, and what it forgets.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import ledger
from ledger import Cap, RunQuery
from penstock.clock import ManualClock
from penstock.errors import Invalid

BODY = b'{"specversion":"1.0"}'
DAY = 86_400
CAP = Cap(scope="hub", period="-", limit=99)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a ledger, in a folder that does not exist yet."""
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that tests move."""
    return ManualClock()


async def test_details_go_first_and_identities_much_later(path, clock, make, auditor):
    """P17: a final run is known for 400 days; what is not final is never forgotten."""
    book = await ledger.open(path, clock=clock, keep=30 * DAY)
    for n in range(300):
        await book.conclude(make(str(n)), "filtered", None, body=BODY)
    old = await book.claim(make("old", lane="old"))
    await book.wait(old, "retry", BODY, why="x")
    await clock.advance(29 * DAY)
    assert await book.prune() == 0
    await clock.advance(2 * DAY)
    assert await book.prune() == 300
    await book.store.read(auditor)

    assert await book.counts() == {("p", "waiting"): 1}
    assert (await book.claim(make("7"))).verdict == "filtered"
    assert (await book.recognise([make("7").run]))[make("7").run].state == "final"
    await book.conclude(make("7"), "stale", None)
    await book.admit(make("7"), BODY, reason="behind")
    assert await book.horizon() == 0
    await clock.advance(380 * DAY)
    await book.prune()
    assert await book.horizon() == clock.now_ms() - 400 * DAY * 1000
    assert await book.recognise([make("7").run, old.run]) == await book.recognise([old.run])
    await book.close()


async def test_what_was_spent_outlives_its_details(path, clock, make, cost):
    """Forgetting a run does not give its money back."""
    book = await ledger.open(path, clock=clock, keep=0)
    claim = await book.claim(make())
    async with (
        book.step(claim, "ask", kind="ask", action_class="ai", timeout=1) as step,
        step.call(amount=9, caps=[CAP]) as slot,
    ):
        await slot.settle(cost(slot.call, 5))
        await step.done({})
    await book.finish(claim, "delivered")
    await clock.advance(1)

    assert await book.prune() == 1
    assert await book.spent("hub", "-") == (5, 0)
    assert await book.detail(claim.run) is None
    await book.close()


async def test_runs_are_found_by_everything_people_ask_for(path, clock, make):
    """Runs are listed newest first, narrowed by each field."""
    book = await ledger.open(path, clock=clock)
    start = clock.now_ms()
    for n in range(6):
        await book.conclude(
            make(str(n), pipeline="pq"[n % 2], subject=str(n % 3)), "dead" if n == 4 else "filtered", None
        )
        await clock.advance(1)
    await book.admit(make("w"), BODY, reason="behind")

    async def ids(**query):
        return [run.event_id for run in await book.runs(RunQuery(**query))]

    assert await ids() == ["w", "5", "4", "3", "2", "1", "0"]
    assert await ids(limit=2) == ["w", "5"]
    assert await ids(pipeline="q") == ["5", "3", "1"]
    assert await ids(subject="1") == ["4", "1"]
    assert await ids(verdict="dead") == ["4"]
    assert await ids(state="waiting") == ["w"]
    assert await ids(since=start + 2000, until=start + 4000) == ["3", "2"]
    assert await ids(pipeline="p", verdict="dead", subject="1", since=start) == ["4"]
    assert await book.counts(["p"]) == {("p", "filtered"): 2, ("p", "dead"): 1, ("p", "waiting"): 1}
    await book.close()


async def test_a_run_is_found_by_the_beginning_of_its_id(path, clock, make):
    """At least six digits, unambiguous; anything else says how to ask."""
    book = await ledger.open(path, clock=clock)
    for n in range(40):
        await book.conclude(make(str(n)), "filtered", None)
    run = make("7").run

    for digits in (6, 7, 31, 32):
        assert (await book.detail(run[:digits].upper())).run.run == run
    assert await book.detail("f" * 32) is None
    for wrong in ("", run[:5], "xyzxyz", run + "0"):
        with pytest.raises(Invalid, match="6 to 32 hexadecimal digits"):
            await book.detail(wrong)
    twin = bytes.fromhex(run[:-1] + ("0" if run[-1] != "0" else "1"))
    await book.store.write(lambda c: c.execute("UPDATE runs SET run = ? WHERE event_id = '8'", (twin,)))
    with pytest.raises(Invalid, match="fits several runs"):
        await book.detail(run[:10])
    await book.close()


async def test_a_configuration_is_kept_once(path, clock):
    """The first text of a hash stays."""
    book = await ledger.open(path, clock=clock)
    for text in ("version: 1", "version: 2"):
        await book.remember_config("h", text)
    found = await book.store.read(lambda c: c.execute("SELECT body FROM configs").fetchall())
    await book.close()

    assert [row["body"] for row in found] == ["version: 1"]
