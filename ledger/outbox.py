"""
The outbox: what must leave at least once, put down in the transaction that decided it.

A parcel is taken for a while by one worker; whoever takes it and dies loses nothing, it is taken again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.connection import Connection
from ledger.parcels import Parcel
from ledger.queries import queries


def put(connection: Connection, *, parcel: str, kind: str, body: bytes, now: int) -> None:
    """
    Leave a parcel, once: an id that is known stays as it is.
    """
    named = {"id": bytes.fromhex(parcel), "kind": kind, "body": body, "now": now}
    connection.execute(queries["put_parcel"], named)


def take(connection: Connection, kinds: Sequence[str], *, most: int, now: int, until: int) -> list[Parcel]:
    """
    Take up to *most* parcels that nobody has in hand, oldest first; each is ours until UTC ms *until*.
    """
    taken: list[Parcel] = []
    for kind in kinds:
        named = {"kind": kind, "most": most - len(taken), "now": now}
        for row in connection.execute(queries["due_parcels"], named).fetchall():
            connection.execute(queries["take_parcel"], {"id": row["id"], "until": until})
            taken.append(
                Parcel(
                    id=row["id"].hex(),
                    kind=row["kind"],
                    body=bytes(row["body"]),
                    attempts=row["attempts"],
                    created_at=row["created_at"],
                )
            )
    return taken


def sent(connection: Connection, parcel: str, now: int) -> None:
    """
    Note that a parcel has arrived.
    """
    connection.execute(queries["parcel_sent"], {"id": bytes.fromhex(parcel), "now": now})


def put_off(connection: Connection, parcel: str, until: int) -> None:
    """
    Try a parcel again at *until*.
    """
    connection.execute(queries["put_parcel_off"], {"id": bytes.fromhex(parcel), "until": until})


def forget(connection: Connection, before: int) -> None:
    """
    Delete parcels that arrived before that.
    """
    connection.execute(queries["forget_parcels"], {"before": before})
