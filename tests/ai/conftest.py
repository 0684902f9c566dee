from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import ai
import ledger as ledgers
from ai.double import ModelDouble
from ai.models import ModelSpec, Rates
from ai.output import OutputSchema
from ledger.contract import Claim, Ledger, NewRun
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.metrics import Instruments
from penstock.secrets import SecretRefs, Secrets
from schemas.entries import Answer, ModelCall, Prompt
from tests.ai.google_cloud import GoogleCloud, Identity

KEY = "sk-canary-0123456789abcdef"
OLD_KEY = "sk-canary-old-9876543210"
SUMMARY = OutputSchema(
    name="ticket-summary",
    schema={
        "type": "object",
        "additionalProperties": False,
        "required": ["summary", "mood", "confidence"],
        "properties": {
            "summary": {"type": "string", "maxLength": 300},
            "mood": {"enum": ["calm", "frustrated", "angry"]},
            "order_id": {"type": "string"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        },
    },
)
TICKET = """subject: Parcel never arrived
description: I ordered a lamp on 3 November (order ORD-4711) and paid 49.99 EUR. The tracking page has said
"in delivery" for nine days and I am really frustrated. Please send a replacement or refund me by Friday."""
PROMPT = Prompt(
    system="Summarise the ticket for the agent who opens it.",
    user=f"<ticket 123456789012>\n{TICKET}\n</ticket 123456789012>",
    tokens=120,
)


@dataclass
class Desk:
    """
    An AI layer on a real ledger and a model server, with everything a test wants to turn.
    """

    double: ModelDouble
    ledger: Ledger
    http: AiohttpHttp
    environment: dict[str, str]
    """Where the keys are; a test may rotate them."""
    ai: ai.AI
    fails: list[Callable[[str], None]]
    instruments: Instruments
    runs: int = 0

    async def claim(self, event: str = "") -> Claim:
        self.runs += 1
        run = NewRun(
            pipeline="ticket-summary",
            lane=f"lane-{event or self.runs}",
            source="https://acme.example",
            event_id=event or f"event-{self.runs}",
            subject="1",
            body_hash="b",
            config_hash="c",
            topic="t",
            partition=0,
            offset=self.runs,
            bus_time=0,
        )
        claim = await self.ledger.claim(run)
        assert isinstance(claim, Claim)
        return claim

    async def ask(self, claim: Claim | None = None, **kw: Any) -> Answer:
        given: dict[str, Any] = {
            "model": "small",
            "output": SUMMARY,
            "max_output": 300,
            "timeout": 60.0,
            "ask_hash": "h1",
            "evidence": TICKET,
        } | kw
        return await self.ai.ask(claim or await self.claim(), kw.pop("prompt", PROMPT), **given)

    async def calls(self, claim: Claim) -> tuple[ModelCall, ...]:
        detail = await self.ledger.detail(claim.run)
        assert detail is not None
        return detail.calls


RATES = Rates(input=1_000_000, output=2_000_000)


def _models(double: ModelDouble, refs: SecretRefs) -> dict[str, ModelSpec]:
    """
    Return one model at each provider, all of them at *double*.
    """
    given: dict[str, Any] = {"key": refs, "url": double.url, "price": RATES}
    account = given | {"key": SecretRefs.parse("${env:ACCOUNT}")}
    return {
        "small": ModelSpec(name="small", provider="openai", model="small-1", **(given | {"url": double.openai_url})),
        "large": ModelSpec(name="large", provider="anthropic", model="claude-haiku-4-5", **given),
        "azure": ModelSpec(name="azure", provider="azure", model="ours", api_version="2024-10-21", **given),
        "google": ModelSpec(name="google", provider="google", model="gemini-2.5-flash", **given),
        "vertex": ModelSpec(name="vertex", provider="vertex", model="gemini-2.5-flash", project="acme", **account),
        "bedrock": ModelSpec(
            name="bedrock", provider="bedrock", model="us.amazon.nova-lite-v1:0", region="us-east-1", **given
        ),
        "offline": ModelSpec(name="offline", provider="offline", model="extractive"),
        "unpriced": ModelSpec(name="unpriced", provider="openai", model="own", key=refs, url=double.openai_url),
        "nowhere": ModelSpec(
            name="nowhere", provider="openai", model="m", key=refs, url="http://127.0.0.1:9/v1", price=RATES
        ),
    }


class AnyToken(Mapping[str, str]):
    """
    The keys of a double, and every token the cloud has given.
    """

    def __init__(self, keys: Mapping[str, str], cloud: GoogleCloud) -> None:
        self._keys = keys
        self._cloud = cloud

    def __getitem__(self, name: str) -> str:
        return {**self._keys, **{token: token for token in self._cloud.given}}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._keys, *self._cloud.given])

    def __len__(self) -> int:
        return len(self._keys) + len(self._cloud.given)


@pytest.fixture(scope="session")
def identity() -> Identity:
    return Identity()


@pytest.fixture
async def cloud(identity: Identity) -> AsyncIterator[GoogleCloud]:
    async with GoogleCloud(identity=identity) as cloud:
        yield cloud


@pytest.fixture
async def desk(cloud: GoogleCloud) -> AsyncIterator[Desk]:
    http, clock = AiohttpHttp(), SystemClock()
    environment = {"NEW_KEY": KEY, "OLD_KEY": OLD_KEY, "ACCOUNT": cloud.account}
    fails: list[Callable[[str], None]] = []

    def fail(name: str) -> None:
        for hit in fails:
            hit(name)

    ledger = await ledgers.open(None, clock=clock)
    async with ModelDouble(keys=AnyToken({"new": KEY, "old": OLD_KEY}, cloud)) as double:
        models = _models(double, SecretRefs.parse(["${env:NEW_KEY}", "${env:OLD_KEY}"]))
        parts = {"http": http, "ledger": ledger, "secrets": Secrets(environment), "clock": clock}
        instruments = Instruments()
        layer = ai.open(models, **parts, fail=fail, instruments=instruments)
        yield Desk(double, ledger, http, environment, layer, fails, instruments)
    await http.close()
    await ledger.close()
