"""
SOQL and all that it gives: Salesforce hands out as few records at once as it likes.
"""

from __future__ import annotations

from typing import Any

from connectors.contract import Call
from connectors.salesforce.client import Client
from penstock.errors import Unavailable

REST = "/services/data/"
MOST = 100  # answers of one query


async def asked(client: Client, query: str, call: Call, *, what: str, deleted: bool = False) -> list[dict[str, Any]]:
    """
    Return every record that *query* gives; raises an `EdgeError`.
    """
    answer = await client.ask(lambda salesforce: salesforce.query(query, include_deleted=deleted), call, what=what)
    found = [dict(record) for record in answer["records"]]
    for _ in range(MOST):
        if answer.get("done", True):
            return found
        place = str(answer.get("nextRecordsUrl") or "")
        if not place.startswith(REST):
            raise Unavailable(f"{what}: Salesforce does not say where the rest is")
        answer = await client.ask(_more(place), call, what=what)
        found += [dict(record) for record in answer["records"]]
    raise Unavailable(f"{what}: Salesforce gives its answer in more than {MOST} pieces")


def _more(place: str) -> Any:
    return lambda salesforce: salesforce.query_more(place, identifier_is_url=True)
