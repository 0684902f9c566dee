"""
What the pretended Zendesk makes of a body that an operator wrote for a trigger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_.]+)\s*\}\}")


def rendered(template: str, ticket: Mapping[str, Any], actor: str, comment: str) -> dict[str, Any]:
    """
    Return the body with its placeholders filled in; unknown ones are empty, as the vendor has it.
    """
    values = {
        "ticket.id": ticket["id"],
        "ticket.title": ticket["subject"],
        "ticket.description": ticket["description"],
        "ticket.ticket_type": (ticket["type"] or "").title(),
        "ticket.status": ticket["status"].title(),
        "ticket.priority": (ticket["priority"] or "").title(),
        "ticket.tags": " ".join(ticket["tags"]),
        "ticket.organization.id": ticket["organization_id"],
        "ticket.requester.id": ticket["requester_id"],
        "ticket.assignee.id": ticket["assignee_id"],
        "ticket.via": "Web form",
        "ticket.updated_at_with_timestamp": ticket["updated_at"],
        "ticket.latest_comment": comment,
        "current_user.id": actor,
    }

    def fill(found: re.Match[str]) -> str:
        value = values.get(found[1])
        return orjson.dumps("" if value is None else str(value)).decode()[1:-1]

    body: dict[str, Any] = orjson.loads(_PLACEHOLDER.sub(fill, template))
    return body
