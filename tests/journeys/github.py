"""
Real GitHub payloads through a running hub: `python tests/journeys/github.py PAYLOADS`.

*PAYLOADS* is a folder of files named `<event>.<anything>.json`, each the body of one delivery. Every
file is signed and sent over HTTP to `penstock run` with the `issue-triage` pipeline of the worked
examples; GitHub and the model are doubles. Prints what happened, and exits 1 when a promise broke.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ai.double import ModelDouble
from connectors.double import serving
from connectors.github.double import LOGIN, TOKEN, GithubDouble
from console.testing import HubProcess, overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from schemas.entries import Run

KEY = "sk-test-0123456789abcdef"
HOOK = "journey-signing-secret"
SECRETS = {"GITHUB_TOKEN": TOKEN, "GITHUB_HOOK": HOOK, "OPENAI_API_KEY": KEY}
PIPELINE = "issue-triage"


@dataclass
class Delivery:
    """
    One file, as GitHub would send it.
    """

    name: str
    kind: str
    body: bytes

    def headers(self, *, secret: str = HOOK, kind: str | None = None) -> dict[str, str]:
        """
        Return the headers of a fresh delivery of this body.
        """
        signature = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "content-type": "application/json",
            "x-github-event": kind or self.kind,
            "x-github-delivery": str(uuid.uuid4()),
            "x-hub-signature-256": f"sha256={signature}",
        }


@dataclass
class Findings:
    """
    What was seen, and every promise that broke.
    """

    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.lines.append(line)

    def expect(self, kept: bool, promise: str) -> None:
        (self.lines if kept else self.broken).append(f"{'kept' if kept else 'BROKEN'}: {promise}")


def read(folder: Path) -> list[Delivery]:
    """
    Return the deliveries of *folder*, in order of their file names.
    """
    files = sorted(folder.glob("*.json"))
    return [Delivery(file.name, file.name.split(".", 1)[0], file.read_bytes()) for file in files]


@dataclass
class Journey:
    """
    A hub between GitHub and a model, and what is sent to it.
    """

    deliveries: list[Delivery]
    github: GithubDouble
    model: ModelDouble
    hub: HubProcess
    client: httpx.AsyncClient
    found: Findings

    async def walk(self) -> None:
        """
        Send everything once, then try what must not change anything.
        """
        ids = await self._send_all()
        runs = await self._verdicts(ids)
        self._tell(runs)
        self._one_comment()
        await self._own_comment_came_back()
        await self._again(ids)
        await self._forged(len(await self._runs()))
        await self._other_headers(ids)

    async def _send_all(self) -> dict[str, list[str]]:
        ids = {}
        for delivery in self.deliveries:
            answer = await self._post(delivery, delivery.headers())
            self.found.expect(answer.status_code == 202, f"{delivery.name} is taken (HTTP {answer.status_code})")
            ids[delivery.name] = answer.json().get("events", [])
        return ids

    async def _post(self, delivery: Delivery, headers: dict[str, str]) -> httpx.Response:
        return await self.client.post(f"{self.hub.url}/in/code", content=delivery.body, headers=headers)

    async def _runs(self) -> dict[str, Run]:
        async with self.hub.ledger() as ledger:
            return {run.event_id: run for run in await ledger.runs(RunQuery(pipeline=PIPELINE, limit=10_000))}

    async def _verdicts(self, ids: dict[str, list[str]]) -> dict[str, Run]:
        wanted = {event for events in ids.values() for event in events}
        runs: dict[str, Run] = {}
        for _ in range(600):
            runs = await self._runs()
            if all(event in runs and runs[event].verdict for event in wanted):
                break
            await asyncio.sleep(0.1)
        for name, events in ids.items():
            ended = bool(events) and all(event in runs and runs[event].verdict for event in events)
            self.found.expect(ended, f"{name} ends in a verdict")
        return runs

    def _tell(self, runs: dict[str, Run]) -> None:
        counts = Counter(str(run.verdict) for run in runs.values())
        self.found.say(f"verdicts: {dict(counts)}; model calls: {len(self.model.calls)}")
        self.found.expect(counts["dead"] == 0, "no event died")

    @property
    def _comments(self) -> list[dict[str, Any]]:
        everything = [comment for comments in self.github.comments.values() for comment in comments]
        return [comment for comment in everything if comment["user"]["login"] == LOGIN]

    def _one_comment(self) -> None:
        opened = [d for d in self.deliveries if d.kind == "issues" and json.loads(d.body)["action"] == "opened"]
        issues = {json.loads(delivery.body)["issue"]["number"] for delivery in opened}
        self.found.say(
            f"{len(opened)} opened deliveries about {len(issues)} issue(s): {len(self._comments)} comment(s)"
        )
        self.found.expect(len(self._comments) == len(issues), "one comment by us per issue that was opened")

    async def _own_comment_came_back(self) -> None:
        await self.github.hooks.settled()
        own = 0
        for _ in range(100):
            own = sum(run.verdict == "own-write" for run in (await self._runs()).values())
            if own:
                break
            await asyncio.sleep(0.1)
        self.found.expect(own >= 1, f"our own comments coming back are own-write ({own})")

    async def _again(self, ids: dict[str, list[str]]) -> None:
        asked, wrote = len(self.model.calls), self._writes()
        repeated = await self._send_all()
        await asyncio.sleep(2.0)
        self.found.expect(repeated == ids, "the same deliveries have the same event ids")
        self.found.expect(len(self.model.calls) == asked, "sending everything again calls no model")
        self.found.expect(self._writes() == wrote, "sending everything again writes nothing")

    def _writes(self) -> int:
        return sum(bool(call["effect"]) for call in self.github.calls)

    async def _forged(self, before: int) -> None:
        statuses = {
            (await self._post(delivery, delivery.headers(secret="wrong"))).status_code for delivery in self.deliveries
        }
        await asyncio.sleep(1.0)
        self.found.expect(statuses == {401}, f"a wrong signature is 401 ({statuses})")
        self.found.expect(len(await self._runs()) == before, "a wrong signature leaves no event")

    async def _other_headers(self, ids: dict[str, list[str]]) -> None:
        same = True
        for delivery in self.deliveries:
            answer = await self._post(delivery, delivery.headers(kind="push") | {"user-agent": "somebody else"})
            same = same and answer.json().get("events") == ids[delivery.name]
        self.found.expect(same, "a changed unsigned header changes no event id")


async def travel(payloads: Path, folder: Path) -> Findings:
    """
    Run the whole journey over *payloads* in the empty *folder*.
    """
    found = Findings()
    deliveries = read(payloads)
    if not deliveries:
        found.broken.append(f"{payloads} holds no *.json file")
        return found
    github = GithubDouble()
    for delivery in deliveries:
        github.adopt(json.loads(delivery.body))
    async with (
        ModelDouble(keys={"main": KEY}) as model,
        serving(github) as url,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        changes = {
            "connections.code.api_url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        hub = HubProcess(overlay(HOUSE, folder, changes, pipelines=[PIPELINE]), env=SECRETS)
        async with hub:
            github.hooks.subscribe(f"{hub.url}/in/code", HOOK)
            await Journey(deliveries, github, model, hub, client, found).walk()
            found.expect(await hub.stop() == 0, "the hub stops cleanly")
    return found


def main() -> int:
    """
    Travel over the folder named on the command line.
    """
    if len(sys.argv) != 2:
        sys.stderr.write("usage: make journey-github PAYLOADS=folder\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(travel(Path(sys.argv[1]), Path(folder)))
    sys.stdout.write("\n".join([*found.lines, *found.broken, f"{len(found.broken)} promises broken"]) + "\n")
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
