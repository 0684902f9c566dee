"""
A pretended Zendesk: `python -m connectors.zendesk.double --hook URL --secret TEXT`.

Written from the vendor's public reference: tickets, comments, users, organizations, and event webhooks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors import catalog
from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main, moment
from connectors.zendesk.double_exports import Exports
from connectors.zendesk.double_records import known, page, person, said
from connectors.zendesk.double_rules import refuse_update
from connectors.zendesk.double_triggers import rendered

AGENT_EMAIL = "hub@acme.example"
AGENT_ID = 9001
TOKEN = "zendesk-token"  # noqa: S105  # of a pretended system
CHANGES = {
    "type": "ticket_type_changed",
    "assignee_id": "agent_assignment_changed",
    "group_id": "group_assignment_changed",
}
UNTOLD = ("tags", "via", "due_at", "custom_fields")  # of a ticket in `detail`, or told in another form
PLAN = 100_000  # requests a minute, so that only faults slow a test down


class ZendeskDouble(Exports, Double):
    """
    One Zendesk account.
    """

    routes = (
        ("GET", r"/api/v2/users/me\.json", "me"),
        ("GET", r"/api/v2/users/(?P<user>\d+)\.json", "user"),
        ("GET", r"/api/v2/users/(?P<user>\d+)/tickets/requested\.json", "requested"),
        ("GET", r"/api/v2/organizations/(?P<organization>\d+)\.json", "organization"),
        ("GET", r"/api/v2/incremental/tickets/cursor\.json", "export"),
        ("POST", r"/api/v2/tickets\.json", "create"),
        ("GET", r"/api/v2/tickets/(?P<ticket>\d+)\.json", "ticket"),
        ("PUT", r"/api/v2/tickets/(?P<ticket>\d+)\.json", "update"),
        ("GET", r"/api/v2/tickets/(?P<ticket>\d+)/comments\.json", "comments"),
        ("PUT", r"/api/v2/tickets/(?P<ticket>\d+)/tags\.json", "tag"),
        ("DELETE", r"/api/v2/tickets/(?P<ticket>\d+)/tags\.json", "untag"),
    )
    desk = (
        ("POST", r"/_double/tickets", "open_ticket"),
        ("POST", r"/_double/users", "add_user"),
        ("POST", r"/_double/organizations", "add_organization"),
        ("POST", r"/_double/tickets/(?P<ticket>\d+)/comments", "write_comment"),
        ("GET", r"/_double/state", "state"),
    )

    def __init__(
        self,
        *,
        hook: str | None = None,
        secret: str = "",
        email: str = AGENT_EMAIL,
        token: str = TOKEN,
        calls: Path | None = None,
    ) -> None:
        rule = catalog.manifest("zendesk").verify
        assert rule is not None
        super().__init__(Hooks(rule, url=hook, secret=secret), calls=calls)
        self._credential = f"{email}/token:{token}"
        self.tickets: dict[int, dict[str, Any]] = {}
        self.notes: dict[int, list[dict[str, Any]]] = {}
        """Comments by ticket, oldest first."""
        self.users: dict[int, dict[str, Any]] = {AGENT_ID: person(AGENT_ID, "Hub", "agent", email)}
        self.organizations: dict[int, dict[str, Any]] = {}
        self.triggers: list[str] = []
        """Bodies that operators wrote for trigger webhooks, with placeholders: sent for every change of a ticket."""
        self._created: dict[str, tuple[str, int]] = {}
        self._last = 35_000

    def authenticate(self, asked: Asked) -> str | None:
        """
        Return the agent's id; anonymous people are somebody, too, at `users/me` only.
        """
        scheme, _, text = asked.headers.get("authorization", "").partition(" ")
        if not scheme:
            return "" if asked.path == "/api/v2/users/me.json" else None
        try:
            fits = base64.b64decode(text, validate=True).decode() == self._credential
        except (binascii.Error, UnicodeDecodeError):
            fits = False
        return str(AGENT_ID) if fits else None

    def extra_headers(self) -> Mapping[str, str]:
        """
        Return the rate headers.
        """
        return {"x-rate-limit": str(PLAN), "x-rate-limit-remaining": str(PLAN - 1)}

    # ---- what the API does --------------------------------------------------------------------

    def me(self, _asked: Asked, actor: str) -> Answered:
        nobody = {"id": None, "name": "Anonymous user", "role": "end-user"}
        return Answered(body={"user": self.users[int(actor)] if actor else nobody})

    def user(self, _asked: Asked, _actor: str, user: str) -> Answered:
        return Answered(body={"user": known(self.users, user)})

    def organization(self, _asked: Asked, _actor: str, organization: str) -> Answered:
        return Answered(body={"organization": known(self.organizations, organization)})

    def ticket(self, _asked: Asked, _actor: str, ticket: str) -> Answered:
        return Answered(body={"ticket": known(self.tickets, ticket)})

    def requested(self, asked: Asked, _actor: str, user: str) -> Answered:
        """
        List the tickets a person opened.
        """
        known(self.users, user)
        found = [ticket for ticket in self.tickets.values() if ticket["requester_id"] == int(user)]
        return Answered(body=page(asked, "tickets", found))

    def comments(self, asked: Asked, _actor: str, ticket: str) -> Answered:
        """
        List the comments of a ticket.
        """
        known(self.tickets, ticket)
        return Answered(body=page(asked, "comments", self.notes[int(ticket)]))

    def create(self, asked: Asked, actor: str) -> Answered:
        """
        Create a ticket once per idempotency key.
        """
        key = asked.headers.get("idempotency-key")
        digest = hashlib.sha256(asked.body).hexdigest()
        if key and key in self._created:
            before, number = self._created[key]
            if before != digest:
                raise Refusal(400, {"error": "IdempotentRequestError", "description": "Parameters do not match"})
            return Answered(status=201, body={"ticket": self.tickets[number]}, headers={"x-idempotency-lookup": "hit"})
        given = asked.json().get("ticket") or {}
        ticket = self._open({**given, "requester_id": given.get("requester_id", int(actor))}, actor, via="api")
        if key:
            self._created[key] = (digest, ticket["id"])
        return Answered(status=201, body={"ticket": ticket}, headers={"x-idempotency-lookup": "miss"}, effect=True)

    def update(self, asked: Asked, actor: str, ticket: str) -> Answered:
        """
        Change fields and add a comment. A comment that exists is never changed.
        """
        record = known(self.tickets, ticket)
        given = asked.json().get("ticket")
        refuse_update(record, given)
        assert isinstance(given, dict)
        events = self._set(record, {name: given[name] for name in given if name != "comment"}, actor)
        if "comment" in given:
            events.insert(0, self._comment(record, given["comment"], actor))
        return Answered(body={"ticket": record, "audit": {"id": self._next(), "events": events}}, effect=True)

    def tag(self, asked: Asked, actor: str, ticket: str) -> Answered:
        """
        Add tags.
        """
        record = known(self.tickets, ticket)
        given = asked.json().get("tags") or []
        refuse_update(record, {"tags": given})
        self._set(record, {"tags": [*record["tags"], *(tag for tag in given if tag not in record["tags"])]}, actor)
        return Answered(body={"tags": record["tags"]}, effect=True)

    def untag(self, asked: Asked, actor: str, ticket: str) -> Answered:
        """
        Take tags away.
        """
        record = known(self.tickets, ticket)
        given = asked.json().get("tags") or []
        refuse_update(record, {"tags": given})
        self._set(record, {"tags": [tag for tag in record["tags"] if tag not in given]}, actor)
        return Answered(body={"tags": record["tags"]}, effect=True)

    # ---- what people do -----------------------------------------------------------------------

    def open_ticket(self, asked: Asked) -> Answered:
        return Answered(status=201, body=self.opened(**asked.json()))

    def opened(self, *, via: str = "web", **given: Any) -> dict[str, Any]:
        """
        Open a ticket as a customer does.
        """
        return self._open(given, str(given.get("requester_id") or 0), via=via)

    def add_user(self, asked: Asked) -> Answered:
        given = asked.json()
        who = person(int(given["id"]), given["name"], given.get("role", "end-user"), given.get("email", ""))
        self.users[who["id"]] = {**who, **given}
        return Answered(status=201, body=self.users[who["id"]])

    def add_organization(self, asked: Asked) -> Answered:
        given = {"created_at": moment(), "organization_fields": {}, "tags": [], "notes": "", **asked.json()}
        self.organizations[int(given["id"])] = given
        return Answered(status=201, body=given)

    def write_comment(self, asked: Asked, ticket: str) -> Answered:
        given = asked.json()
        record = known(self.tickets, ticket)
        event = self._comment(record, given, str(given.get("author_id", record["requester_id"])))
        return Answered(status=201, body=event)

    def state(self, _asked: Asked) -> Answered:
        tickets = [{**ticket, "comments": self.notes[number]} for number, ticket in self.tickets.items()]
        return Answered(body={"tickets": tickets})

    # ---- state --------------------------------------------------------------------------------

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _open(self, given: Mapping[str, Any], actor: str, *, via: str) -> dict[str, Any]:
        now = moment()
        number = int(given.get("id") or self._next())
        described = given.get("description") or (given.get("comment") or {}).get("body") or ""
        requester = int(given.get("requester_id") or 0)
        organization = given.get("organization_id", self.users.get(requester, {}).get("organization_id"))
        ticket = {
            "id": number,
            "subject": given.get("subject", ""),
            "description": described,
            "type": given.get("type"),
            "status": given.get("status", "new"),
            "priority": given.get("priority"),
            "tags": list(given.get("tags", [])),
            "requester_id": requester,
            "submitter_id": int(actor or 0) or requester,
            "organization_id": organization,
            "assignee_id": given.get("assignee_id"),
            "group_id": given.get("group_id"),
            "external_id": given.get("external_id"),
            "custom_fields": list(given.get("custom_fields", [])),
            "created_at": given.get("created_at", now),
            "updated_at": given.get("created_at", now),
            "via": {"channel": via},
        }
        self.tickets[number] = ticket
        self.notes[number] = [self._note(described, requester, public=True)]
        if not given.get("silent"):
            self._tell("ticket.created", ticket, actor, {})
        return ticket

    def _set(self, ticket: dict[str, Any], given: Mapping[str, Any], actor: str) -> list[dict[str, Any]]:
        events = []
        for name, value in given.items():
            before = ticket.get(name)
            if name == "custom_fields":
                for one in value:
                    events += self._set_custom(ticket, one["id"], one["value"], actor)
                continue
            if before == value:
                continue
            ticket[name] = value
            ticket["updated_at"] = moment()
            events.append({"id": self._next(), "type": "Change", "field_name": name, "value": value})
            detail = {"previous": said(before), "current": said(value)}
            if name == "tags":
                old, new = set(before or []), set(value or [])
                detail = {"tags_added": sorted(new - old), "tags_removed": sorted(old - new)}
            self._tell(f"ticket.{CHANGES.get(name, name + '_changed')}", ticket, actor, detail)
        return events

    def _set_custom(self, ticket: dict[str, Any], field: Any, value: Any, actor: str) -> list[dict[str, Any]]:
        held = {str(one["id"]): one["value"] for one in ticket["custom_fields"]}
        before = held.get(str(field))
        if before == value:
            return []
        held[str(field)] = value
        ticket["custom_fields"] = [{"id": int(number), "value": text} for number, text in held.items()]
        ticket["updated_at"] = moment()
        detail = {
            "previous": before,
            "current": value,
            "field": {"id": str(field), "type": "textarea", "title": "Brief"},
        }
        self._tell("ticket.custom_field_changed", ticket, actor, detail)
        return [{"id": self._next(), "type": "Change", "field_name": str(field), "value": value}]

    def _comment(self, ticket: dict[str, Any], given: Mapping[str, Any], actor: str) -> dict[str, Any]:
        note = self._note(str(given.get("body") or ""), int(actor or 0), public=bool(given.get("public", True)))
        self.notes[ticket["id"]].append(note)
        ticket["updated_at"] = note["created_at"]
        staff = self.users.get(note["author_id"], {}).get("role") in ("agent", "admin")
        shown = {
            "id": str(note["id"]),
            "is_public": note["public"],
            "body": note["body"],
            "author": {"id": actor, "is_staff": staff},
        }
        self._tell("ticket.comment_added", ticket, actor, {"comment": shown})
        return {"id": note["id"], "type": "Comment", "body": note["body"], "public": note["public"]}

    def _note(self, body: str, author: int, *, public: bool) -> dict[str, Any]:
        return {
            "id": self._next(),
            "type": "Comment",
            "author_id": author,
            "body": body,
            "plain_body": body,
            "public": public,
            "created_at": moment(),
        }

    def _tell(self, kind: str, ticket: Mapping[str, Any], actor: str, event: Mapping[str, Any]) -> None:
        detail = {name: said(value) for name, value in ticket.items() if name not in UNTOLD}
        detail |= {name: detail[name].upper() for name in ("type", "status", "priority") if detail.get(name)}
        detail |= {"actor_id": actor, "tags": list(ticket["tags"]), "via": dict(ticket["via"]), "is_public": True}
        sequence = {"id": uuid.uuid4().hex.upper(), "position": 1, "total": 1}
        body = {
            "type": f"zen:event-type:{kind}",
            "account_id": 22129848,
            "id": str(uuid.uuid4()),
            "time": moment(fraction=True),
            "zendesk_event_version": "2022-11-06",
            "subject": f"zen:ticket:{ticket['id']}",
            "detail": detail,
            "event": {"meta": {"sequence": sequence}, **event},
        }
        self.hooks.emit(body, {"x-zendesk-webhook-invocation-id": uuid.uuid4().hex})
        for template in self.triggers:
            comment = (event.get("comment") or {}).get("body", "")
            written = rendered(template, ticket, actor, comment)
            self.hooks.emit(written, {"x-zendesk-webhook-invocation-id": uuid.uuid4().hex})


if __name__ == "__main__":
    main(ZendeskDouble)
