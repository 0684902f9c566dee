"""
How the cache is kept: one row per question, which names the run that asks it or has asked it.

Whether that run still asks, and whether it has an answer, is read from the run itself. A result says which question
it answers, so a run that was asked something else meanwhile answers nothing but that.
"""

from __future__ import annotations

from typing import Any

import orjson

from ledger import lanes
from ledger.caching import Asking, Cached, Hit, Question
from ledger.connection import Connection, Row
from ledger.contract import Claim
from ledger.queries import queries

MOST_FAILURES = 3  # askers in a row without an answer, after which nobody waits for another
_SECOND = 1000  # ms


def find(connection: Connection, question: Question, claim: Claim, now: int) -> Cached | Asking | None:
    """
    Return the answer to *question*, or who asks it now; None when *claim*'s run may ask.
    """
    row = _row(connection, question)
    return None if row is None else _judged(row, question, claim, now)


def ask_for(connection: Connection, question: Question, claim: Claim, *, anew: bool, now: int) -> bool:
    """
    Let *claim*'s run be the one that asks, unless there is an answer, or another asks.
    """
    lanes.hold(connection, claim)
    row = _row(connection, question)
    if row is not None and not anew and _judged(row, question, claim, now) is not None:
        return False
    named = lanes.values(claim) | {
        "key": bytes.fromhex(question.key),
        "generation": claim.generation,
        "failures": 0 if row is None else _failures(row, claim),
        "now": now,
        "until": now + int(question.keep * _SECOND),
    }
    connection.execute(queries["keep_asker"], named)
    return True


def note_hit(connection: Connection, claim: Claim, hit: Hit, now: int) -> None:
    """
    Note that *claim*'s run took an answer.
    """
    taken = {"source": bytes.fromhex(hit.source), "model": hit.model, "saved": hit.saved}
    connection.execute(queries["keep_hit"], lanes.values(claim) | taken | {"generation": claim.generation, "now": now})


def clear(connection: Connection, pipeline: str | None) -> int:
    """
    Forget the questions of *pipeline*, or all; return how many.
    """
    narrowed, named = ("TRUE", {}) if pipeline is None else ("pipeline = :pipeline", {"pipeline": pipeline})
    return int(connection.execute(queries["clear_cache"].replace(":narrowed", narrowed), named).rowcount)


def _row(connection: Connection, question: Question) -> Row | None:
    named = {"key": bytes.fromhex(question.key), "step": question.step}
    row: Row | None = connection.execute(queries["cached"], named).fetchone()
    return row


def _judged(row: Row, question: Question, claim: Claim, now: int) -> Cached | Asking | None:
    """
    Return what a row means at UTC ms *now*. A person who discarded a run has discarded its answer.
    """
    run = row["run"].hex()
    if row["step"] == "done":
        fresh = row["ended_at"] >= now - question.keep * _SECOND and row["verdict"] != "discarded"
        result = orjson.loads(row["result"]) if fresh else None
        return Cached(run=run, result=result) if _answers(result, question) else None
    if run == claim.run or row["worker"] != "alive" or row["failures"] >= MOST_FAILURES:
        return None
    return Asking(run=run, since=row["at"]) if row["at"] >= now - question.patience * _SECOND else None


def _answers(result: Any, question: Question) -> bool:
    return isinstance(result, dict) and result.get("question") == question.key


def _failures(row: Row, claim: Claim) -> int:
    if row["step"] == "done":
        return 0
    return int(row["failures"]) + int(row["run"].hex() != claim.run)
