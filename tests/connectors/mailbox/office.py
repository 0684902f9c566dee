"""
A mailbox with its servers, as tests use it.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from imapclient import IMAPClient

from connectors import catalog, open_call, open_source_call
from connectors.bench import KEY, SLOT
from connectors.contract import Call
from connectors.mailbox import inbox
from connectors.mailbox.connector import MailboxConnector
from penstock.clock import SystemClock
from penstock.redaction import Redactor
from penstock.secrets import Secrets
from schemas.events import Event
from tests.connectors.mailbox.servers import PASSWORD, USER, Dovecot, Post, Pretended, dovecot, pretended

QUESTION = """\
From: Nadia Haddad <nadia@customer.example>
To: support@acme.example
Subject: Where is order 4711?
Date: Mon, 05 Jan 2026 09:00:00 +0100
Message-ID: <{id}@customer.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
{more}
{text}
"""


def mail(number: str = "1", *, more: str = "", text: str = "It has not arrived.") -> bytes:
    return QUESTION.format(id=number, more=more, text=text).replace("\n", "\r\n").encode()


def connect(inward: int, outward: int, *, known: str = PASSWORD, http: Any = None, **more: Any) -> MailboxConnector:
    given = {
        "address": USER,
        "imap": f"127.0.0.1:{inward}",
        "smtp": f"127.0.0.1:{outward}",
        "security": "none",
        "password": "${env:P}",
        **more,
    }
    given = {name: value for name, value in given.items() if value is not None}
    secrets = Secrets({"P": known, "C": "client-secret", "R": "refresh"}, redactor=Redactor())
    found = catalog.open("mailbox", given, secrets=secrets, http=http, clock=SystemClock())
    assert isinstance(found, MailboxConnector)
    return found


@dataclass
class Servers:
    """
    The servers of a mailbox, and what lies in them.
    """

    imap: Dovecot | Pretended
    post: Post | Pretended

    @contextlib.contextmanager
    def client(self) -> Iterator[IMAPClient]:
        client = IMAPClient("127.0.0.1", self.imap.port, ssl=False)
        client.login(USER, PASSWORD)
        yield client
        client.logout()

    def folder(self, name: str) -> list[tuple[Any, tuple[bytes, ...]]]:
        with self.client() as client:
            client.select_folder(name)
            found = client.fetch(client.search(), ["BODY.PEEK[]", "FLAGS"]) if client.search() else {}
            return [
                (email.message_from_bytes(data[b"BODY[]"], policy=email.policy.default), data[b"FLAGS"])
                for _, data in sorted(found.items())
            ]

    def sent(self) -> list[Any]:
        return [email.message_from_bytes(one.content, policy=email.policy.default) for one in self.post.handler.got]


@dataclass
class Office(Servers):
    """
    A mailbox with its servers, and a connection to it.
    """

    box: MailboxConnector

    def call(self, key: str = KEY, *, timeout: float = 20.0, fence: Any = None, slot: str = SLOT) -> Call:
        return open_call(
            self.box,
            None,
            key=key,
            slot=slot,
            timeout=timeout,
            fence=fence,
            clock=SystemClock(),  # type: ignore[arg-type]
        )

    def pages(self, cursor: bytes | None) -> Any:
        call = open_source_call(self.box, None, key="s", timeout=5.0, clock=SystemClock())  # type: ignore[arg-type]
        return self.box.sources["inbox"].read(cursor, call)

    async def read(self, cursor: bytes | None, count: int, *, pages: int = 1_000) -> tuple[list[Event], bytes | None]:
        """Read until *count* mails came, or so many pages."""
        found: list[Event] = []
        async with asyncio.timeout(60), contextlib.aclosing(self.pages(cursor)) as reading:
            async for page in reading:
                found += page.events
                cursor = page.cursor or cursor
                pages -= 1
                if len(found) >= count or not pages:
                    break
        return found, cursor

    async def start(self) -> bytes | None:
        return (await self.read(None, 0, pages=1))[1]

    async def one(self, raw: bytes | None = None) -> Event:
        cursor = await self.start()
        self.imap.deliver(raw or mail())
        [event], _ = await self.read(cursor, 1)
        return event

    async def write(self, name: str, record: str, text: str = "It left yesterday.", **more: Any) -> Any:
        mode = more.pop("mode", "add")
        return await self.box.actions[name].write(record, {"text": text}, mode, self.call(**more))


@contextlib.asynccontextmanager
async def opened(kind: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """
    Open an office on the real servers (`dovecot`), or on the pretended ones.
    """
    monkeypatch.setattr(inbox, "SLICE", 0.2)
    with real() if kind == "dovecot" else pretended() as (imap, post):
        box = connect(imap.port, post.port, forward_to=["boss@acme.example"], scan="3")
        found = Office(imap, post, box)
        yield found
        await box.close()
        if isinstance(found.post, Post):
            found.post.stop()  # the one a test put there


@contextlib.contextmanager
def real() -> Iterator[tuple[Dovecot, Post]]:
    with dovecot() as imap:
        post = Post()
        post.start()
        yield imap, post
        post.stop()
