"""
How far each pipeline had read, beside a bus that may forget it.
"""

from __future__ import annotations

from ledger.contract import Ledger


async def test_positions_are_kept_per_pipeline_topic_and_partition(book: Ledger) -> None:
    """
    The latest one counts, and nobody else's is touched.
    """
    await book.keep_positions("p", "t", {0: 5, 3: 7})
    await book.keep_positions("p", "t", {3: 9})
    await book.keep_positions("q", "t", {0: 1})
    await book.keep_positions("p", "other", {})

    assert await book.positions("p", "t") == {0: 5, 3: 9}
    assert await book.positions("q", "t") == {0: 1}
    assert await book.positions("p", "other") == {}
