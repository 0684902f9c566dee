"""
For tests of whatever uses a ledger: a second worker, and a worker that is believed dead though it lives.
"""

from __future__ import annotations

from ledger.book import Book
from ledger.contract import Ledger
from ledger.queries import queries

_LEASE = 30.0  # seconds


async def beside(ledger: Ledger) -> Ledger:
    """
    Return another live worker on the same data. Close only the first one.
    """
    first = _book(ledger)
    lease = first.lease.another(_LEASE, "second")
    await first.store.write(lambda connection: lease.begin(connection, first.clock.now_ms()))
    return Book(first.store, lease, clock=first.clock)


async def bury(ledger: Ledger) -> None:
    """
    Let everybody believe that *ledger*'s worker is dead; it does not know yet.
    """
    worker = bytes.fromhex(ledger.worker)
    await _book(ledger).store.write(lambda connection: connection.execute(queries["end_worker"], {"worker": worker}))


def _book(ledger: Ledger) -> Book:
    if not isinstance(ledger, Book):
        message = f"not one of our ledgers: {ledger!r}"
        raise TypeError(message)
    return ledger
