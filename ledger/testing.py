"""
For tests of whatever uses a ledger: a second worker, and a worker that is believed dead though it lives.
"""

from __future__ import annotations

from ledger.contract import Ledger
from ledger.lease import Lease
from ledger.queries import queries
from ledger.sqlite import SqliteLedger

_LEASE = 30.0  # seconds


async def beside(ledger: Ledger) -> Ledger:
    """
    Return another live worker on the same data. Close only the first one.
    """
    first = _sqlite(ledger)
    lease = Lease(_LEASE, "second")
    await first.store.write(lambda connection: lease.add(connection, first.clock.now_ms()))
    return SqliteLedger(first.store, lease, clock=first.clock)


async def bury(ledger: Ledger) -> None:
    """
    Let everybody believe that *ledger*'s worker is dead; it does not know yet.
    """
    worker = bytes.fromhex(ledger.worker)
    await _sqlite(ledger).store.write(lambda connection: connection.execute(queries["end_worker"], {"worker": worker}))


def _sqlite(ledger: Ledger) -> SqliteLedger:
    if not isinstance(ledger, SqliteLedger):
        message = f"not a ledger on SQLite: {ledger!r}"
        raise TypeError(message)
    return ledger
