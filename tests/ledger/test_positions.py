"""
How far each pipeline had read, beside a bus that may forget it.
"""

from __future__ import annotations

from ledger import Ledger, Loss, TopicEntry
from tests.ledger.conftest import Site


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


async def test_what_was_lost_adds_up_and_is_forgotten_by_its_time(site: Site) -> None:
    """
    Per pipeline and topic, over the partitions; `losses` gives what happened since a time.
    """
    book, clock = await site.open(), site.clock
    await book.keep_positions("p", "t", {0: 5, 1: 5})
    await book.keep_positions("q", "t", {0: 5})
    await book.note_lost("p", "t", 0, 2)
    await book.note_lost("p", "t", 1, 3)
    await book.note_lost("p", "t", 1, 4)
    await book.keep_positions("p", "t", {0: 6})

    assert await book.losses(0) == [Loss(pipeline="p", topic="t", messages=9, at=clock.now_ms())]
    assert await book.losses(clock.now_ms() + 1) == []


async def test_a_topic_is_kept_as_it_was_seen(book: Ledger) -> None:
    """
    Nothing before it was kept; afterwards the latest.
    """
    before = await book.topic("t")
    await book.keep_topic("t", TopicEntry(partitions=4, identity="a"))
    await book.keep_topic("t", TopicEntry(partitions=6, identity="b"))

    assert before is None
    assert await book.topic("t") == TopicEntry(partitions=6, identity="b")
