"""
Records of the pretended Zendesk: how they look, and how they are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.double import Asked, Refusal
from connectors.double_stand import moment


def person(number: int, name: str, role: str, email: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "role": role,
        "email": email,
        "locale": "en-US",
        "created_at": moment(),
        "organization_id": None,
        "tags": [],
    }


def known(records: Mapping[int, dict[str, Any]], number: str) -> dict[str, Any]:
    record = records.get(int(number))
    if record is None:
        raise Refusal(404, {"error": "RecordNotFound", "description": "Not found"})
    return record


def said(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def page(asked: Asked, name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    ordered = sorted(found, key=lambda item: (item["created_at"], item["id"]))
    if asked.query.get("sort_order") == "desc":
        ordered.reverse()
    size = min(int(asked.query.get("per_page", "100")), 100)
    number = int(asked.query.get("page", "1"))
    rest = "&".join(f"{key}={text}" for key, text in asked.query.items() if key != "page")
    more = number * size < len(ordered)
    following = f"{asked.base}{asked.path}?{rest}&page={number + 1}" if more else None
    return {name: ordered[(number - 1) * size : number * size], "next_page": following, "count": len(ordered)}
