"""
The outbox: what must leave at least once.
"""

from __future__ import annotations

from ledger import locks, outbox
from ledger.contract import Ledger

ONE, TWO = "01" * 16, "02" * 16


async def _put(book: Ledger, parcel: str, kind: str = "dead") -> None:
    now = book.clock.now_ms()
    await book.store.write(lambda c: outbox.put(c, parcel=parcel, kind=kind, body=b'{"a":1}', now=now), locks.ALONE)


async def test_a_parcel_is_taken_by_one_worker_at_a_time(book: Ledger) -> None:
    """
    Taken, it is out of reach; after its time it is taken again, and counts how often.
    """
    await _put(book, ONE)

    (first,) = await book.take_parcels(["dead"], 10, hold=60)
    assert (ONE, "dead", b'{"a":1}', 0) == (first.id, first.kind, first.body, first.attempts)
    assert [] == await book.take_parcels(["dead"], 10, hold=60)
    await book.clock.advance(61)
    (again,) = await book.take_parcels(["dead"], 10, hold=60)
    assert 1 == again.attempts


async def test_what_arrived_is_never_taken_again(book: Ledger) -> None:
    """
    A sent parcel is gone for good, also when it is put down once more.
    """
    await _put(book, ONE)
    await book.take_parcels(["dead"], 10, hold=60)
    await book.parcel_sent(ONE)
    await _put(book, ONE)
    await book.clock.advance(3600)

    assert [] == await book.take_parcels(["dead"], 10, hold=60)


async def test_what_could_not_be_sent_comes_back_when_it_was_put_off_to(book: Ledger) -> None:
    """
    Put off for ten seconds: not before, and then.
    """
    await _put(book, ONE)
    await book.take_parcels(["dead"], 10, hold=60)
    await book.put_parcel_off(ONE, book.clock.now_ms() + 10_000)

    assert [] == await book.take_parcels(["dead"], 10, hold=60)
    await book.clock.advance(10)
    assert [ONE] == [parcel.id for parcel in await book.take_parcels(["dead"], 10, hold=60)]


async def test_kinds_and_numbers_are_kept(book: Ledger) -> None:
    """
    Only the kinds asked for, and no more than asked for, oldest first.
    """
    await _put(book, TWO)
    await book.clock.advance(1)
    await _put(book, ONE)
    await _put(book, "03" * 16, kind="alert")

    assert [TWO] == [parcel.id for parcel in await book.take_parcels(["dead"], 1, hold=60)]
    assert [ONE] == [parcel.id for parcel in await book.take_parcels(["dead"], 10, hold=60)]
