"""
A write of an earlier try whose answer was lost: what of it stands in the record by now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.echoes import value_hash
from schemas.entries import RunDetail


def still_ours(
    detail: RunDetail | None, generation: int, step: str, record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """
    Return the fields that *step* began to set and never heard of, and that *record* holds as they were to be.

    Conditions such as `only_if: empty` would hold them back this time, and the run would say that it set nothing. Set
    once more, they change nothing.
    """
    if detail is None or record is None:
        return {}
    lost = (one for one in detail.writes if (one.step, one.generation) == (step, generation) and one.state != "done")
    return {
        name: record[name]
        for write in lost
        for name, written in write.fields.items()
        if name in record and value_hash(record[name]) == written
    }


def in_doubt(detail: RunDetail | None, generation: int, step: str) -> bool:
    """
    Say whether an earlier try of *step* may have taken effect, and nobody heard of it.
    """
    steps = detail.steps if detail is not None else ()
    return any((one.step, one.generation) == (step, generation) and one.state in ("intent", "unknown") for one in steps)


def with_fields(args: dict[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return the arguments *args* with *fields* besides those they set; None when there is nothing at all.
    """
    if not fields:
        return args
    args = args or {}
    return {**args, "fields": {**fields, **args.get("fields", {})}}
