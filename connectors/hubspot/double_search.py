"""
How the pretended HubSpot searches: by a time, in its order, and no further than ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from connectors.double import Refusal

MOST = 10_000  # results of one query
LONGEST_PAGE = 200


def searched(records: Iterable[Mapping[str, Any]], query: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the page that *query* asks for; raises `Refusal` for what the vendor refuses.
    """
    [group] = query.get("filterGroups") or [{}]
    [one] = group.get("filters") or [{}]
    [sort] = query.get("sorts") or [{}]
    limit, after = int(query.get("limit", 10)), int(query.get("after", 0))
    if one.get("operator") != "GTE" or not str(one.get("value", "")).isdecimal():
        raise _refused("There was a problem with the request: invalid filter")
    if sort.get("propertyName") != one["propertyName"] or sort.get("direction") != "ASCENDING":
        raise _refused("There was a problem with the request: invalid sort")
    if limit > LONGEST_PAGE or after + limit > MOST:
        raise _refused(f"The offset of a search may not be above {MOST}.")
    found = [record for record in records if _ms(record, one["propertyName"]) >= int(one["value"])]
    found.sort(key=lambda record: (_ms(record, one["propertyName"]), int(record["id"])))
    page = {"total": len(found), "results": [_cut(record, query) for record in found[after : after + limit]]}
    if len(found) > after + limit:
        page["paging"] = {"next": {"after": str(after + limit)}}
    return page


def _cut(record: Mapping[str, Any], query: Mapping[str, Any]) -> dict[str, Any]:
    wanted = query.get("properties") or ()
    return {**record, "properties": {name: record["properties"].get(name) for name in wanted}}


def _ms(record: Mapping[str, Any], name: str) -> int:
    said = record["properties"].get(name)
    return int(datetime.fromisoformat(said).timestamp() * 1000) if said else -1


def _refused(message: str) -> Refusal:
    return Refusal(400, {"status": "error", "message": message, "category": "VALIDATION_ERROR"})
