"""
The SOQL that we write, as the double understands it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from connectors.double import Refusal

_SELECT = re.compile(
    r"SELECT (?P<columns>.+?) FROM (?P<object>\w+)(?: WHERE (?P<where>.+?))?(?: ORDER BY (?P<order>.+?))?(?: LIMIT (?P<limit>\d+))?$",
    re.DOTALL,
)
_TERM = re.compile(r"([\w.]+) (>=|<=|=|>|<|IN) (\([^()]*\)|'(?:[^'\\]|\\.)*'|[\w:.+-]+)")


def answered(query: str, records: Mapping[str, Mapping[str, Any]], known: set[str], *, deleted: bool) -> list[Any]:
    """
    Return the rows that *query* asks for; raises `Refusal`.
    """
    found = _SELECT.match(" ".join(query.split()))
    if found is None or found["object"] not in records:
        raise Refusal(400, [{"message": "unexpected token", "errorCode": "MALFORMED_QUERY"}])
    columns = [column.strip() for column in found["columns"].split(",")]
    if missing := [one for one in columns if one not in known and "." not in one]:
        raise Refusal(400, [{"message": f"No such column '{missing[0]}'", "errorCode": "INVALID_FIELD"}])
    rows = [row for row in records[found["object"]].values() if deleted or not row["IsDeleted"]]
    rows = [row for row in rows if _holds(found["where"], row)]
    for column in reversed((found["order"] or "").split(",")):
        name, _, direction = column.strip().partition(" ")
        if name:
            rows = sorted(rows, key=functools.partial(_by, name), reverse=direction == "DESC")
    rows = rows[: int(found["limit"] or 2000)]
    return [{"attributes": {"type": found["object"]}, **_chosen(row, columns)} for row in rows]


def _of(row: Mapping[str, Any], path: str) -> Any:
    found: Any = row
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _by(path: str, row: Mapping[str, Any]) -> str:
    return str(_of(row, path) or "")


def _chosen(row: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        outer, dot, inner = column.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = _of(row, column)
        else:
            found[column] = row.get(column)
    return found


def _holds(where: str | None, row: Mapping[str, Any]) -> bool:
    """
    Evaluate conditions that are joined by AND, OR and brackets.
    """
    if not where:
        return True
    terms: list[bool] = []

    def judged(found: re.Match[str]) -> str:
        terms.append(_term(found[1], found[2], found[3], row))
        return f"T{len(terms) - 1}"

    text = _TERM.sub(judged, where).replace("AND", "and").replace("OR", "or")
    assert re.fullmatch(r"[T\d() andor]+", text), text
    return bool(eval(text, {"__builtins__": {}}, {f"T{n}": value for n, value in enumerate(terms)}))  # noqa: S307  # truth values only


def _term(name: str, sign: str, written: str, row: Mapping[str, Any]) -> bool:
    value = str(_of(row, name) or "")
    if sign == "IN":
        return value in re.findall(r"'([^']*)'", written)
    wanted = written[1:-1].replace("\\'", "'") if written.startswith("'") else written
    if name in ("SystemModstamp", "CreatedDate"):
        value = value.replace(".000+0000", "Z")
    order = {
        "=": value == wanted,
        ">": value > wanted,
        ">=": value >= wanted,
        "<": value < wanted,
        "<=": value <= wanted,
    }
    return order[sign]
