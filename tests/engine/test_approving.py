"""
Drafts that people approve, and placeholders: what deploys, outages and time may do to them meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from connectors.contract import Action, Approval, Call, Decision, Progress, Written
from ledger.returning import Return
from penstock.errors import AuthFailed, Unavailable
from tests.engine.conftest import Desk

DRAFT = {"to": "desk.draft", "template": "note.j2", "expires": "1h"}
SHOWING = {"to": "desk.reply", "template": "note.j2", "show_progress": True}


@dataclass
class Room(Desk):
    """
    A desk with a review room: drafts in it, what was sent, what the drafts say at last; and placeholders.
    """

    drafts: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    closed: list[str | None] = field(default_factory=list)
    placeholders: list[tuple[str, str]] = field(default_factory=list)

    async def _put(self, record: str, args: Mapping[str, Any], mode: Any, call: Call) -> Written:
        self._raise("draft")
        self.drafts.append(str(args["text"]))
        return Written(remote_id=f"d{len(self.drafts)}")

    async def _publish(self, record: str, args: Mapping[str, Any], decision: Decision, call: Call) -> Written:
        self._raise("publish")
        self.sent.append(str(args["text"]))
        return Written(remote_id=f"s{len(self.sent)}")

    async def _nothing(self, *_args: Any) -> None:
        return None

    async def _close(self, record: str, decision: Decision | None, call: Call) -> None:
        self.closed.append(decision.choice if decision else None)

    async def _show(self, record: str, call: Call) -> None:
        self._raise("show")
        self.placeholders.append(("show", record))

    async def _clear(self, record: str, call: Call) -> None:
        self.placeholders.append(("clear", record))

    @property
    def actions(self) -> Mapping[str, Action]:
        note = super().actions["note"]
        approval = Approval(publish=self._publish, find=self._nothing, close=self._close)
        progress = Progress(show=self._show, clear=self._clear)
        return {
            "note": note,
            "draft": replace(note, name="draft", write=self._put, find=self._nothing, reads=None, approval=approval),
            "reply": replace(note, name="reply", progress=progress),
        }


@pytest.fixture
def room(world: Any) -> Any:
    world.desk = Room()
    return world


async def press(world: Any, run: str, choice: Any = "approve") -> str:
    (draft,) = await world.ledger.drafts(run)
    return str(await world.ledger.decide_draft(draft.key, choice, person="ana"))


async def now(world: Any, run: str) -> Any:
    detail = await world.ledger.detail(run)
    return (detail.run.state, detail.run.reason or detail.run.verdict)


async def test_a_deploy_while_a_draft_waits(room: Any, ticket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept answer does not fit the new schema: nobody is asked again beside what people decide."""
    waiting = await room.run(room.runner(deliver=[DRAFT]), ticket())

    async def misfit(*_args: Any, **_named: Any) -> None:
        return None

    monkeypatch.setattr(room.model, "recall", misfit)
    await press(room, waiting.run.run)
    await room.resume(room.runner(deliver=[DRAFT]))

    assert (room.model.asked, room.desk.sent) == (1, ["Parcel lost."])
    assert await now(room, waiting.run.run) == ("final", "delivered")


@pytest.mark.parametrize("choice", ["approve", "discard"])
async def test_a_delivery_that_was_renamed(room: Any, ticket: Any, choice: str) -> None:
    """What was approved is not left out in silence: the run dies, and its replay under the old name sends it."""
    runner, renamed = room.runner(deliver=[DRAFT]), room.runner(deliver=[{"to": "desk.note", "template": "note.j2"}])
    waiting = await room.run(runner, ticket())
    await press(room, waiting.run.run, choice)
    await room.resume(renamed)
    detail = await room.ledger.detail(waiting.run.run)
    if choice == "discard":
        assert (detail.run.verdict, room.desk.sent) == ("delivered", [])
        return

    assert (detail.run.verdict, room.desk.notes, room.desk.sent) == ("dead", [], [])
    assert "desk.draft: the draft was approved, and the pipeline has no such delivery any more" in detail.run.error
    assert await room.ledger.replay([Return(run=detail.run.run, seq=detail.run.seq)], person="ana", again=False)
    await room.resume(runner)
    assert room.desk.sent == ["Parcel lost."]


