"""
How drafts are kept, and how a decision brings its run back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ledger import lanes, returns
from ledger.connection import Connection, Row
from ledger.drafting import Choice, Draft, Taken
from ledger.offer import Claim
from ledger.queries import queries
from ledger.returning import Return
from ledger.returns import Word

MOST = 100  # drafts that expire in one transaction
WORDS: Mapping[Choice, str] = {"approve": "approved", "discard": "discarded", "expired": "expired"}


def put(
    connection: Connection,
    claim: Claim,
    step: str,
    key: str,
    record: str,
    args: Mapping[str, Any],
    times: dict[str, Any],
) -> None:
    """
    Write a draft down, once.
    """
    named: dict[str, Any] = lanes.values(claim) | {
        "step": step,
        "generation": claim.generation,
        "key": key,
        "record": record,
    }
    connection.execute(queries["put_draft"], named | times | {"args": orjson.dumps(dict(args)).decode()})


def shown(connection: Connection, key: str, expires_at: int) -> None:
    """
    Let the time of a draft begin.
    """
    connection.execute(queries["show_draft"], {"key": key, "expires_at": expires_at})


def find(connection: Connection, key: str) -> Draft | None:
    """
    Return one draft.
    """
    row = connection.execute(queries["draft_of"], {"key": key}).fetchone()
    return None if row is None else _draft(row)


def of(connection: Connection, run: str) -> list[Draft]:
    """
    Return the drafts of a run.
    """
    return [_draft(row) for row in connection.execute(queries["drafts_of"], {"run": bytes.fromhex(run)})]


def decided(connection: Connection, run: bytes) -> bool:
    """
    Tell whether somebody has said what a run wants to wait for.
    """
    found = connection.execute(queries["decided"], {"run": run}).fetchone()
    return bool(found["decided"]) and not found["open"]


def decide(connection: Connection, key: str, choice: Choice, word: Word, text: str | None) -> Taken:
    """
    Keep the first decision about a draft; its run goes on, also when a newer one was delivered meanwhile.

    One that is dead can be replayed, and finds it then.
    """
    draft = find(connection, key)
    if draft is None:
        return "unknown"
    row = connection.execute(queries["known_return"], {"run": bytes.fromhex(draft.run)}).fetchone()
    if choice != "expired" and (draft.choice is not None or draft.expires_at <= word.now):
        return "late"
    if choice != "expired" and _over(draft, row):
        return "gone"
    named = {"key": key, "choice": choice, "text": text, "person": word.person, "now": word.now}
    if connection.execute(queries["decide_draft"], named).fetchone() is None:
        return "late"
    if row is not None and row["state"] == "aside" and row["reason"] == "approval":
        returns.come_back(connection, Return(run=draft.run, seq=row["seq"], insist=True), row, word)
    return "taken"


def expire(connection: Connection, keys: Iterable[str], now: int) -> int:
    """
    End the drafts with *keys*, whose time is over; return how many nobody had decided on meanwhile.
    """
    word = Word(what=WORDS["expired"], person="", now=now)
    return sum(decide(connection, key, "expired", word, None) == "taken" for key in keys)


def late(connection: Connection, now: int) -> dict[str, str]:
    """
    Return the keys of some drafts nobody said anything of in time, each with its run.
    """
    found = connection.execute(queries["late_drafts"], {"now": now, "most": MOST}).fetchall()
    return {row["key"]: row["run"].hex() for row in found}


def _over(draft: Draft, row: Row | None) -> bool:
    """
    Say whether nothing can come of a decision any more.
    """
    if row is None or row["generation"] != draft.generation:
        return True
    return bool(row["state"] == "final" and row["verdict"] != "dead")


def _draft(row: Row) -> Draft:
    plain = ("key", "step", "generation", "record", "choice", "text", "person", "at", "expires_at", "decided_at")
    return Draft(run=row["run"].hex(), args=orjson.loads(row["args"]), **{name: row[name] for name in plain})
