"""
A hub in this process between a desk, a forge and a model that obeys every word it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from ai.double import Fault, ModelDouble
from ai.providers.dialogue import Asked as Question
from ai.providers.dialogue import Replied
from connectors.double import Answered, Asked, serving
from connectors.github.double import TOKEN as GITHUB_TOKEN
from connectors.github.double import GithubDouble
from connectors.zendesk.double import TOKEN, ZendeskDouble
from console.app import Hub, open_hub
from console.serving import listening
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from pipelines import load
from schemas.entries import RunDetail

KEY = "sk-test-0123456789abcdef"
HOOK = "hostile-hook"
SECRETS = (KEY, HOOK, TOKEN, GITHUB_TOKEN)
"""What must stand in no prompt and in no text that is written."""


@dataclass(kw_only=True)
class Obedient(ModelDouble):
    """
    A model that answers what the text it was given asks for.
    """

    orders: dict[str, str] = field(default_factory=dict)
    """Word that occurs in a prompt -> the answer its author wants."""
    prompts: list[str] = field(default_factory=list)

    def reply(self, asked: Question, fault: Fault | None) -> Replied:
        self.prompts.append(asked.user)
        order = next((answer for word, answer in self.orders.items() if word in asked.user), None)
        if order is None:
            return super().reply(asked, fault)
        return Replied(text=order, finish="stop", input=asked.input, output=50)


class Watched:
    """
    Keeps every request that could change something, with its body.
    """

    writes: list[Asked]

    def act(self, asked: Asked) -> Answered:
        if asked.method != "GET":
            self.writes.append(asked)
        answered: Answered = super().act(asked)  # type: ignore[misc]  # of the double beside it
        return answered


class Desk(Watched, ZendeskDouble):
    pass


class Forge(Watched, GithubDouble):
    pass


@dataclass
class Scene:
    """
    A hub in this process between a desk, a forge and an obedient model.
    """

    hub: Hub
    desk: Desk
    forge: Forge
    model: Obedient
    source: str

    async def told(self, pipeline: str, subject: str) -> RunDetail:
        """
        Wait for the end of the run about *subject*.
        """
        async with asyncio.timeout(30):
            while True:
                found = await self.hub.ledger.runs(RunQuery(pipeline=pipeline, subject=subject, limit=10))
                first = [run for run in found if run.verdict not in {None, "own-write"}]
                if first:
                    detail = await self.hub.ledger.detail(first[-1].run)
                    assert detail is not None
                    return detail
                await asyncio.sleep(0.02)

    def prompt_with(self, word: str) -> str:
        return next((prompt for prompt in reversed(self.model.prompts) if word in prompt), "")


@contextlib.asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Scene]:
    """
    Open the worked examples, laid over *folder*, on a stage.
    """
    desk, forge = Desk(), Forge()
    desk.writes, forge.writes = [], []
    async with Obedient(keys={"main": KEY}) as model, serving(desk) as desk_url, serving(forge) as forge_url:
        changes = {
            "connections.helpdesk.url": desk_url,
            "connections.code.api_url": forge_url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        root = overlay(HOUSE, folder, changes, pipelines=["ticket-summary", "issue-triage"])
        declaration = load(root / "pipelines.yaml").declaration
        assert declaration is not None
        env = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": HOOK, "GITHUB_TOKEN": GITHUB_TOKEN}
        secrets = Secrets({**env, "GITHUB_HOOK": HOOK, "OPENAI_API_KEY": KEY})
        async with open_hub(declaration, root, secrets=secrets) as hub:
            await hub.engine.start()
            async with listening(hub, "127.0.0.1", 0) as url:
                desk.hooks.subscribe(f"{url}/in/helpdesk", HOOK)
                forge.hooks.subscribe(f"{url}/in/code", HOOK)
                yield Scene(hub, desk, forge, model, desk_url)
                await desk.hooks.settled()
                await forge.hooks.settled()
            await hub.engine.stop(5)
