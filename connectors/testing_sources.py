"""
What every source does: it loses nothing, and what comes again has the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import pytest

from connectors.bench import Bench, pages_of, read_on
from connectors.contract import Page, Source
from connectors.testing_bench import OnBench
from connectors.testing_points import exempt, point
from connectors.testing_writes import REFUSED_MOST
from penstock.errors import AuthFailed, EdgeError
from schemas.events import Event

FEW = 5  # records
EDGES = 8  # pages after which a reading is begun anew
BREAKS = 3  # readings that may end in an error


class SourcesContract(OnBench):
    """
    A reading begins at the saved cursor again, whatever happened after that.
    """

    @point(8, "sources", "cursors")
    async def test_begins_now(self, bench: Bench, each_source: str) -> None:
        """Without a cursor a source begins at now, and says where that is."""
        source = bench.connector.sources[each_source]
        self.changed(bench.double, each_source, FEW)
        events, cursor = await read_on(source, None, bench)

        assert cursor is not None
        assert not events
        subjects = self.changed(bench.double, each_source, FEW)
        assert set(subjects) <= _subjects((await read_on(source, cursor, bench))[0])

    @point(8, "sources")
    async def test_a_crash_before_the_cursor_is_saved(self, bench: Bench, each_source: str) -> None:
        """What was published and not saved comes again with the same ids."""
        source, cursor = await self._begun(bench, each_source)
        subjects = self.changed(bench.double, each_source, FEW)
        first, _ = await read_on(source, cursor, bench, take=False)
        async with self.reborn(bench) as other:
            again, _ = await read_on(other.connector.sources[each_source], cursor, other)

        assert set(subjects) <= _subjects(first)
        assert _ids(first) == _ids(again)

    @point(8, "sources", "cursors")
    async def test_ties_at_the_edges_of_pages(self, bench: Bench, each_source: str) -> None:
        """Of many records that change in one moment none is lost, wherever a reading ends."""
        source, cursor = await self._begun(bench, each_source)
        subjects = set(self.changed(bench.double, each_source, self.ties))
        pages = [page async for page in pages_of(source, cursor, bench)]

        assert len(subjects) == self.ties
        assert subjects <= _subjects(_all(pages))
        for at in range(0, len(pages), max(1, len(pages) // EDGES)):
            kept, saved = pages[: at + 1], _saved(pages[: at + 1], cursor)
            async with self.reborn(bench) as other:
                rest, _ = await read_on(other.connector.sources[each_source], saved, other)
            assert subjects <= _subjects([*_all(kept), *rest]), f"after page {at}"

    @point(8, "sources", "cursors")
    async def test_an_outage_in_the_middle(self, bench: Bench, each_source: str) -> None:
        """A reading that breaks goes on at its last cursor, and nothing is lost."""
        source, cursor = await self._begun(bench, each_source)
        subjects = set(self.changed(bench.double, each_source, self.ties))
        await self.break_reading(bench)
        found: list[Event] = []
        broke = 0
        for _ in range(BREAKS):
            try:
                async for page in pages_of(source, cursor, bench):
                    found += page.events
                    cursor = page.cursor or cursor
            except EdgeError:
                broke += 1
            else:
                break

        assert broke
        assert subjects <= _subjects(found)

    @point(8, "sources", "late_commits")
    async def test_a_late_commit(self, bench: Bench, each_source: str) -> None:
        """A change that appears after newer ones were read is read, too."""
        source, cursor = await self._begun(bench, each_source)
        self.changed(bench.double, each_source, FEW)
        _, cursor = await read_on(source, cursor, bench)
        subject = self.late(bench.double, each_source)

        assert subject in _subjects((await read_on(source, cursor, bench))[0])

    @point(8, "sources", "expiry")
    async def test_an_expired_cursor(self, bench: Bench, each_source: str) -> None:
        """A cursor that the system does not take any more begins a full reading, not at now in silence."""
        source, cursor = await self._begun(bench, each_source)
        subjects = set(self.changed(bench.double, each_source, FEW))
        assert cursor is not None
        gone = self.expire(bench.double, each_source, cursor)
        events, cursor = await read_on(source, gone, bench)

        assert subjects <= _subjects(events)
        assert cursor not in (None, gone)
        subjects = set(self.changed(bench.double, each_source, FEW))
        assert subjects <= _subjects((await read_on(source, cursor, bench))[0])

    @point(12, "sources")
    async def test_a_source_whose_credential_is_refused(self, bench: Bench, each_source: str) -> None:
        """A credential that is refused for good costs at most three requests a reading."""
        source, cursor = await self._begun(bench, each_source)
        before = len(bench.requests())
        await self.refuse(bench)
        with pytest.raises(AuthFailed):
            await read_on(source, cursor, bench)

        assert len(bench.requests()) - before <= REFUSED_MOST

    @point(2, "deliveries", "sources", "both_ways")
    async def test_one_change_has_one_id(self, bench: Bench) -> None:
        """A change that is delivered and read is one event."""
        record = ""

        async def change() -> None:
            nonlocal record
            record = self.record(bench.double, "text")

        read, delivered = await self._both_ways(bench, change)

        assert record in _subjects(read)
        assert _ids(event for event in read if event.subject == record) == _ids(delivered)

    @point(2, "deliveries", "sources", "both_ways")
    async def test_one_change_of_a_record_has_one_id(self, bench: Bench) -> None:
        """So is a change of a record that was there before; where it is only delivered, nothing else is read of it."""
        record = ""

        async def make() -> None:
            nonlocal record
            record = self.record(bench.double, "text")

        async def change() -> None:
            self.change_again(bench.double, record)

        made = await self.told(bench, make)
        read, delivered = await self._both_ways(bench, change)

        assert delivered
        assert _ids(read) <= _ids([*made, *delivered])
        if "changes_both_ways" in self.lacks:
            exempt(self.lacks["changes_both_ways"])
        assert _ids(delivered) <= _ids(read)

    async def _both_ways(self, bench: Bench, change: Callable[[], Awaitable[None]]) -> tuple[list[Event], list[Event]]:
        """
        Return what is read and what is delivered of *change*.
        """
        delivered: list[Event] = []
        async with self.collecting(bench) as deliveries:
            read = await self.read_after(bench, change)
            await bench.double.hooks.settled()
            for delivery in deliveries:
                delivered += bench.connector.receive(delivery).events
        return read, delivered

    async def _begun(self, bench: Bench, name: str) -> tuple[Source, bytes | None]:
        source = bench.connector.sources[name]
        return source, (await read_on(source, None, bench))[1]


def _all(pages: Iterable[Page]) -> list[Event]:
    return [event for page in pages for event in page.events]


def _saved(pages: Iterable[Page], cursor: bytes | None) -> bytes | None:
    for page in pages:
        cursor = cursor if page.cursor is None else page.cursor
    return cursor


def _subjects(events: Iterable[Event]) -> set[str]:
    return {event.subject for event in events}


def _ids(events: Iterable[Event]) -> set[tuple[str, str]]:
    return {(event.source, event.id) for event in events}
