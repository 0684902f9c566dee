"""
The pretend help desk: a double of Zendesk over real HTTP, with customers, history and tickets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from connectors.double import serving
from connectors.zendesk.double import ZendeskDouble
from console.demo.overlay import SECRETS
from console.demo.tickets import EARLIER, ORGANIZATIONS, PEOPLE, Ticket


class Desk:
    """
    What happens at the desk, and what can be seen there.
    """

    def __init__(self, double: ZendeskDouble, url: str) -> None:
        self._double = double
        self.url = url

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Desk]:
        """
        Serve a furnished desk on a free port of this machine.
        """
        double = ZendeskDouble(token=SECRETS["DEMO_ZENDESK_TOKEN"])
        _furnish(double)
        async with serving(double) as url:
            yield cls(double, url)

    def tell(self, url: str, secret: str) -> None:
        """
        Send a webhook signed with *secret* to *url* for every change from now on.
        """
        self._double.hooks.subscribe(url, secret)

    def receive(self, ticket: Ticket) -> None:
        """
        Let a customer write *ticket*.
        """
        self._double.opened(
            id=ticket.id,
            subject=ticket.subject,
            description=ticket.description,
            type=ticket.category,
            priority=ticket.priority,
            tags=list(ticket.tags),
            requester_id=ticket.requester,
            organization_id=ticket.organization,
        )
        if ticket.twice:
            self._double.hooks.redeliver(1)

    @property
    def deliveries(self) -> int:
        """
        How many webhooks were sent.
        """
        return len(self._double.hooks.deliveries)

    async def settled(self) -> None:
        """
        Wait until every webhook was taken.
        """
        await self._double.hooks.settled()

    def status(self, ticket: int) -> str:
        """
        Return the status of a ticket.
        """
        return str(self._double.tickets[ticket]["status"])

    def notes(self, ticket: int) -> tuple[str, ...]:
        """
        Return the internal notes on a ticket, oldest first.
        """
        return tuple(str(comment["body"]) for comment in self._comments(ticket) if not comment["public"])

    def public_replies(self, ticket: int) -> int:
        """
        Return how many replies the customer can see, their own text not counted.
        """
        return sum(bool(comment["public"]) for comment in self._comments(ticket)) - 1

    def _comments(self, ticket: int) -> list[dict[str, Any]]:
        return self._double.notes[ticket]


def _furnish(double: ZendeskDouble) -> None:
    for organization in ORGANIZATIONS:
        number = int(str(organization["id"]))
        double.organizations[number] = {
            "id": number,
            "name": organization["name"],
            "created_at": f"{organization['since']}T09:00:00Z",
            "organization_fields": {"tier": organization["tier"]},
            "tags": [],
            "notes": "",
        }
    for person in PEOPLE:
        number = int(str(person["id"]))
        double.users[number] = {
            **person,
            "role": "end-user",
            "locale": "en-US",
            "created_at": "2024-01-01T09:00:00Z",
            "tags": [],
        }
    for earlier in EARLIER:
        double.opened(
            id=earlier.id,
            subject=earlier.subject,
            description=earlier.description,
            status=earlier.status,
            created_at=earlier.created_at,
            requester_id=earlier.requester,
            organization_id=earlier.organization,
            silent=True,
        )
