"""
What Zendesk refuses, as far as the double knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.double import Refusal

FIELDS = frozenset(
    {
        "subject",
        "type",
        "priority",
        "status",
        "tags",
        "assignee_id",
        "group_id",
        "external_id",
        "due_at",
        "comment",
        "custom_fields",
    }
)
STATUSES = ("new", "open", "pending", "hold", "solved", "closed")


def refuse_update(ticket: Mapping[str, Any], given: Any) -> None:
    """
    Refuse what the vendor refuses.
    """
    if not isinstance(given, dict):
        raise Refusal(400, {"error": "InvalidRequest", "description": "A ticket is needed"})
    invalid = sorted(set(given) - FIELDS)
    if ticket["status"] == "closed":
        raise _invalid("status", "Status: closed prevents ticket update")
    if invalid:
        raise _invalid(invalid[0], f"{invalid[0]} is not a field")
    if "status" in given and given["status"] not in STATUSES:
        raise _invalid("status", "Status: is not in list")
    if "priority" in given and given["priority"] not in ("low", "normal", "high", "urgent", None):
        raise _invalid("priority", "Priority: is not in list")
    if "comment" in given and not str((given["comment"] or {}).get("body") or "").strip():
        raise _invalid("comment", "Comment: cannot be blank")
    if any(not re.fullmatch(r"[^\s]+", str(tag)) for tag in given.get("tags") or []):
        raise _invalid("tags", "Tags: contain spaces")


def _invalid(name: str, description: str) -> Refusal:
    details = {name: [{"description": description}]}
    return Refusal(422, {"error": "RecordInvalid", "description": "Record validation errors", "details": details})
