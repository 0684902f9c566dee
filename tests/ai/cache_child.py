"""
A process that asks one question through the cache: `python cache_child.py PLACE URL EVENT [POINT]`.

PLACE is a ledger file or an address of PostgreSQL, URL a model server, EVENT names its run. It is killed at the
failpoint POINT; else it prints whose answer it got, as JSON: `cached` is empty when it asked itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson

import ai
import ledger
from ai.models import ModelSpec, Rates
from ledger import Claim, Ledger, NewRun
from ledger.caching import Question
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from schemas.entries import Answer, Prompt

LEASE = 3.0  # seconds
TEXT = "My parcel is lost."
PROMPT = Prompt(system="Summarise.", user=TEXT, tokens=20)
SUMMARY = ai.OutputSchema(
    name="s", schema={"type": "object", "required": ["summary"], "properties": {"summary": {"type": "string"}}}
)
KEY = ai.question_key(PROMPT, tenant="", pipeline="p", asked="h", match="exact")
WANTED = ai.Wanted(
    question=Question(key=KEY, step="ask", keep=3600.0, patience=120.0),
    near=False,
    output=SUMMARY,
    evidence=TEXT,
    ask_hash="h",
    timeout=60.0,
    receipt=None,
)


async def claimed(book: Ledger, event: str) -> Claim:
    run = NewRun(
        pipeline="p",
        lane=event,
        source="s",
        event_id=event,
        subject=event,
        body_hash="b",
        config_hash="c",
        topic="t",
        partition=0,
        offset=0,
        bus_time=0,
    )
    claim = await book.claim(run)
    assert isinstance(claim, Claim)
    return claim


async def answered(layer: ai.AI, claim: Claim) -> Answer:
    """
    Take an answer or ask for one, however often another asks first.
    """
    while True:
        try:
            found = await layer.cache.answer(claim, WANTED, may_ask=lambda: None)
        except ai.Awaited:
            await asyncio.sleep(0.2)
            continue
        return found or await layer.ask(
            claim,
            PROMPT,
            model="small",
            output=SUMMARY,
            max_output=100,
            timeout=60.0,
            ask_hash="h",
            evidence=TEXT,
            new=claim.new,
            question=KEY,
        )


async def main(place: str, url: str, event: str, point: str = "") -> None:
    def fail(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    http, clock = AiohttpHttp(), SystemClock()
    book = await ledger.open(place if "://" in place else Path(place), clock=clock, lease=LEASE)
    spec = ModelSpec(
        name="small", provider="openai", model="m", url=url, price=Rates(input=1_000_000, output=1_000_000)
    )
    layer = ai.open({"small": spec}, http=http, ledger=book, secrets=Secrets({}), clock=clock, fail=fail)
    claim = await claimed(book, event)
    answer = await answered(layer, claim)
    await book.finish(claim, "delivered")
    sys.stdout.write(orjson.dumps({"run": claim.run, "cached": answer.cached, "cost": answer.cost}).decode())
    await book.close()
    await http.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
