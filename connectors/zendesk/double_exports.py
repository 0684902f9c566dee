"""
The incremental export of the pretended Zendesk.
"""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.double import Answered, Asked, Refusal

SPAN = 60.0  # seconds over which requests are counted


class Exports:
    """
    Tickets in the order in which they changed: for admins, ten requests a minute, without the last minute.
    """

    tickets: dict[int, dict[str, Any]]
    withheld = 60.0
    """Seconds: what changed within them is not in the export yet."""
    export_page = 1000
    exports = 0
    """Cursors of an earlier number are not taken any more."""
    exports_a_minute = 10_000
    """The vendor allows 10."""
    admin = True
    """Whether our agent is one."""

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self._exported: list[float] = []

    def export(self, asked: Asked, _actor: str) -> Answered:
        """
        List tickets in the order in which they changed, from a time or a cursor on.
        """
        if not self.admin:
            said = {"title": "Forbidden", "message": "You do not have access to this page."}
            raise Refusal(403, {"error": said})
        now = time.monotonic()
        self._exported = [*(at for at in self._exported if now - at < SPAN), now]
        if len(self._exported) > self.exports_a_minute:
            headers = {"retry-after": str(int(SPAN - now + self._exported[0]) + 1)}
            return Answered(status=429, body={"error": "APIRateLimitExceeded"}, headers=headers)
        until = (datetime.now(UTC) - timedelta(seconds=self.withheld)).isoformat(timespec="seconds")
        changed = sorted(self.tickets.values(), key=lambda ticket: (ticket["updated_at"], ticket["id"]))
        shown = [ticket for ticket in changed if ticket["updated_at"] <= until.replace("+00:00", "Z")]
        if cursor := asked.query.get("cursor"):
            number, at, ticket = base64.b64decode(cursor).decode().split("|")
            if int(number) != self.exports:
                raise Refusal(422, {"error": "InvalidCursor", "description": "The cursor is not valid"})
            rest = [one for one in shown if (one["updated_at"], one["id"]) > (at, int(ticket))]
        elif start := asked.query.get("start_time"):
            since = datetime.fromtimestamp(int(start), UTC).isoformat().replace("+00:00", "Z")
            rest = [one for one in shown if one["updated_at"] >= since]
        else:
            raise Refusal(400, {"error": "StartTimeMissing", "description": "start_time is needed"})
        size = min(int(asked.query.get("per_page", "1000")), self.export_page)
        page = rest[:size]
        following = asked.query.get("cursor")
        if page:
            last = f"{self.exports}|{page[-1]['updated_at']}|{page[-1]['id']}"
            following = base64.b64encode(last.encode()).decode()
        body = {"tickets": page, "after_cursor": following, "end_of_stream": len(rest) <= size, "before_cursor": None}
        return Answered(body=body)
