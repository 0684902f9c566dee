"""
Rates: so many events in so much time, each counted once, whatever is delivered again or starts anew.

An event over the rate gets the first time at which it fits, and keeps it: nobody asks again until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger import lanes
from ledger.connection import Connection
from ledger.contract import Claim
from ledger.limits import Allowed
from ledger.queries import queries


def count(connection: Connection, claim: Claim, rates: Sequence[Allowed], *, wait: bool, now: int) -> int:
    """
    Count *claim*'s event against all *rates*; return the time from which it may run.
    """
    lanes.hold(connection, claim)
    run = lanes.values(claim)
    known = [connection.execute(queries["counted"], run | {"scope": rate.scope}).fetchone() for rate in rates]
    times = [int(row["at"]) for row in known if row is not None]
    times += [_first(connection, rate) for rate, row in zip(rates, known, strict=True) if row is None]
    at = max((now, *times)) if None in known else max(times)
    if at <= now or wait:
        for rate, row in zip(rates, known, strict=True):
            if row is None:
                connection.execute(queries["count_event"], run | {"scope": rate.scope, "at": at})
    return at


def _first(connection: Connection, rate: Allowed) -> int:
    """
    Return the first time at which the window of *rate* has room.
    """
    named = {"scope": rate.scope, "skip": rate.count - 1}
    last = connection.execute(queries["counted_last"], named).fetchone()
    return 0 if last is None else int(last["at"]) + rate.window_ms
