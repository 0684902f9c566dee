from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ledger.contract import Cap
from penstock.errors import Invalid, OverBudget

DAY = "2026-11-24"


def cap(limit: int) -> Cap:
    return Cap(scope="pipeline:ticket-summary", period=DAY, limit=limit)


async def test_an_unknown_price_under_a_cap(desk: Any) -> None:
    """
    A model without a known price is not asked where money is limited.
    """
    with pytest.raises(Invalid, match="'unpriced'.*no known price.*price_as"):
        await desk.ask(model="unpriced", caps=lambda: [cap(1_000_000)])

    assert desk.double.calls == []


async def test_an_unknown_price_without_a_cap(desk: Any, caplog: Any) -> None:
    """
    Without a limit it is asked, and its log entry states no cost rather than zero.
    """
    caplog.set_level(logging.INFO)

    await desk.ask(model="unpriced")

    (record,) = [record for record in caplog.records if record.name == "penstock.ai"]
    assert "penstock.cost_micro_usd" not in record.__dict__


async def test_over_budget(desk: Any) -> None:
    """
    A worst case above the whole cap is refused for ever, and nothing is sent.
    """
    with pytest.raises(OverBudget) as caught:
        await desk.ask(caps=lambda: [cap(10)])

    assert (caught.value.forever, desk.double.calls) == (True, [])


async def test_two_hundred_asks_never_pass_a_cap(desk: Any) -> None:
    """
    Two hundred asks at once spend and reserve no more than the cap, and some get through.
    """
    worst = desk.ai.estimate("small", 120, 300)[0]
    limit = worst * 20
    claims = [await desk.claim() for _ in range(200)]
    highest = 0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, sum(await desk.ledger.spent("pipeline:ticket-summary", DAY)))
            await asyncio.sleep(0.002)

    watcher = asyncio.create_task(watch())
    results = await asyncio.gather(
        *(desk.ask(one, caps=lambda: [cap(limit)]) for one in claims), return_exceptions=True
    )
    watcher.cancel()

    spent, held = await desk.ledger.spent("pipeline:ticket-summary", DAY)
    assert {type(result).__name__ for result in results} == {"Answer", "CapReached"}
    assert sum(desk.double.metered) <= spent <= limit
    assert (held, highest <= limit, highest > 0) == (0, True, True)
