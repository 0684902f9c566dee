from __future__ import annotations

from collections.abc import AsyncIterator, Callable
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
from penstock.secrets import SecretRefs, Secrets
from schemas.entries import Answer, ModelCall, Prompt

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
            "timeout": 10.0,
            "ask_hash": "h1",
            "evidence": TICKET,
        } | kw
        return await self.ai.ask(claim or await self.claim(), kw.pop("prompt", PROMPT), **given)

    async def calls(self, claim: Claim) -> tuple[ModelCall, ...]:
        detail = await self.ledger.detail(claim.run)
        assert detail is not None
        return detail.calls


RATES = Rates(input=1_000_000, output=2_000_000)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    http, clock = AiohttpHttp(), SystemClock()
    environment = {"NEW_KEY": KEY, "OLD_KEY": OLD_KEY}
    fails: list[Callable[[str], None]] = []

    def fail(name: str) -> None:
        for hit in fails:
            hit(name)

    ledger = await ledgers.open(None, clock=clock)
    async with ModelDouble(keys={"new": KEY, "old": OLD_KEY}) as double:
        refs = SecretRefs.parse(["${env:NEW_KEY}", "${env:OLD_KEY}"])
        models = {
            "small": ModelSpec(
                name="small", provider="openai", model="small-1", key=refs, url=double.openai_url, price=RATES
            ),
            "large": ModelSpec(
                name="large", provider="anthropic", model="claude-haiku-4-5", key=refs, url=double.url, price=RATES
            ),
            "offline": ModelSpec(name="offline", provider="offline", model="extractive"),
            "unpriced": ModelSpec(name="unpriced", provider="openai", model="own", key=refs, url=double.openai_url),
            "nowhere": ModelSpec(
                name="nowhere", provider="openai", model="m", key=refs, url="http://127.0.0.1:9/v1", price=RATES
            ),
        }
        layer = ai.open(models, http=http, ledger=ledger, secrets=Secrets(environment), clock=clock, fail=fail)
        yield Desk(double=double, ledger=ledger, http=http, environment=environment, ai=layer, fails=fails)
    await http.close()
    await ledger.close()
