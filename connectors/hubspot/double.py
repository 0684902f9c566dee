"""
A pretended HubSpot: `python -m connectors.hubspot.double --hook URL --secret TEXT`.

Written from the vendor's public reference: records and their properties, search, notes, and an app's webhooks.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors import catalog
from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main
from connectors.hubspot.double_search import searched

APP, PORTAL = 987654, 12345678
TOKEN = "hubspot-token"  # noqa: S105  # of a pretended system
PLAN = 100_000  # requests in ten seconds, so that only faults slow a test down
KINDS = {"contacts": "contact", "companies": "company", "deals": "deal", "tickets": "ticket"}
STAGES = ("subscriber", "lead", "opportunity", "customer", "other", "")
PROPERTIES = frozenset(
    [
        "email",
        "firstname",
        "lastname",
        "jobtitle",
        "company",
        "phone",
        "lifecyclestage",
        "hs_lead_status",
        "hubspot_owner_id",
        "name",
        "domain",
        "industry",
        "city",
        "country",
        "numberofemployees",
        "dealname",
        "amount",
        "dealstage",
        "pipeline",
        "closedate",
        "subject",
        "content",
        "hs_pipeline",
        "hs_pipeline_stage",
        "hs_ticket_priority",
        "hs_ticket_category",
        "ai_brief",
        "tier",
        "lastmodifieddate",
        "hs_lastmodifieddate",
        "hs_object_source",
        "hs_object_source_id",
    ]
)
_OBJECT = r"/crm/v3/objects/(?P<many>contacts|companies|deals|tickets)"


class HubspotDouble(Double):
    """
    One HubSpot account with one private app.
    """

    routes = (
        ("GET", r"/account-info/v3/details", "details"),
        ("GET", r"/crm/v3/owners/(?P<owner>\d+)", "owner"),
        ("POST", _OBJECT + "/search", "search"),
        ("GET", _OBJECT + r"/(?P<number>\d+)", "show"),
        ("PATCH", _OBJECT + r"/(?P<number>\d+)", "edit"),
        ("GET", _OBJECT + r"/(?P<number>\d+)/associations/contacts", "contacts_of"),
        ("POST", r"/crm/v3/objects/notes", "note"),
    )
    desk = (
        ("POST", r"/_double/records", "add_record"),
        ("PATCH", r"/_double/records", "edit_record"),
        ("GET", r"/_double/state", "state"),
    )

    def __init__(
        self, *, hook: str | None = None, secret: str = "", token: str = TOKEN, calls: Path | None = None
    ) -> None:
        rule = catalog.manifest("hubspot").verify
        assert rule is not None
        super().__init__(Hooks(rule, url=hook, secret=secret), calls=calls)
        self._token = token
        self.records: dict[str, dict[str, dict[str, Any]]] = {many: {} for many in KINDS}
        self.associated: dict[tuple[str, str], list[str]] = {}
        """Ids of contacts by record."""
        self.notes: list[dict[str, Any]] = []
        self.scopes = set(KINDS)
        """What the app may read."""
        self.unindexed: set[str] = set()
        """Ids that a search does not show yet."""
        self._ids = itertools.count(65_001)

    def authenticate(self, asked: Asked) -> str | None:
        """
        Return the app a token belongs to.
        """
        return str(APP) if asked.headers.get("authorization") == f"Bearer {self._token}" else None

    def refused(self) -> Refusal:
        """
        Return what a refused token is told.
        """
        message = "Authentication credentials not found or not valid."
        return Refusal(401, {"status": "error", "message": message, "category": "INVALID_AUTHENTICATION"})

    def unknown(self) -> Refusal:
        """
        Return what an unknown path or record is told.
        """
        return Refusal(404, {"status": "error", "message": "resource not found", "category": "OBJECT_NOT_FOUND"})

    def extra_headers(self) -> Mapping[str, str]:
        """
        Return the rate headers.
        """
        return {
            "x-hubspot-ratelimit-max": str(PLAN),
            "x-hubspot-ratelimit-remaining": str(PLAN - 1),
            "x-hubspot-ratelimit-interval-milliseconds": "10000",
        }

    # ---- what the API does --------------------------------------------------------------------

    def details(self, _asked: Asked, _actor: str) -> Answered:
        return Answered(body={"portalId": PORTAL, "accountType": "STANDARD", "timeZone": "Europe/Paris"})

    def owner(self, _asked: Asked, _actor: str, owner: str) -> Answered:
        if owner != "5":
            raise self.unknown()
        return Answered(body={"id": "5", "email": "mira@acme.example", "firstName": "Mira", "lastName": "Okafor"})

    def show(self, asked: Asked, _actor: str, many: str, number: str) -> Answered:
        record = self._known(many, number)
        wanted = asked.query.get("properties", "").split(",")
        body = {**record, "properties": {name: record["properties"].get(name) for name in wanted if name in PROPERTIES}}
        if "contacts" in asked.query.get("associations", "").split(",") and (many, number) in self.associated:
            linked = [{"id": one, "type": "to_contact"} for one in self.associated[many, number]]
            body["associations"] = {"contacts": {"results": linked}}
        return Answered(body=body)

    def edit(self, asked: Asked, actor: str, many: str, number: str) -> Answered:
        record = self._known(many, number)
        given = asked.json().get("properties")
        if not isinstance(given, dict) or not given:
            raise _invalid("VALIDATION_ERROR", "No properties found to update, please provide at least one.")
        for name in given:
            if name not in PROPERTIES:
                raise _invalid("VALIDATION_ERROR", f'Property "{name}" does not exist')
        if given.get("lifecyclestage", "") not in STAGES:
            raise _invalid("VALIDATION_ERROR", "lifecyclestage was not one of the allowed options")
        self.changed(many, number, given, source="INTEGRATION", by=actor)
        return Answered(body=record, effect=True)

    def search(self, asked: Asked, _actor: str, many: str) -> Answered:
        """
        Find records; the index shows some of them late.
        """
        if many not in self.scopes:
            message = "This app hasn't been granted all required scopes to make this call."
            raise Refusal(403, {"status": "error", "message": message, "category": "MISSING_SCOPES"})
        shown = [record for number, record in self.records[many].items() if number not in self.unindexed]
        return Answered(body=searched(shown, asked.json()))

    def contacts_of(self, asked: Asked, _actor: str, many: str, number: str) -> Answered:
        self._known(many, number)
        found = self.associated.get((many, number), [])
        start, limit = int(asked.query.get("after", "0")), int(asked.query.get("limit", "100"))
        body: dict[str, Any] = {"results": [{"id": one, "type": "to_contact"} for one in found[start : start + limit]]}
        if len(found) > start + limit:
            link = f"{asked.base}{asked.path}?limit={limit}&after={start + limit}"
            body["paging"] = {"next": {"after": str(start + limit), "link": link}}
        return Answered(body=body)

    def note(self, asked: Asked, _actor: str) -> Answered:
        """
        Create a note; nothing keeps a second one from being created.
        """
        given = asked.json()
        if not given.get("properties", {}).get("hs_timestamp"):
            raise _invalid("VALIDATION_ERROR", "Error creating NOTE. Some required properties were not set.")
        for link in given.get("associations") or ():
            if not any(link["to"]["id"] in records for records in self.records.values()):
                raise _invalid("VALIDATION_ERROR", f"No object with id {link['to']['id']} exists.")
        self.notes.append({"id": str(next(self._ids)), **given})
        return Answered(status=201, body={"id": self.notes[-1]["id"], "updatedAt": now()}, effect=True)

    # ---- what people do -----------------------------------------------------------------------

    def add_record(self, asked: Asked) -> Answered:
        given = asked.json()
        return Answered(status=201, body=self.created(given.pop("many"), **given))

    def created(
        self, many: str, *, source: str = "CRM_UI", by: str = "userId:77", at: str = "", **properties: Any
    ) -> dict[str, Any]:
        """
        Create a record as a person does.
        """
        number = str(next(self._ids))
        moment = at or now()
        said = {"hs_object_source": source, "hs_object_source_id": by}
        stamp = "lastmodifieddate" if many == "contacts" else "hs_lastmodifieddate"
        record = {"id": number, "properties": {**said, **properties, stamp: moment}, "archived": False}
        self.records[many][number] = record | {"createdAt": moment, "updatedAt": moment}
        self.tell([self._told(many, number, "creation", source, by, changeFlag="CREATED")])
        return self.records[many][number]

    def edit_record(self, asked: Asked) -> Answered:
        given = asked.json()
        self.changed(given["many"], given["id"], given["properties"], by=given.get("by", "userId:77"))
        return Answered(body=self.records[given["many"]][given["id"]])

    def changed(
        self, many: str, number: str, properties: Mapping[str, Any], *, source: str = "CRM_UI", by: str = "userId:77"
    ) -> None:
        """
        Change properties: one delivery with a change for each.
        """
        record = self.records[many][number]
        news = {name: value for name, value in properties.items() if record["properties"].get(name) != value}
        record["properties"] |= news
        if news:
            record["updatedAt"] = now()
            record["properties"]["lastmodifieddate" if many == "contacts" else "hs_lastmodifieddate"] = now()
        told = [
            self._told(many, number, "propertyChange", source, by, propertyName=name, propertyValue=value)
            for name, value in news.items()
        ]
        if told:
            self.tell(told)

    def tell(self, changes: list[dict[str, Any]]) -> None:
        """
        Deliver *changes* as one batch.
        """
        self.hooks.emit(changes, {"x-hubspot-timeout-millis": "10000", "x-trace": uuid.uuid4().hex})

    def state(self, _asked: Asked) -> Answered:
        return Answered(body={**{many: [*records.values()] for many, records in self.records.items()}})

    # ---- state --------------------------------------------------------------------------------

    def _known(self, many: str, number: str) -> dict[str, Any]:
        if number not in self.records[many]:
            raise self.unknown()
        return self.records[many][number]

    def _told(self, many: str, number: str, verb: str, source: str, by: str, **more: Any) -> dict[str, Any]:
        return {
            "eventId": next(self._ids) % 97,  # it is not unique, says the vendor
            "subscriptionId": 234567,
            "portalId": PORTAL,
            "appId": APP,
            "occurredAt": time.time_ns() // 1_000_000,
            "subscriptionType": f"{KINDS[many]}.{verb}",
            "attemptNumber": 0,
            "objectId": int(number),
            "changeSource": source,
            "sourceId": by,
            **more,
        }


def now() -> str:
    """
    Return the time now as HubSpot shows it.
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _invalid(category: str, message: str) -> Refusal:
    return Refusal(400, {"status": "error", "message": message, "category": category})


if __name__ == "__main__":
    main(HubspotDouble)
