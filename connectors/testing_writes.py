"""
What every connector does when it writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from connectors.bench import KEY, OTHER_KEY, Bench
from connectors.contract import Decision
from connectors.testing_bench import NONE, OnBench
from connectors.testing_points import exempt, point
from connectors.testing_portrait import Fault
from penstock import errors
from penstock.errors import UnknownOutcome

REFUSED_MOST = 3  # requests with a credential that is refused
TRIES = 5  # of one write


class WritesContract(OnBench):
    """
    A write takes effect once, says what became of it, and is recognised when it comes back.
    """

    @point(10, "actions")
    async def test_failing_writes(self, bench: Bench, write_fault: Fault, each_action: str) -> None:
        """Each way a write can fail has its error, and is not tried again, also on a used connection."""
        fault, error = write_fault
        record = self.prepare(bench.double, each_action)
        await bench.connector.health(bench.call())
        action = bench.connector.actions[each_action]
        before = len(bench.writes())
        await bench.fault(**{"match": self.write_match, **fault})
        with pytest.raises(error):
            await action.write(record, self.arguments(each_action), action.modes[0], bench.call(timeout=1.0))

        assert len(bench.writes()) - before <= (REFUSED_MOST if error is errors.AuthFailed else 1)

    @point(9, "actions")
    async def test_whatever_happens_to_a_write(self, bench: Bench, hazard: Mapping[str, Any], each_action: str) -> None:
        """Tried again as the engine tries it, a write takes effect once; one that nobody can find, at most once."""
        record = self.prepare(bench.double, each_action)
        await bench.connector.health(bench.call())
        await bench.fault(**hazard, match=self.write_match)
        await self._driven(bench, each_action, record, late=hazard.get("seconds", 0.0))
        effects = self.effects(bench.double, each_action, record)

        blind = bench.connector.actions[each_action].idempotency == "blind" or each_action in self.untold
        assert effects == 1 or (effects == 0 and blind)

    @point(9, "actions")
    async def test_whatever_happens_to_an_approved_draft(
        self, bench: Bench, hazard: Mapping[str, Any], each_approval: str
    ) -> None:
        """What a person approved goes out once, too."""
        if each_approval == NONE:
            exempt("it puts no drafts before people")
        action = bench.connector.actions[each_approval]
        approval = action.approval
        assert approval is not None
        find, publish = approval.find, approval.publish
        record, args = self.prepare(bench.double, each_approval), self.arguments(each_approval)
        await action.write(record, args, action.modes[0], bench.call())
        decision = Decision(key=KEY, choice="approve", by="somebody")
        await bench.fault(**hazard, match=self.write_match)

        async def attempt() -> None:
            await publish(record, args, decision, bench.call(OTHER_KEY, timeout=self.patience))

        async def found() -> bool:
            return find is not None and await find(record, bench.call(OTHER_KEY)) is not None

        await self._tried(attempt, found, gives_up=False, late=hazard.get("seconds", 0.0))

        assert len(self.written(bench.double, record)) == 1

    @point(9, "actions")
    async def test_a_crash_after_a_write(self, bench: Bench, each_action: str) -> None:
        """A write that nobody could note down is done once, when it is tried again with its key."""
        action = bench.connector.actions[each_action]
        record = self.prepare(bench.double, each_action)
        await action.write(record, self.arguments(each_action), action.modes[0], bench.call())
        if action.idempotency != "blind":
            await self._driven(bench, each_action, record, lost=True)

        assert self.effects(bench.double, each_action, record) == 1

    @point(12, "actions")
    async def test_a_write_whose_credential_is_refused(self, bench: Bench, each_action: str) -> None:
        """A credential that is refused for good costs at most three requests, and nothing is written."""
        action = bench.connector.actions[each_action]
        record = self.prepare(bench.double, each_action)
        await self.refuse(bench)
        with pytest.raises(errors.AuthFailed):
            await action.write(record, self.arguments(each_action), action.modes[0], bench.call())

        assert 1 <= len(bench.requests()) <= REFUSED_MOST
        assert self.effects(bench.double, each_action, record) == 0

    @point(9, "text", "rotation")
    async def test_a_rotation(self) -> None:
        """While the system does not know the new credential yet, the one before is tried at once: one effect."""
        async with self.benched(NEWER="not-known-yet") as bench:
            record = self.record(bench.double, "text")
            await self.write(bench, record)

            assert bench.refused(), "the new one was tried"
            assert len(self.written(bench.double, record)) == 1

    @point(10, "actions", "retry_after")
    @pytest.mark.parametrize(("header", "low", "high"), [("7", 7, 7), ("date:9", 7, 9), (None, None, None)])
    async def test_retry_after(
        self, bench: Bench, each_action: str, header: str | None, low: float | None, high: float | None
    ) -> None:
        """A wait asked for in seconds or as a date is passed on; none is none."""
        record = self.prepare(bench.double, each_action)
        action = bench.connector.actions[each_action]
        await bench.fault(kind="status", status=429, retry_after=header)
        with pytest.raises(errors.Unavailable) as raised:
            await action.write(record, self.arguments(each_action), action.modes[0], bench.call())
        asked = raised.value.retry_after

        assert asked is None if low is None or high is None else asked is not None and low <= asked <= high

    @point(9, "text", "find")
    async def test_a_write_is_found_again(self, bench: Bench) -> None:
        """`find` returns our write by its key, and None for a key that wrote nothing."""
        record = self.record(bench.double, "text")
        action = self.text_action(bench)
        assert action.find is not None
        wrote = await self.write(bench, record)
        found = await action.find(record, action.modes[0], bench.call())

        assert await action.find(record, action.modes[0], bench.call(OTHER_KEY)) is None
        assert found is not None
        assert (True, wrote.remote_id) == (found.already, found.remote_id)

    @point(9, "text")
    async def test_a_lost_answer_leaves_one_effect(self, bench: Bench) -> None:
        """When the answer to a write is lost, looking first leaves one effect."""
        record = self.record(bench.double, "text")
        action = self.text_action(bench)
        await bench.fault(kind="drop-after", match=self.write_match)
        with pytest.raises(UnknownOutcome):
            await self.write(bench, record)
        found = await action.find(record, action.modes[0], bench.call()) if action.find else None
        if found is None:
            await self.write(bench, record)

        assert len(self.written(bench.double, record)) == 1

    @point(11, "text", "find")
    async def test_a_marker_by_somebody_else_is_not_ours(self, bench: Bench) -> None:
        """Text of another account that carries our marker is not taken for our write."""
        action = self.text_action(bench)
        assert action.find is not None
        source = self.record(bench.double, "text")
        await self.write(bench, source)
        copied = self.written(bench.double, source)[0]
        record = self.record(bench.double, "text")
        await bench.connector.health(bench.call())
        self.comment_by_somebody(bench.double, record, copied)

        assert await action.find(record, action.modes[0], bench.call()) is None

    @point(11, "text", "echoes")
    async def test_own_writes_are_recognised(self, bench: Bench) -> None:
        """What the system tells of our write is our own; what a person did is not."""
        name = self.echoed or self.action
        record = self.prepare(bench.double, name)
        action = bench.connector.actions[name]

        async def somebody() -> None:
            self.comment_by_somebody(bench.double, record, "thanks")

        ours = await self.told(bench, lambda: action.write(record, self.arguments(name), action.modes[0], bench.call()))
        assert ours
        assert all(bench.connector.own(event) for event in ours), "by marker, before we know who we are"
        theirs = await self.told(bench, somebody)
        assert theirs
        assert not [event for event in theirs if bench.connector.own(event)]
        assert {event.subject for event in (*ours, *theirs)} == {record}
        await bench.connector.health(bench.call())
        assert all(bench.connector.own(event) for event in ours), "and by who we are"

    @point(11, "actions", "echoes")
    async def test_what_an_action_causes(self, bench: Bench, each_action: str) -> None:
        """What the system tells of a write is of a type the action declares, and of fields it may touch."""
        action = bench.connector.actions[each_action]
        record = self.prepare(bench.double, each_action)
        await bench.connector.health(bench.call())
        args = self.arguments(each_action)
        events = await self.told(bench, lambda: action.write(record, args, action.modes[0], bench.call()))

        assert {event.type for event in events} <= action.emits
        assert bool(events) is bool(action.emits)
        assert all(bench.connector.own(event) for event in events)
        touched = {name for event in events for name in event.data.get("changed") or ()}
        assert touched <= action.touches | set(args.get("fields") or {})

    async def _driven(self, bench: Bench, name: str, record: str, *, lost: bool = False, late: float = 0.0) -> None:
        """
        Write as the engine does: look first when an answer was lost, wait as long as was asked, give up a blind one.

        What the system does *late* seconds after it was asked has been done before the look.
        """
        action = bench.connector.actions[name]
        mode, blind = action.modes[0], action.idempotency == "blind"

        async def attempt() -> None:
            await action.write(record, self.arguments(name), mode, bench.call(timeout=self.patience))

        async def found() -> bool:
            if blind:
                raise UnknownOutcome("nobody can tell")
            return action.find is not None and await action.find(record, mode, bench.call()) is not None

        await self._tried(attempt, found, gives_up=blind or name in self.untold, lost=lost, late=late)

    async def _tried(
        self,
        attempt: Callable[[], Awaitable[None]],
        found: Callable[[], Awaitable[bool]],
        *,
        gives_up: bool,
        lost: bool = False,
        late: float,
    ) -> None:
        """
        Let *attempt* write until it is known to have, and look first with *found* when an answer was lost.

        *gives_up*: when nobody can tell, it ends.
        """
        for _ in range(TRIES):
            try:
                if lost and await found():
                    return
                await attempt()
            except errors.UnknownOutcome:
                if gives_up and lost:
                    return
                lost = True
                await asyncio.sleep(late)
            except errors.Unavailable as error:
                await asyncio.sleep(error.retry_after or 0)
            else:
                return
        pytest.fail(f"it was not written in {TRIES} tries")
