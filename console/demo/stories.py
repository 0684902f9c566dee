"""
The other worked examples, one event each: a question in Slack, and an account in the CRM.

They have a hub and a state of their own, beside the desk's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipelines
from connectors.double import serving
from connectors.salesforce.double import CLIENT, SECRET, SalesforceDouble
from connectors.slack.double import BOT, SlackDouble
from connectors.slack.words import plain
from console.app import Hub, open_hub
from console.demo import overlay
from console.serving import listening
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.errors import Invalid
from penstock.secrets import Secrets
from pipelines.declaration import Connection, Declaration
from schemas.entries import Run

PIPELINES = ("slack-reply", "account-enrichment")
SECRETS = {"DEMO_SLACK_TOKEN": "xoxb-demo", "DEMO_SLACK_SECRET": "demo-signing-secret", "DEMO_CRM_SECRET": SECRET}
WITHIN = 60.0  # seconds of one story
LOOK_EVERY = 0.05  # seconds
STOP_GRACE = 5.0  # seconds
QUESTION = "Hi <@U0HUB0001>, is it true that order <https://shop.example/o/4711|4711> left Lyon on 17 November?"
ACCOUNT: dict[str, Any] = {"Name": "Nadia Bikes", "Website": "https://nadia-bikes.example"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    One story at its end.
    """

    title: str
    verdict: str
    lines: tuple[str, ...]
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """
    What the stories are played on.
    """

    hub: Hub
    slack: SlackDouble
    crm: SalesforceDouble

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> Any:
        """
        Return what *holds* gives once it gives something.
        """
        while not (found := await holds()):  # noqa: ASYNC110  # another part of the hub is watched from outside
            await asyncio.sleep(LOOK_EVERY)
        return found

    async def run_of(self, subject: str, *states: str) -> Run:
        """
        Return the run of what somebody else did to *subject*, once it is in one of *states*.
        """

        async def there() -> Run | None:
            runs = await self.hub.ledger.runs(RunQuery(subject=subject))
            return next((run for run in runs if run.state in states and run.verdict != "own-write"), None)

        run: Run = await self.until(there)
        return run


async def play(state: Path, *, model: overlay.Choice) -> list[Told]:
    """
    Play every story; what went wrong stands in `fault`.
    """
    async with _stage(state, model) as stage:
        told = [await _told(title, story(stage)) for title, story in STORIES.items()]
        await stage.slack.hooks.settled()
    return told


async def _told(title: str, story: Awaitable[Told]) -> Told:
    try:
        async with asyncio.timeout(WITHIN):
            return await story
    except TimeoutError:
        return Told(title=title, verdict="-", lines=(), fault=f"{title}: no end within {WITHIN:g} s")


async def _question(stage: Stage) -> Told:
    """
    Somebody asks in a channel. When the model is not sure, a colleague approves its draft.
    """
    title, asked = "Slack question", stage.slack.say(QUESTION)
    record = f"C0SUPPORT1/{asked['ts']}"
    lines = [f"asked in #support: {plain(QUESTION)}"]
    run = await stage.run_of(record, "final", "aside")
    if run.state == "aside":
        lines.append("the answer was not sure enough: a draft waited in the review channel, and Nadia approved it")
        stage.slack.press("approve")
        run = await stage.run_of(record, "final")
    answers = [one for one in stage.slack.channels["C0SUPPORT1"] if one.get("bot_id") == BOT and one.get("thread_ts")]
    lines += [f"in the thread: {one['text'].splitlines()[0]}" for one in answers]
    fault = None if run.verdict == "delivered" and len(answers) == 1 else f"{title}: {run.verdict} {run.error}"
    return Told(title=title, verdict=str(run.verdict), lines=tuple(lines), fault=fault)


async def _account(stage: Stage) -> Told:
    """
    Somebody makes an account; what is missing in it is filled in, and our own change starts nothing.
    """
    title = "CRM account"
    await stage.until(lambda: stage.hub.ledger.cursor("crm/changes"))
    account = stage.crm.made("Account", **ACCOUNT)
    run = await stage.run_of(account["Id"], "final")
    lines = (f"made: {account['Name']}, without a description", f"now: {account['Description']}")
    good = run.verdict == "delivered" and bool(account["Description"])

    async def echoed() -> bool:
        runs = await stage.hub.ledger.runs(RunQuery(subject=account["Id"]))
        return any(one.verdict == "own-write" for one in runs)

    if good:
        await stage.until(echoed)
    return Told(title=title, verdict=str(run.verdict), lines=lines, fault=None if good else f"{title}: {run.error}")


STORIES: dict[str, Callable[[Stage], Awaitable[Told]]] = {"Slack question": _question, "CRM account": _account}


@contextlib.asynccontextmanager
async def _stage(state: Path, model: overlay.Choice) -> AsyncIterator[Stage]:
    loaded = pipelines.load(HOUSE / "pipelines.yaml")
    if loaded.declaration is None:
        raise Invalid("the worked examples are wrong", where="pipelines.yaml", hint="penstock check says why")
    slack, crm = SlackDouble(token=SECRETS["DEMO_SLACK_TOKEN"]), SalesforceDouble()
    async with serving(slack) as chat, serving(crm) as rest, crm.pubsub() as pubsub:
        connections = {
            "chat": {
                "connector": loaded.declaration.connections["chat"].connector,
                "bot_token": "${env:DEMO_SLACK_TOKEN}",
                "signing_secret": "${env:DEMO_SLACK_SECRET}",
                "review_channel": "C0REVIEW01",
                "url": f"{chat}/api",
            },
            "crm": {
                **loaded.declaration.connections["crm"].settings,
                "connector": loaded.declaration.connections["crm"].connector,
                "client_id": CLIENT,
                "client_secret": "${env:DEMO_CRM_SECRET}",
                "pubsub": pubsub,
                "url": rest,
            },
        }
        declaration = _overlaid(loaded.declaration, connections, state=state, model=model)
        async with open_hub(declaration, loaded.root, secrets=Secrets({**os.environ, **SECRETS})) as hub:
            await hub.engine.start()
            try:
                async with listening(hub, "127.0.0.1", 0) as url:
                    slack.hooks.subscribe(f"{url}/in/chat", SECRETS["DEMO_SLACK_SECRET"])
                    yield Stage(hub=hub, slack=slack, crm=crm)
            finally:
                await hub.engine.stop(STOP_GRACE)


def _overlaid(
    declaration: Declaration, connections: dict[str, dict[str, Any]], *, state: Path, model: overlay.Choice
) -> Declaration:
    """
    Return *declaration* reduced to the stories, with doubles behind its connections, and nobody who waits for a burst.
    """
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
            "connections": {name: Connection.model_validate(words) for name, words in connections.items()},
            "models": {"small": overlay.model(model)},
            "pipelines": hurried,
        }
    )