async def test_the_time_of_a_draft_begins_when_it_is_shown(room: Any, ticket: Any) -> None:
    """The review room is away for hours: people have their hour all the same."""
    room.desk.trouble["draft"] = [Unavailable("down")]
    waiting = await room.run(room.runner(deliver=[DRAFT]), ticket())
    room.clock.ahead += 5 * 3600
    assert await room.ledger.expire_drafts() == 0
    await room.resume(room.runner(deliver=[DRAFT]))
    room.clock.ahead += 3000
    assert await room.ledger.expire_drafts() == 0
    room.clock.ahead += 1000
    assert await room.ledger.expire_drafts() == 1
    await room.resume(room.runner(deliver=[DRAFT]))

    assert await now(room, waiting.run.run) == ("final", "discarded")
    assert (room.desk.drafts, room.desk.closed) == (["Parcel lost."], [None])


async def test_a_draft_that_is_over_is_not_shown(room: Any, ticket: Any) -> None:
    """Nobody could see it for too long: it is discarded, and no dead buttons appear when the room is back."""
    room.desk.trouble["draft"] = [Unavailable("down")]
    waiting = await room.run(room.runner(deliver=[DRAFT]), ticket())
    room.clock.ahead += 26 * 3600
    assert await room.ledger.expire_drafts() == 1
    await room.resume(room.runner(deliver=[DRAFT], on_error__give_up_after="3d"))

    assert room.desk.drafts == []
    assert await now(room, waiting.run.run) == ("final", "discarded")


async def test_an_approved_draft_waits_at_a_shut_gate(room: Any, ticket: Any) -> None:
    """A system that refuses us is asked by one probe, not by everything that was approved."""
    waiting = await room.run(room.runner(deliver=[DRAFT]), ticket())
    await room.gates.shut("connection:desk", "401", auth=True)
    await press(room, waiting.run.run)
    picked = await room.ledger.pick_up(["p"], 10)
    event = ticket()
    await room.runner(deliver=[DRAFT]).handle(picked[0].claim, event, event.to_json())
    assert (room.desk.sent, await now(room, waiting.run.run)) == ([], ("waiting", "outage"))
    await room.gates.worked("connection:desk")
    await room.resume(room.runner(deliver=[DRAFT]))

    assert room.desk.sent == ["Parcel lost."]


# ---- placeholders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [Unavailable("down"), ZeroDivisionError()])
async def test_nothing_depends_on_a_placeholder(room: Any, ticket: Any, trouble: Exception) -> None:
    """Whatever showing it ends with, the answer is made and written."""
    room.desk.trouble["show"] = [trouble]
    detail = await room.run(room.runner(deliver=[SHOWING]), ticket())

    assert (detail.run.verdict, len(room.desk.notes)) == ("delivered", 1)


async def test_a_placeholder_where_when_looks_at_the_burst(room: Any, ticket: Any) -> None:
    """What `when` may see, it sees here, too."""
    deliver = [SHOWING | {"when": "event.burst.count > 0 if event.burst else true"}]
    detail = await room.run(room.runner(deliver=deliver), ticket())

    assert detail.run.verdict == "delivered", detail.run.error


async def test_no_placeholder_is_left_by_a_when_that_fails(room: Any, ticket: Any) -> None:
    """The delivery itself says what is wrong; the run ends once, as dead."""
    deliver = [SHOWING | {"when": "event.data.nothing == 1"}]
    detail = await room.run(room.runner(deliver=deliver), ticket())

    assert detail.run.verdict == "dead"
    assert "event.data.nothing" in detail.run.error
    assert room.desk.placeholders == []


async def test_a_refused_credential_is_not_tried_for_placeholders(room: Any, ticket: Any) -> None:
    """While the gate is shut, nothing is shown."""
    await room.gates.shut("connection:desk", "401", auth=True)
    await room.run(room.runner(deliver=[SHOWING]), ticket())

    assert room.desk.placeholders == []


async def test_a_run_that_is_given_up_leaves_no_placeholder(room: Any, ticket: Any) -> None:
    """It waited too long at a gate."""
    runner = room.runner(deliver=[SHOWING])
    room.desk.trouble["write"] = [AuthFailed("401")]
    waiting = await room.run(runner, ticket())
    await room.gates.worked("connection:desk")
    (picked,) = await room.ledger.pick_up(["p"], 10)
    await runner.give_up(picked.claim, ticket().to_json(), "connection:desk")

    assert await now(room, waiting.run.run) == ("final", "dead")
    assert room.desk.placeholders == [("show", "35"), ("clear", "35")]
