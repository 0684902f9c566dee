"""
Cursors: kept by whoever leads a source, and by nobody else.
"""

from __future__ import annotations

from ledger.sourcing import LEAD
from ledger.testing import beside, bury

SOURCE = "desk/changes"


async def test_a_cursor_is_kept(book, site):
    """The next reading begins where the last page ended."""
    assert await book.cursor(SOURCE) is None
    assert await book.lead(LEAD + SOURCE, lasts=60.0)
    assert await book.keep_cursor(SOURCE, b"\x00one")
    await site.clock.advance(5)
    assert await book.keep_cursor(SOURCE, b"\xfftwo")
    found = await book.cursor(SOURCE)

    assert found is not None
    assert (found.cursor, found.at) == (b"\xfftwo", site.clock.now_ms())
    assert await book.cursors() == [found]


async def test_who_does_not_lead_moves_nothing(book, site):
    """One who slept through its time finds the cursor of whoever took over untouched."""
    other = await beside(book)
    assert not await book.keep_cursor(SOURCE, b"none")
    assert await book.lead(LEAD + SOURCE, lasts=60.0)
    assert await book.keep_cursor(SOURCE, b"one")
    await site.clock.advance(61)
    assert await book.keep_cursor(SOURCE, b"late"), "nobody took over"
    assert await other.lead(LEAD + SOURCE, lasts=60.0)
    kept = await other.keep_cursor(SOURCE, b"two"), await book.keep_cursor(SOURCE, b"three")
    leads = await other.leads(LEAD + SOURCE), await book.leads(LEAD + SOURCE)

    assert kept == (True, False)
    assert leads == (True, False)
    assert (await book.cursor(SOURCE)).cursor == b"two"


async def test_a_lead_is_given_back(book, site):
    """Whoever stops makes room at once; another's lead is not given away."""
    other = await beside(book)
    assert await book.lead(LEAD + SOURCE, lasts=60.0)
    await other.stop_leading(LEAD + SOURCE)
    assert not await other.lead(LEAD + SOURCE, lasts=60.0)
    await book.stop_leading(LEAD + SOURCE)

    assert await other.lead(LEAD + SOURCE, lasts=60.0)
    await bury(other)
    assert await book.lead(LEAD + SOURCE, lasts=60.0), "the dead lead nothing"


async def test_a_source_begins_anew(book, site):
    """A forgotten cursor is gone, and only that one."""
    for source in (SOURCE, "desk/other"):
        assert await book.lead(LEAD + source, lasts=60.0)
        assert await book.keep_cursor(source, b"one")
    await book.forget_cursor(SOURCE)

    assert [entry.source for entry in await book.cursors()] == ["desk/other"]
