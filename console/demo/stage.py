"""
What the stories are played on: a hub with a state of its own, and a double behind each of its connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipelines
from connectors.double import serving
from connectors.mailbox.double import MailboxDouble
from connectors.salesforce.double import CLIENT, SECRET, SalesforceDouble
from connectors.slack.double import SlackDouble
from console.app import Hub, open_hub
from console.demo import overlay
from console.demo.letters import earlier
from console.serving import listening
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.errors import Invalid
from penstock.secrets import Secrets
from pipelines.declaration import Connection, Declaration
from schemas.entries import Run, RunDetail

PIPELINES = ("slack-reply", "mail-draft", "account-enrichment")
SECRETS = {
    "DEMO_SLACK_TOKEN": "xoxb-demo",
    "DEMO_SLACK_SECRET": "demo-signing-secret",
    "DEMO_CRM_SECRET": SECRET,
    "DEMO_MAIL_PASSWORD": "demo-password",
}
LOOK_EVERY = 0.05  # seconds
STOP_GRACE = 5.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    The hub and its doubles.
    """

    hub: Hub
    slack: SlackDouble
    crm: SalesforceDouble
    mailbox: MailboxDouble

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        """
        Return what *holds* gives once it gives something.
        """
        while not (found := await holds()):  # noqa: ASYNC110  # another part of the hub is watched from outside
            await asyncio.sleep(LOOK_EVERY)
        return found

    async def reads(self, source: str) -> None:
        """
        Wait until the hub knows where in *source* (`connection/source`) it began: what comes then is new.
        """
        await self.until(lambda: self.hub.ledger.cursor(source))

    async def run_where(self, wanted: Callable[[Run], bool]) -> RunDetail:
        """
        Return the run that is as *wanted*, once there is one.
        """

        async def there() -> RunDetail | None:
            run = next((run for run in await self.hub.ledger.runs(RunQuery()) if wanted(run)), None)
            return await self.hub.ledger.detail(run.run) if run is not None else None

        found: RunDetail = await self.until(there)
        return found

    async def run_of(self, subject: str, *states: str) -> RunDetail:
        """
        Return the run of what somebody else did to *subject*, once it is in one of *states*.
        """
        return await self.run_where(
            lambda run: run.subject == subject and run.state in states and run.verdict != "own-write"
        )


@contextlib.asynccontextmanager
async def staged(state: Path, model: overlay.Choice) -> AsyncIterator[Stage]:
    """
    Open a stage with its state in the folder *state*.
    """
    loaded = pipelines.load(HOUSE / "pipelines.yaml")
    if loaded.declaration is None:
        raise Invalid("the worked examples are wrong", where="pipelines.yaml", hint="penstock check says why")
    slack, crm = SlackDouble(token=SECRETS["DEMO_SLACK_TOKEN"]), SalesforceDouble()
    mailbox = _furnished(str(loaded.declaration.connections["mail"].settings["address"]))
    async with serving(slack) as chat, serving(crm) as rest, crm.pubsub() as pubsub, mailbox.serving() as ports:
        places = {"chat": _chat(chat), "crm": _crm(rest, pubsub), "mail": _mail(*ports)}
        declaration = _overlaid(loaded.declaration, places, state=state, model=model)
        async with open_hub(declaration, loaded.root, secrets=Secrets({**os.environ, **SECRETS})) as hub:
            await hub.engine.start()
            try:
                async with listening(hub, "127.0.0.1", 0) as url:
                    slack.hooks.subscribe(f"{url}/in/chat", SECRETS["DEMO_SLACK_SECRET"])
                    yield Stage(hub=hub, slack=slack, crm=crm, mailbox=mailbox)
            finally:
                await hub.engine.stop(STOP_GRACE)


def _furnished(address: str) -> MailboxDouble:
    """
    Return a mailbox with the beginning of a conversation in it.
    """
    mailbox = MailboxDouble(address=address, password=SECRETS["DEMO_MAIL_PASSWORD"])
    for folder, mail in zip(("INBOX", "Sent"), earlier(address), strict=True):
        mailbox.folders[folder].put(mail, {"\\Seen"})
    return mailbox


def _chat(url: str) -> dict[str, str]:
    secrets = {"bot_token": "${env:DEMO_SLACK_TOKEN}", "signing_secret": "${env:DEMO_SLACK_SECRET}"}
    return {"url": f"{url}/api", **secrets}


def _crm(url: str, pubsub: str) -> dict[str, str]:
    return {"url": url, "pubsub": pubsub, "client_id": CLIENT, "client_secret": "${env:DEMO_CRM_SECRET}"}


def _mail(inward: int, outward: int) -> dict[str, str]:
    servers = {"imap": f"127.0.0.1:{inward}", "smtp": f"127.0.0.1:{outward}", "security": "none"}
    return {**servers, "password": "${env:DEMO_MAIL_PASSWORD}"}


def _overlaid(
    declaration: Declaration, places: Mapping[str, Mapping[str, str]], *, state: Path, model: overlay.Choice
) -> Declaration:
    """
    Return *declaration* reduced to the stories, with doubles behind its connections, and nobody who waits for a burst.
    """
    worked = {name: declaration.connections[name] for name in places}
    connections = {
        name: Connection.model_validate({**one.settings, "connector": one.connector, **places[name]})
        for name, one in worked.items()
    }
    chosen = {name: declaration.pipelines[name] for name in PIPELINES}
    hurried = {
        name: pipeline.model_copy(
            update={
                "trigger": pipeline.trigger.model_copy(update={"settle": None}),
                "limits": pipeline.limits.model_copy(update={"per_event": overlay.PER_EVENT}),
            }
        )
        for name, pipeline in chosen.items()
    }
    return declaration.model_copy(
        update={
            "hub": declaration.hub.model_copy(update={"state": str(state), "listen": "127.0.0.1:0", "bus": None}),
            "connections": connections,
            "models": {"small": overlay.model(model)},
            "pipelines": hurried,
        }
    )
