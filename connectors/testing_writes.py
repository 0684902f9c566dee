"""
What every connector does when it writes.
"""

from __future__ import annotations

from typing import Any

import pytest

from connectors.bench import OTHER_KEY, Bench, OnBench
from penstock import errors
from penstock.errors import UnknownOutcome


class WritesContract(OnBench):
    """
    A write takes effect once, says what became of it, and is recognised when it comes back.
    """

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"kind": "status", "status": 401}, errors.AuthFailed),
            ({"kind": "status", "status": 404}, errors.NotFound),
            ({"kind": "status", "status": 409}, errors.Conflict),
            ({"kind": "status", "status": 422}, errors.Rejected),
            ({"kind": "status", "status": 500}, errors.UnknownOutcome),
            ({"kind": "status", "status": 503}, errors.Unavailable),
            ({"kind": "drop-before"}, errors.UnknownOutcome),
            ({"kind": "drop-after"}, errors.UnknownOutcome),
            ({"kind": "garbage"}, errors.UnknownOutcome),
            ({"kind": "hang", "seconds": 2}, errors.UnknownOutcome),
        ],
    )
    async def test_failing_writes(self, bench: Bench, fault: dict[str, Any], error: type[Exception]) -> None:
        """Each way a write can fail has its error, and is not tried again, also on a used connection."""
        record = self.record(bench.double, "text")
        await bench.connector.health(bench.call())
        action = self.text_action(bench)
        await bench.fault(**fault)
        with pytest.raises(error):
            await action.write(record, {"text": "hello"}, action.modes[0], bench.call(timeout=1.0))

        assert len([call for call in bench.double.calls if call["method"] != "GET"]) <= 1

    async def test_a_rotation(self) -> None:
        """While the system does not know the new credential yet, the one before is tried at once: one effect."""
        async with self.benched(NEWER="not-known-yet") as bench:
            record = self.record(bench.double, "text")
            await self.write(bench, record)
            first, *others = bench.double.calls

            assert first["status"] == 401
            assert not [call for call in others if call["status"] == 401], "it is remembered"
            assert len(self.written(bench.double, record)) == 1

    @pytest.mark.parametrize(("header", "low", "high"), [("7", 7, 7), ("date:9", 7, 9), (None, None, None)])
    async def test_retry_after(self, bench: Bench, header: str | None, low: float | None, high: float | None) -> None:
        """A wait asked for in seconds or as a date is passed on; none is none."""
        record = self.record(bench.double, "text")
        await bench.fault(kind="status", status=429, retry_after=header)
        with pytest.raises(errors.Unavailable) as raised:
            await self.write(bench, record)
        asked = raised.value.retry_after

        assert asked is None if low is None or high is None else asked is not None and low <= asked <= high

    async def test_a_write_is_found_again(self, bench: Bench) -> None:
        """`find` returns our write by its key, and None for a key that wrote nothing."""
        record = self.record(bench.double, "text")
        action = self.text_action(bench)
        if action.find is None:
            pytest.skip(f"{self.name}.{self.action} is not read back")
        wrote = await self.write(bench, record)
        found = await action.find(record, action.modes[0], bench.call())

        assert await action.find(record, action.modes[0], bench.call(OTHER_KEY)) is None
        assert found is not None
        assert (True, wrote.remote_id) == (found.already, found.remote_id)

    async def test_a_lost_answer_leaves_one_effect(self, bench: Bench) -> None:
        """When the answer to a write is lost, looking first leaves one effect."""
        record = self.record(bench.double, "text")
        action = self.text_action(bench)
        await bench.fault(kind="drop-after", match="^(PUT|POST|PATCH) ")
        with pytest.raises(UnknownOutcome):
            await self.write(bench, record)
        found = await action.find(record, action.modes[0], bench.call()) if action.find else None
        if found is None:
            await self.write(bench, record)

        assert len(self.written(bench.double, record)) == 1

    async def test_a_marker_by_somebody_else_is_not_ours(self, bench: Bench) -> None:
        """Text of another account that carries our marker is not taken for our write."""
        action = self.text_action(bench)
        if action.find is None:
            pytest.skip(f"{self.name}.{self.action} is not read back")
        source = self.record(bench.double, "text")
        await self.write(bench, source)
        copied = self.written(bench.double, source)[0]
        record = self.record(bench.double, "text")
        await bench.connector.health(bench.call())
        self.comment_by_somebody(bench.double, record, copied)

        assert await action.find(record, action.modes[0], bench.call()) is None

    async def test_own_writes_are_recognised(self, bench: Bench) -> None:
        """What the system delivers about our write is our own; what a person did is not."""
        record = self.record(bench.double, "text")
        async with self.collecting(bench) as deliveries:
            await self.write(bench, record)
            await bench.double.hooks.settled()
            ours = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]
            deliveries.clear()
            self.comment_by_somebody(bench.double, record, "thanks")
            await bench.double.hooks.settled()
            theirs = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

        assert ours
        assert theirs
        assert all(bench.connector.own(event) for event in ours), "by marker, before we know who we are"
        assert not [event for event in theirs if bench.connector.own(event)]
        assert {event.subject for event in (*ours, *theirs)} == {record}
        await bench.connector.health(bench.call())
        assert all(str(bench.connector.own(event)).startswith("actor=") for event in ours)
