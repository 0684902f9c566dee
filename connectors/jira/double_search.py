"""
How the pretended Jira searches: the little of JQL that we ask in.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.double import Refusal

_UPDATED = re.compile(r"updated >= -(\d+)m$")
_REPORTER = re.compile(r'reporter = "((?:[^"\\]|\\.)*)"$')
_PROJECTS = re.compile(r"\(?project in \(([A-Z, ]+)\)\)?$")
_ORDER = re.compile(r"(.*) ORDER BY (updated|created) (ASC|DESC)$")


def searched(issues: Iterable[Mapping[str, Any]], jql: str) -> list[dict[str, Any]]:
    """
    Return the issues *jql* finds, in its order; a query without bounds is refused.
    """
    found = _ORDER.fullmatch(jql)
    if found is None:
        raise _refused("Unbounded JQL queries are not allowed here.")
    rest = [dict(issue) for issue in issues]
    for condition in found[1].split(" AND "):
        rest = [issue for issue in rest if _holds(condition, issue)]
    rest.sort(key=lambda issue: (moment_of(issue["fields"][found[2]]), int(issue["id"])), reverse=found[3] == "DESC")
    return rest


def page(found: list[dict[str, Any]], jql: str, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
    """
    Return one page of *found* and the token of the next; a token of another query is refused.
    """
    mark = hashlib.sha256(re.sub(r"-\d+m", "", jql).encode()).hexdigest()[:8]
    start = 0
    if token := query.get("nextPageToken"):
        start_text, _, of = base64.b64decode(token).decode().partition("|")
        if of != mark:
            raise _refused("The nextPageToken does not belong to this query.")
        start = int(start_text)
    size = min(int(query.get("maxResults", "50")), 100)
    following = base64.b64encode(f"{start + size}|{mark}".encode()).decode() if len(found) > start + size else None
    return found[start : start + size], following


def moment_of(said: str) -> datetime:
    """
    Return the time Jira wrote.
    """
    return datetime.fromisoformat(said)


def _holds(condition: str, issue: Mapping[str, Any]) -> bool:
    fields = issue["fields"]
    if found := _UPDATED.fullmatch(condition):
        since = datetime.now(UTC) - timedelta(minutes=int(found[1]))
        return moment_of(fields["updated"]) >= since
    if found := _REPORTER.fullmatch(condition):
        return bool(fields["reporter"]["accountId"] == re.sub(r"\\(.)", r"\1", found[1]))
    if found := _PROJECTS.fullmatch(condition):
        return fields["project"]["key"] in [key.strip() for key in found[1].split(",")]
    raise _refused(f"Error in the JQL Query: {condition!r}")


def _refused(message: str) -> Refusal:
    return Refusal(400, {"errorMessages": [message], "errors": {}})
