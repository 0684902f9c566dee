"""
Reading the ledger for people: runs, one run in full, money, counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from ledger.connection import Connection, Row
from ledger.contract import RunQuery
from ledger.lineage_book import origin_of
from ledger.queries import queries
from penstock.errors import Invalid
from schemas.entries import DecisionEntry, DraftEntry, ModelCall, Run, RunDetail, StepEntry, WriteEntry

ID_DIGITS = 32
LEAST_DIGITS = 6  # of a run id that people type
_SHOWN = 3  # candidates named when a prefix fits several runs

_NARROW = {
    "pipeline": "pipeline = :pipeline",
    "subject": "subject = :subject",
    "verdict": "verdict = :verdict",
    "state": "state = :state",
    "since": "created_at >= :since",
    "until": "created_at < :until",
    "error": "lower(error) LIKE :error ESCAPE '!'",
}


def runs(connection: Connection, query: RunQuery) -> list[Run]:
    """
    List runs, newest first.
    """
    given = {name: getattr(query, name) for name in _NARROW if getattr(query, name) is not None}
    where = " AND ".join(_NARROW[name] for name in given) or "TRUE"
    text = queries["list_runs"].replace(":narrowed", where)
    if query.error is not None:
        given["error"] = f"%{_literally(query.error.lower())}%"
    if query.oldest_first:
        text = text.replace(" DESC", "")
    return [_run(row) for row in connection.execute(text, given | {"limit": query.limit})]


def detail(connection: Connection, prefix: str) -> RunDetail | None:
    """
    Return everything known of the one run whose id begins with *prefix*.
    """
    row = _find(connection, prefix)
    if row is None:
        return None
    named = {"run": row["run"]}
    body = connection.execute(queries["body"], named).fetchone()
    return RunDetail(
        run=_run(row),
        event=orjson.loads(body["body"]) if body else None,
        steps=tuple(_step(step) for step in connection.execute(queries["steps_of"], named)),
        calls=tuple(_call(call) for call in connection.execute(queries["calls_of"], named)),
        writes=tuple(write(found) for found in connection.execute(queries["writes_of_run"], named)),
        decisions=tuple(DecisionEntry(**row) for row in connection.execute(queries["decisions_of"], named)),
        drafts=tuple(_draft(draft) for draft in connection.execute(queries["drafts_of"], named)),
        origin=origin_of(connection, row["run"]),
    )


def spent(connection: Connection, scope: str, period: str) -> tuple[int, int]:
    """
    Return what *scope* has spent and reserved in *period*.
    """
    row = connection.execute(queries["budget"], {"scope": scope, "period": period}).fetchone()
    return (row["spent"], row["reserved"]) if row else (0, 0)


def counts(connection: Connection, pipelines: Sequence[str] | None) -> dict[tuple[str, str], int]:
    """
    Return how many runs each (pipeline, verdict or state) has.
    """
    rows = connection.execute(queries["count_runs"]).fetchall()
    return {(name, end): count for name, end, count in rows if pipelines is None or name in pipelines}


def write(row: Row) -> WriteEntry:
    """
    Return one row of `writes` as an entry.
    """
    names = ("connection", "record", "step", "generation", "value_hash", "version", "state", "at")
    return WriteEntry(fields=orjson.loads(row["fields"]), **{name: row[name] for name in names})


def last_write(connection: Connection, pipeline: str, system: str, record: str, step: str) -> WriteEntry | None:
    """
    Return the newest `done` write of a pipeline's step on a record of the connection *system*.
    """
    named = {"pipeline": pipeline, "connection": system, "record": record, "step": step}
    row = connection.execute(queries["last_write"], named).fetchone()
    return write(row) if row else None


def writes_of(connection: Connection, system: str, record: str, since: int) -> list[WriteEntry]:
    """
    Return our writes on a record of the connection *system*, newest first.
    """
    named = {"connection": system, "record": record, "since": since}
    return [write(row) for row in connection.execute(queries["writes_of"], named)]


def _literally(text: str) -> str:
    return re.sub("([!%_])", r"!\1", text)


def _find(connection: Connection, prefix: str) -> Row | None:
    text = prefix.strip().lower()
    if not LEAST_DIGITS <= len(text) <= ID_DIGITS or set(text) - set("0123456789abcdef"):
        message = f"{prefix!r} is no run id"
        hint = f"give {LEAST_DIGITS} to {ID_DIGITS} hexadecimal digits, as `penstock runs` shows them"
        raise Invalid(message, hint=hint)
    bounds = {name: bytes.fromhex(text.ljust(ID_DIGITS, digit)) for name, digit in (("low", "0"), ("high", "f"))}
    found = connection.execute(queries["find_runs"], bounds).fetchall()
    if len(found) > 1:
        shown = ", ".join(row["run"].hex()[: len(text) + 6] for row in found[:_SHOWN])
        message = f"{prefix!r} fits several runs: {shown}"
        raise Invalid(message, hint="give more digits")
    return found[0] if found else None


def _run(row: Row) -> Run:
    found: dict[str, Any] = {name: row[name] for name in row.keys() if name in Run.model_fields}  # noqa: SIM118 # a Row iterates over values
    by = row["superseded_by"]
    shown = {"run": row["run"].hex(), "superseded_by": by.hex() if by else None}
    return Run(**found | shown | {"partition": row["part"], "offset": row["off"]})


def _call(row: Row) -> ModelCall:
    call = ModelCall.model_validate_json(row["entry"])
    return call.model_copy(update={"priced": bool(row["priced"]), "cause": row["cause"]})


def _step(row: Row) -> StepEntry:
    plain = ("step", "generation", "kind", "state", "attempts", "intent_at", "ended_at")
    return StepEntry(
        action_class=row["class"],
        key=row["idem_key"],
        result=_json(row["result"]),
        receipt=_json(row["receipt"]),
        **{name: row[name] for name in plain},
    )


def _draft(row: Row) -> DraftEntry:
    plain = ("step", "generation", "record", "choice", "text", "person", "at", "expires_at", "decided_at")
    return DraftEntry(args=orjson.loads(row["args"]), **{name: row[name] for name in plain})


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
