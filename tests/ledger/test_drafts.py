"""
Drafts: what a person said first holds, whenever it comes, and the run goes on.
"""

from __future__ import annotations

import asyncio

import pytest

from ledger.returning import Return
from ledger.testing import beside
from tests.ledger.conftest import new

BODY = b'{"specversion":"1.0"}'
KEY = "k" * 64


@pytest.fixture
def drafted(book, site, make):
    """Let a run put a draft before people; it stands aside unless told otherwise."""

    async def drafting(number="1", *, key=KEY, lasts=3_600_000, aside=True):
        claim = await site.claim(book, make(number, lane=number))
        expires = site.clock.now_ms() + lasts
        await book.put_draft(claim, "chat.approval", key, record="35", args={"text": "Shall I?"}, expires_at=expires)
        if aside:
            await book.aside(claim, "approval", BODY, why="waits")
        return claim

    return drafting


async def state(book, claim):
    detail = await book.detail(claim.run)
    return detail.run.state, detail.run.reason


async def test_a_draft_is_kept(book, drafted):
    """What was put before people is there, once."""
    claim = await drafted()
    await book.put_draft(claim, "chat.approval", KEY, record="36", args={"text": "Other"}, expires_at=1)
    found = await book.draft(KEY)

    assert (found.run, found.step, found.record, found.args) == (claim.run, "chat.approval", "35", {"text": "Shall I?"})
    assert (found.choice, found.person) == (None, None)
    assert await book.drafts(claim.run) == [found]
    assert await book.draft("another") is None


@pytest.mark.parametrize(("choice", "text"), [("approve", None), ("approve", "So."), ("discard", None)])
async def test_a_decision_brings_the_run_back(book, site, drafted, choice, text):
    """It waits, due now, and whoever picks it up finds what was said and by whom."""
    claim = await drafted()
    taken = await book.decide_draft(KEY, choice, person="U1", text=text)
    found = await book.draft(KEY)
    (picked,) = await book.pick_up([claim.pipeline], 10)

    assert taken == "taken"
    assert (found.choice, found.text, found.person, found.decided_at) == (choice, text, "U1", site.clock.now_ms())
    assert picked.claim.run == claim.run
    assert picked.body == BODY
    assert not picked.claim.overtakable, "a person wants it, whatever came later"
    detail = await book.detail(claim.run)
    assert [(one.what, one.person) for one in detail.decisions] == [
        ({"approve": "approved", "discard": "discarded"}[choice], "U1")
    ]


async def test_the_first_decision_holds(book, drafted):
    """A second one, and the same one again, change nothing."""
    await drafted()
    assert await book.decide_draft(KEY, "approve", person="U1") == "taken"
    again = await book.decide_draft(KEY, "discard", person="U2"), await book.decide_draft(KEY, "approve", person="U1")
    found = await book.draft(KEY)

    assert again == ("late", "late")
    assert (found.choice, found.person) == ("approve", "U1")


async def test_a_decision_before_the_run_stands_aside(book, drafted):
    """It is kept, and the run does not stand aside but goes on."""
    claim = await drafted(aside=False)
    assert await book.decide_draft(KEY, "approve", person="U1") == "taken"
    assert await state(book, claim) == ("running", None)
    await book.aside(claim, "approval", BODY, why="waits")
    (picked,) = await book.pick_up([claim.pipeline], 10)

    assert picked.claim.run == claim.run


async def test_what_was_put_before_people_can_be_read(book, site, drafted):
    """The run tells the draft and what became of it, also of one decided on before the run stood aside."""
    claim = await drafted(aside=False)
    (open_one,) = (await book.detail(claim.run)).drafts
    await book.decide_draft(KEY, "approve", person="U1", text="So.")
    (decided,) = (await book.detail(claim.run)).drafts

    assert (open_one.step, open_one.record, open_one.args) == ("chat.approval", "35", {"text": "Shall I?"})
    assert (open_one.choice, open_one.expires_at) == (None, open_one.at + 3_600_000)
    assert (decided.choice, decided.text, decided.person) == ("approve", "So.", "U1")
    assert decided.decided_at == site.clock.now_ms()


@pytest.mark.parametrize(
    ("verdict", "taken", "kept"),
    # what is dead may be replayed, and is not put before people again then
    [("superseded", "gone", None), ("discarded", "gone", None), ("dead", "taken", "approve")],
)
async def test_the_run_has_ended(book, drafted, verdict, taken, kept):
    """Nothing is kept of a decision that nothing can come of."""
    claim = await drafted(aside=False)
    await book.finish(claim, verdict, body=BODY)

    assert await book.decide_draft(KEY, "approve", person="U1") == taken
    assert (await book.draft(KEY)).choice == kept


async def test_the_run_is_made_again(book, drafted):
    """A draft of the time before decides nothing for the new one."""
    claim = await drafted(aside=False)
    await book.finish(claim, "delivered", body=BODY)
    seq = (await book.detail(claim.run)).run.seq
    await book.replay([Return(run=claim.run, seq=seq)], person="ops", again=True)

    assert await book.decide_draft(KEY, "approve", person="U1") == "gone"


async def test_nobody_knows_such_a_draft(book):
    """A button of another hub decides nothing here."""
    assert await book.decide_draft("other", "approve", person="U1") == "unknown"


async def test_nobody_said_anything_in_time(book, site, drafted):
    """The run comes back to end; who is late is told so, also before anybody looked."""
    claim = await drafted(lasts=1_000)
    assert await book.expire_drafts() == 0
    await site.clock.advance(1)
    assert await book.decide_draft(KEY, "approve", person="U1") == "late"
    other = await beside(book)
    ended = await book.expire_drafts(), await other.expire_drafts()
    (picked,) = await book.pick_up([claim.pipeline], 10)

    assert ended == (1, 0)
    assert picked.claim.run == claim.run
    assert (await book.draft(KEY)).choice == "expired"
    assert await book.decide_draft(KEY, "approve", person="U1") == "late"


async def test_a_draft_expires_while_its_run_goes_aside(book, site, drafted):
    """Whoever comes first, the run goes on: it is never left standing with a draft nobody can decide on."""
    other = await beside(book)
    claims = [await drafted(f"{number}", key=f"{number}" * 64, lasts=1_000, aside=False) for number in range(8)]
    await site.clock.advance(1)
    stepping_aside = [book.aside(claim, "approval", BODY, why="waits") for claim in claims]
    await asyncio.gather(*stepping_aside[:4], other.expire_drafts(), *stepping_aside[4:])

    assert {await state(book, claim) for claim in claims} == {("waiting", "decided")}


async def test_a_lane_goes_on_meanwhile(book, site, drafted):
    """A later event of the lane runs while a draft waits."""
    await drafted("1")
    later = await site.claim(book, new("2", lane="1"))

    assert later.lane == "1"


async def test_drafts_are_forgotten_with_their_run(book, site, drafted):
    """When the details of a run go, so does what was put before people."""
    claim = await drafted(aside=False)
    await book.finish(claim, "delivered")
    await site.clock.advance(40 * 86_400)
    await book.prune()

    assert await book.drafts(claim.run) == []
