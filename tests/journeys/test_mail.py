"""
A mail's way from a real Dovecot through a hub, and back over a real SMTP server: a draft, or a reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import pipelines
from ai.double import ModelDouble
from console.app import open_hub
from console.testing import HubProcess, overlay
from ledger.contract import Ledger, RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from schemas.entries import RunDetail
from tests.connectors.mailbox.office import Servers, mail
from tests.connectors.mailbox.servers import PASSWORD, Post, dovecot

SECRETS = {"MAIL_PASSWORD": PASSWORD, "OPENAI_API_KEY": "sk-test"}
REPLY = [{"to": "mail.reply", "template": "mail-reply.j2"}]
WITHIN = 60.0  # seconds
LOOK_EVERY = 0.02  # seconds


@pytest.fixture
def servers() -> Iterator[Servers]:
    with dovecot() as imap:
        post = Post()
        post.start()
        yield Servers(imap, post)
        post.stop()


@dataclass
class Journey:
    """
    A mailbox, a model, and the ledger of a hub between them.
    """

    servers: Servers
    model: ModelDouble
    ledger: Ledger

    async def listens(self) -> None:
        """Wait until the hub knows where in the mailbox it began."""
        async with asyncio.timeout(WITHIN):
            while await self.ledger.cursor("mail/inbox") is None:  # it is watched from outside
                await asyncio.sleep(LOOK_EVERY)

    async def detail(self, message_id: str, *states: str) -> RunDetail:
        """Wait for the run of the mail with that Message-ID."""
        async with asyncio.timeout(WITHIN):
            while True:
                for run in await self.ledger.runs(RunQuery()):
                    if (run.subject or "").endswith(f"/{message_id}") and run.state in (states or ("final",)):
                        detail = await self.ledger.detail(run.run)
                        assert detail is not None
                        return detail
                await asyncio.sleep(LOOK_EVERY)

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds():
                await asyncio.sleep(LOOK_EVERY)

    def asked(self, detail: RunDetail) -> dict[str, Any]:
        """Return the receipt of the question."""
        found: dict[str, Any] = next(step.receipt for step in detail.steps if step.kind == "ask")
        return found

    def replies(self) -> list[EmailMessage]:
        return self.servers.sent()


def laid(folder: Path, servers: Servers, model: ModelDouble, **more: Any) -> Path:
    changes = {
        "connections.mail.imap": f"127.0.0.1:{servers.imap.port}",
        "connections.mail.smtp": f"127.0.0.1:{servers.post.port}",
        "connections.mail.security": "none",
        "connections.mail.scan": "1",
        "models.small.url": model.openai_url,
        "models.small.price_as": "openai/gpt-5-mini",
    }
    return overlay(HOUSE, folder, changes | more, pipelines=["mail-draft"])


@asynccontextmanager
async def journey(folder: Path, servers: Servers, **more: Any) -> AsyncIterator[Journey]:
    """
    Start the worked example between real servers; *more* is laid over it.
    """
    async with ModelDouble(keys={"main": "sk-test"}) as model:
        root = laid(folder / "hub", servers, model, **more)
        declared = pipelines.load(root / "pipelines.yaml").declaration
        assert declared is not None
        async with open_hub(declared, root, secrets=Secrets(SECRETS)) as hub:
            await hub.engine.start()
            try:
                way = Journey(servers, model, hub.ledger)
                await way.listens()
                yield way
            finally:
                await hub.engine.stop()


def replying(**more: Any) -> dict[str, Any]:
    return {"pipelines.mail-draft.deliver": REPLY, **more}


async def test_a_mail_gets_a_draft(tmp_path: Path, servers: Servers) -> None:
    """
    One draft in the thread for a person to send, one call with its cost; nothing leaves, nothing is marked as read.
    """
    async with journey(tmp_path, servers) as way:
        servers.imap.deliver(mail(text="Order 4711 has not arrived. Please refund 1,240.00 EUR."))
        detail = await way.detail("1@customer.example")
        [(draft, flags)] = servers.folder("Drafts")
        asked = way.asked(detail)

        assert detail.run.verdict == "delivered"
        assert (draft["In-Reply-To"], draft["To"]) == ("<1@customer.example>", "nadia@customer.example")
        assert "4711" in draft.get_content()
        assert b"\\Draft" in flags
        assert [(call.outcome, call.cost) for call in detail.calls] == [("ok", detail.run.cost)]
        assert detail.run.cost > 0
        assert "1,240.00 EUR" in asked["prompt"]["user"]
        assert asked["receipt"]["used"] <= asked["receipt"]["budget"] == 2500
        assert way.replies() == []
        assert all(b"\\Seen" not in flags for _, flags in servers.folder("INBOX"))


async def test_a_conversation_is_answered_in_its_thread(tmp_path: Path, servers: Servers) -> None:
    """
    Each mail gets one reply that names it and all before it; the second question sees the first answer.
    """
    async with journey(tmp_path, servers, **replying()) as way:
        servers.imap.deliver(mail())
        await way.detail("1@customer.example")
        [first] = way.replies()
        chain = f"<1@customer.example> {first['Message-ID']}"
        more = f"In-Reply-To: {first['Message-ID']}\nReferences: {chain}\n"
        servers.imap.deliver(mail("2", more=more, text="It has still not arrived."))
        second_run = await way.detail("2@customer.example")
        [_, second] = way.replies()

        assert first["In-Reply-To"] == "<1@customer.example>"
        assert first["Auto-Submitted"] == "auto-replied"
        assert second["In-Reply-To"] == "<2@customer.example>"
        assert second["References"].split() == [*chain.split(), "<2@customer.example>"]
        sections = {one["name"]: one for one in way.asked(second_run)["receipt"]["sections"]}
        assert sections["earlier"]["kept"] > 0
        assert first.get_content().split()[0] in way.asked(second_run)["prompt"]["user"]
        assert len(way.model.calls) == 2


async def test_automatic_mail_is_never_answered(tmp_path: Path, servers: Servers) -> None:
    """
    `where` leaves it alone and it costs nothing; a pipeline that forgot to say so is refused, and the run tells why.
    """
    away = mail("away", more="Auto-Submitted: auto-replied\n", text="I am away until Monday.")
    async with journey(tmp_path / "said", servers, **replying()) as way:
        servers.imap.deliver(away)
        left = await way.detail("away@customer.example")

        assert (left.run.verdict, left.run.cost, way.model.calls) == ("filtered", 0, [])
    forgetful = {"pipelines.mail-draft.trigger.where": "event.data.subject != ''"}
    async with journey(tmp_path / "forgot", servers, **replying(**forgetful)) as way:
        servers.imap.deliver(away.replace(b"<away@", b"<again@"))
        refused = await way.detail("again@customer.example")

        assert refused.run.verdict == "dead"
        assert "Automatic mail is never answered" in str(refused.run.error)
    assert servers.sent() == []
    assert servers.folder("Sent") == []


async def test_our_own_mail_that_comes_back_is_not_answered(tmp_path: Path, servers: Servers) -> None:
    """
    A list, an alias or a rule brings our reply into our own folder: it is known as ours, and that is the end.
    """
    servers.post.handler.keeps = servers.imap.deliver
    async with journey(tmp_path, servers, **replying()) as way:
        servers.imap.deliver(mail())
        await way.detail("1@customer.example")
        [ours] = way.replies()
        echo = await way.detail(ours["Message-ID"].strip("<>"))

        assert (echo.run.verdict, echo.run.cost) == ("own-write", 0)
        assert len(way.replies()) == len(way.model.calls) == 1


# ---- a hub that dies --------------------------------------------------------------------------------

HASTY = {**SECRETS, "PENSTOCK_LEASE": "2"}
DEATHS = ("source:after-publish", "ai:after-answer", "write:before-send", "write:after-send", "finish:before")
"""In the order in which a mail comes to them."""


@contextlib.asynccontextmanager
async def dying(folder: Path, servers: Servers) -> AsyncIterator[tuple[Journey, HubProcess]]:
    """
    Start a hub that may be killed; a mail of a dead one is looked for at once.
    """
    once = {"pipelines.mail-draft.on_error": {"retry": 1, "backoff": "1s..1s"}}
    async with ModelDouble(keys={"main": "sk-test"}) as model:
        root = laid(folder / "hub", servers, model, **replying(**once))
        hub = HubProcess(root, env=HASTY, module="tests.journeys.hasty")
        async with hub, hub.ledger() as ledger:
            way = Journey(servers, model, ledger)
            await way.listens()
            yield way, hub


async def test_a_hub_that_dies_at_every_stage_replies_once(tmp_path: Path, servers: Servers) -> None:
    """
    One mail, and a hub that is killed at the next stage each time it is started: one reply, and a verdict.
    """
    async with dying(tmp_path, servers) as (way, hub):
        await hub.stop()
        servers.imap.deliver(mail())
        for point in DEATHS:
            await hub.start(fail=point)
            async with asyncio.timeout(WITHIN):
                assert await hub.died() == -signal.SIGKILL, point
        await hub.start()
        detail = await way.detail("1@customer.example")

        assert detail.run.verdict == "delivered"
        assert [one["In-Reply-To"] for one in way.replies()] == ["<1@customer.example>"]
        assert len(servers.folder("Sent")) == 1
        assert len(way.model.calls) <= 2, "only the answer that was lost may be asked for again"
        assert await hub.stop() == 0


async def test_a_hub_that_dies_while_the_mail_leaves(tmp_path: Path, servers: Servers) -> None:
    """
    Nobody can tell whether it left: it is not sent again, and the run waits for a person.
    """
    servers.post.handler.trouble.append("hang")
    async with dying(tmp_path, servers) as (way, hub):
        servers.imap.deliver(mail())
        await way.until(way.replies)
        await hub.kill()
        await hub.start()
        waiting = await way.detail("1@customer.example", "aside")

        assert waiting.run.reason == "parked"
        assert len(way.replies()) == len(way.model.calls) == 1
