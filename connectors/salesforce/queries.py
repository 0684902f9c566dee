"""
What is asked: SOQL and all that it gives, of which Salesforce hands out as few records at once as it likes; who we are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceRefusedRequest

from connectors.contract import Call
from connectors.salesforce.client import Client
from penstock.errors import Unavailable

REST = "/services/data/"
MOST = 100  # answers of one query
OVER = "Bad_OAuth_Token"  # of a token that is over, or was taken back


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


def who_we_are(salesforce: Salesforce) -> Mapping[str, Any]:
    """
    Return who we are. Of a token that is over this address says 403, which simple-salesforce does not renew.
    """
    url = f"https://{salesforce.sf_instance}/services/oauth2/userinfo"
    try:
        answer = salesforce._call_salesforce("GET", url)  # noqa: SLF001  # it has no public way to this address
    except SalesforceRefusedRequest as error:
        if OVER not in str(error.content):
            raise
        salesforce._refresh_session()  # noqa: SLF001  # as it does by itself after 401
        answer = salesforce._call_salesforce("GET", url)  # noqa: SLF001
    found = answer.json()
    return found if isinstance(found, Mapping) else {}


def access(salesforce: Salesforce) -> tuple[Mapping[str, Any], str, str]:
    """
    Return who we are, a token that was just taken, and whose it is.
    """
    who = who_we_are(salesforce)
    return who, str(salesforce.session_id), f"https://{salesforce.sf_instance}"
