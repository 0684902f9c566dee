"""
A record's way: a change over the Pub/Sub API, the empty fields filled in through simple-salesforce itself.

The org is a double of ours over real HTTP and real gRPC; everything between it and the ledger is what runs in earnest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

import pipelines
from ai.double import Fault, ModelDouble
from ai.providers.dialogue import Asked, Replied
from connectors.double import serving
from connectors.double_faults import Fault as OrgFault
from connectors.salesforce.double import CLIENT, SECRET, SalesforceDouble
from console.app import Hub, open_hub
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from schemas.entries import RunDetail

SECRETS = {"SALESFORCE_SECRET": SECRET, "OPENAI_API_KEY": "sk-test"}
SAID = {"industry": "Retail", "description": "Nadia Bikes sells bikes.", "confidence": 0.9}
WITHIN = 60.0  # seconds
LOOK_EVERY = 0.02  # seconds
MANY = 25  # records: more than one stream gives before it is cut


@dataclass(kw_only=True)
class Model(ModelDouble):
    """
    A model that takes long enough for something else to happen.
    """

    meanwhile: Callable[[], Any] | None = None

    def reply(self, asked: Asked, fault: Fault | None) -> Replied:
        if self.meanwhile is not None:
            self.meanwhile()
        return super().reply(asked, fault)


@dataclass
class Journey:
    """
    An org, a model, and a hub that runs between them.
    """

    crm: SalesforceDouble
    model: Model
    hub: Hub

    def says(self, **answer: Any) -> None:
        self.model.answers.append(orjson.dumps(SAID | answer).decode())

    async def details(self, record: str, count: int = 1, *, ours: bool = False) -> list[RunDetail]:
        """Wait until *count* runs about a record are over, of what others did or of what is *ours*; the oldest first."""
        async with asyncio.timeout(WITHIN):
            while True:
                runs = [run for run in await self.hub.ledger.runs(RunQuery(subject=record)) if run.state == "final"]
                runs = [run for run in runs if (run.verdict == "own-write") == ours]
                if len(runs) >= count:
                    found = [await self.hub.ledger.detail(run.run) for run in reversed(runs)]
                    return [one for one in found if one is not None]
                await asyncio.sleep(LOOK_EVERY)

    def writes(self) -> list[dict[str, Any]]:
        return [call for call in self.crm.calls if call["method"] == "PATCH"]


@asynccontextmanager
async def journey(folder: Path, crm: SalesforceDouble, **more: Any) -> AsyncIterator[Journey]:
    """
    Start the worked example between an org and a model; it waits for no burst.
    """
    async with Model(keys={"main": "sk-test"}) as model, serving(crm) as rest, crm.pubsub() as pubsub:
        laid = {
            "connections.crm.url": rest,
            "connections.crm.pubsub": pubsub,
            "connections.crm.client_id": CLIENT,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
            "pipelines.account-enrichment.trigger.settle": "1s",
        }
        root = overlay(HOUSE, folder / "hub", laid | more, pipelines=["account-enrichment"])
        declared = pipelines.load(root / "pipelines.yaml").declaration
        assert declared is not None
        async with open_hub(declared, root, secrets=Secrets(SECRETS)) as hub:
            await hub.engine.start()
            try:
                async with asyncio.timeout(WITHIN):
                    while await hub.ledger.cursor("crm/changes") is None:  # watched from outside
                        await asyncio.sleep(LOOK_EVERY)
                yield Journey(crm, model, hub)
            finally:
                await hub.engine.stop()


async def test_what_is_missing_in_a_new_record_is_filled_in(tmp_path: Path) -> None:
    """
    What a person wrote stays, what is empty is set; our own change comes back, is known as ours, and costs nothing.
    """
    async with journey(tmp_path, SalesforceDouble()) as way:
        way.says()
        account = way.crm.made("Account", Name="Nadia Bikes", Industry="Transportation")
        way.crm.made("Contact", Name="Nadia Haddad", Title="Owner", AccountId=account["Id"])
        [done] = await way.details(account["Id"])
        [echo] = await way.details(account["Id"], ours=True)
        asked = next(step.receipt for step in done.steps if step.kind == "ask")

        assert done.run.verdict == "delivered"
        assert (account["Industry"], account["Description"]) == ("Transportation", SAID["description"])
        assert "Nadia Haddad" in asked["prompt"]["user"], "looked up by SOQL"
        assert "client=penstock" in str(echo.run.error)
        assert all("client=penstock" in one for one in way.crm.options)
        assert (done.run.cost > 0, echo.run.cost) == (True, 0)
        assert len(way.writes()) == len(way.model.calls) == 1


async def test_only_the_fields_that_are_named_start_it(tmp_path: Path) -> None:
    """
    Another field is nobody's business and costs nothing; a new website is.
    """
    async with journey(tmp_path, SalesforceDouble()) as way:
        way.says(confidence=0.2)
        way.says(description="They build trains.", confidence=0.9)
        account = way.crm.made("Account", Name="Nadia Bikes", Description="As it is.", Industry="Other")
        await way.details(account["Id"])
        way.crm.change(account, Industry="")
        await way.details(account["Id"], 2)
        way.crm.change(account, Website="https://trains.example")
        made, other, website = await way.details(account["Id"], 3)

        assert [one.run.verdict for one in (made, other, website)] == ["skipped", "filtered", "delivered"]
        assert other.run.cost == 0
        assert (account["Industry"], account["Description"]) == (SAID["industry"], "As it is.")
        assert len(way.model.calls) == 2


async def test_a_person_who_was_faster_is_not_overwritten(tmp_path: Path) -> None:
    """
    Whether a field is empty is asked when it is written, not when the event came.
    """
    async with journey(tmp_path, SalesforceDouble()) as way:
        way.says()
        account = way.crm.made("Account", Name="Nadia Bikes")
        way.model.meanwhile = lambda: way.crm.change(account, Description="Written by a person.")
        first, persons = await way.details(account["Id"], 2)

        assert (first.run.verdict, persons.run.verdict) == ("delivered", "filtered")
        assert account["Description"] == "Written by a person."
        assert account["Industry"] == SAID["industry"]


async def test_changes_of_the_time_when_nobody_ran(tmp_path: Path) -> None:
    """
    A hub that comes back goes on where it was: every change is run once, over a stream that is cut all the time.
    """
    crm = SalesforceDouble()
    async with journey(tmp_path, crm):
        pass
    crm.cut_after = 20
    accounts = [crm.made("Account", Name=f"Company {number}") for number in range(MANY)]
    async with journey(tmp_path, crm) as way:
        ends = [detail.run.verdict for account in accounts for detail in await way.details(account["Id"])]

        assert ends == ["delivered"] * MANY
        assert len(way.writes()) == len(way.model.calls) == MANY
        assert all(account["Description"] for account in accounts)


async def test_a_write_whose_answer_is_lost(tmp_path: Path) -> None:
    """
    The fields are not empty any more, and that is our doing: the same is set again, and the run says so; paid is once.
    """
    async with journey(tmp_path, SalesforceDouble()) as way:
        way.says()
        way.crm.faults.add(OrgFault(kind="drop-after", match="PATCH "))
        account = way.crm.made("Account", Name="Nadia Bikes")
        [done] = await way.details(account["Id"])

        assert done.run.verdict == "delivered"
        assert (account["Industry"], account["Description"]) == (SAID["industry"], SAID["description"])
        assert {one.state for one in done.writes} == {"done"}
        assert len(way.model.calls) == 1
        assert len(way.writes()) == 2


async def test_a_write_whose_answer_is_lost_and_a_person(tmp_path: Path) -> None:
    """
    What somebody has changed since then is left as it is; the rest is ours, and the run says that it was set.
    """
    async with journey(tmp_path, SalesforceDouble()) as way:
        way.says()
        way.crm.faults.add(OrgFault(kind="drop-after", match="PATCH "))
        account = way.crm.made("Account", Name="Nadia Bikes")
        async with asyncio.timeout(WITHIN):
            while not account["Industry"]:
                await asyncio.sleep(LOOK_EVERY)
        way.crm.change(account, Description="Written by a person.")
        done, _ = await way.details(account["Id"], 2)

        assert done.run.verdict == "delivered"
        assert (account["Industry"], account["Description"]) == (SAID["industry"], "Written by a person.")
        assert len(way.model.calls) == 1
