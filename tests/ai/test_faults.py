from __future__ import annotations

import logging
from typing import Any

import pytest

from ai.double import Fault
from ai.errors import AIError
from ledger.contract import Cap

DAY = "2026-11-24"
PROVIDERS = ("small", "azure", "large", "google", "vertex", "bedrock")
KEYED = ("small", "azure", "large", "google", "bedrock")
"""Those that are opened with a key as it is."""
CANARIES = ("sk-canary-0123456789abcdef", "sk-canary-old-9876543210", "canary")


def cap(limit: int) -> Cap:
    return Cap(scope="pipeline:ticket-summary", period=DAY, limit=limit)


FAULTS: list[tuple[Fault, str, str, str]] = [
    # fault, class, what is booked ("nothing", "all", "used"), advice
    (Fault(kind="status", status=503), "overloaded", "nothing", "gate"),
    (Fault(kind="status", status=529), "overloaded", "nothing", "gate"),
    (Fault(kind="status", status=500), "server", "nothing", "retry"),
    (Fault(kind="status", status=504), "timeout|server", "all", "retry"),
    (Fault(kind="status", status=404), "not_found", "nothing", "gate"),
    (Fault(kind="status", status=413), "too_large", "nothing", "dead"),
    (Fault(kind="status", status=400), "bad_request", "nothing", "dead"),
    (Fault(kind="reset-before"), "connection", "all", "gate"),
    (Fault(kind="reset-after"), "connection", "all", "gate"),
    (Fault(kind="malformed"), "malformed_response", "all", "retry"),
    (Fault(kind="empty"), "malformed_response", "all", "retry"),
    (Fault(kind="huge"), "connection", "all", "gate"),
    (Fault(kind="refusal"), "content_policy", "used", "refused"),
    (Fault(kind="hang", seconds=60), "timeout", "all", "retry"),
    (Fault(kind="drip", seconds=60), "timeout", "all", "retry"),
]


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize(("fault", "error_class", "booked", "advice"), FAULTS)
async def test_a_fault(
    desk: Any, caplog: Any, model: str, fault: Fault, error_class: str, booked: str, advice: str
) -> None:
    """
    Every fault has its class, its advice, one entry, and books what may have been billed.
    """
    claim = await desk.claim()
    desk.double.faults.append(fault)

    with pytest.raises(AIError) as caught:
        await desk.ask(claim, model=model, timeout=2.0 if fault.seconds == 60 else 10, caps=lambda: [cap(1_000_000)])

    (call,) = await desk.calls(claim)
    reserved = max(desk.ai.estimate(model, 120, 300)[0] // 2, 1)
    spent, held = await desk.ledger.spent("pipeline:ticket-summary", DAY)
    assert caught.value.error_class in error_class.split("|")
    assert (caught.value.advice, caught.value.model) == (advice, model)
    assert caught.value.retry_after == fault.retry_after
    assert call.outcome == caught.value.error_class
    assert (spent, held) == (call.cost, 0)
    assert {"nothing": spent == 0, "all": spent >= reserved, "used": 0 < spent < reserved}[booked]
    assert not any(canary in f"{caught.value!r} {caplog.text}" for canary in CANARIES)


async def test_nobody_listens(desk: Any) -> None:
    """
    A server that is not there is `connection`: nothing left us, nothing is booked, the gate is shut.
    """
    claim = await desk.claim()

    with pytest.raises(AIError, match="model 'nowhere'.*cannot be reached") as caught:
        await desk.ask(claim, model="nowhere", caps=lambda: [cap(1_000_000)])

    assert (caught.value.error_class, caught.value.billed, caught.value.advice) == ("connection", "no", "gate")
    assert await desk.ledger.spent("pipeline:ticket-summary", DAY) == (0, 0)


@pytest.mark.parametrize("model", KEYED)
async def test_a_rotated_key(desk: Any, model: str) -> None:
    """
    A refused key is read again once; the new one works and nobody notices.
    """
    desk.environment |= {"NEW_KEY": "sk-canary-stale", "OLD_KEY": "sk-canary-stale"}
    with pytest.raises(AIError, match="auth"):
        await desk.ask(model=model)
    desk.environment["NEW_KEY"] = CANARIES[0]

    answer = await desk.ask(model=model)

    assert answer.stored is False
    assert [call.key for call in desk.double.calls] == ["new"]


async def test_a_token_that_is_refused(desk: Any, cloud: Any) -> None:
    """
    An access token that no longer opens is fetched anew once, and nobody notices.
    """
    await desk.ask(model="vertex")
    revoked = cloud.given.pop()
    cloud.given.append("another")  # the tokens that follow differ from it

    await desk.ask(model="vertex")

    assert revoked != cloud.given[-1]
    assert [call.key for call in desk.double.calls] == [revoked, cloud.given[-1]]


async def test_a_sign_in_that_fails(desk: Any, cloud: Any) -> None:
    """
    Without a token nothing is asked or booked; the model's gate shuts, and it says which model.
    """
    cloud.refuses = True
    claim = await desk.claim()

    with pytest.raises(AIError, match="model 'vertex'.*no token") as caught:
        await desk.ask(claim, model="vertex", caps=lambda: [cap(1_000_000)])

    assert (caught.value.error_class, caught.value.advice, caught.value.model) == ("auth", "gate", "vertex")
    assert (await desk.calls(claim), desk.double.calls) == ((), [])


async def test_a_sign_in_that_takes_too_long(desk: Any, cloud: Any) -> None:
    """
    A sign-in is part of the ask's time: what does not come in it is an outage, and nothing is booked.
    """
    cloud.slow = 30.0
    claim = await desk.claim()

    with pytest.raises(AIError, match="model 'vertex'.*no sign-in within") as caught:
        await desk.ask(claim, model="vertex", timeout=0.5)

    assert (caught.value.error_class, caught.value.advice, caught.value.billed) == ("connection", "gate", "no")
    assert await desk.calls(claim) == ()


async def test_the_old_key_while_the_new_one_spreads(desk: Any) -> None:
    """
    Of two live keys the older one is tried when the newer is still refused.
    """
    desk.environment["NEW_KEY"] = "sk-canary-unknown"

    await desk.ask()

    assert [call.key for call in desk.double.calls] == ["old"]


@pytest.mark.parametrize("model", KEYED)
async def test_keys_stay_secret(desk: Any, caplog: Any, model: str) -> None:
    """
    A key that the provider repeats in its error appears in no message, log, repr or entry.
    """
    caplog.set_level(logging.DEBUG)
    desk.environment |= {"NEW_KEY": "canary-without-a-prefix", "OLD_KEY": "canary-without-a-prefix"}
    claim = await desk.claim()

    with pytest.raises(AIError) as caught:
        await desk.ask(claim, model=model)

    records = " ".join(repr(record.__dict__) for record in caplog.records)
    seen = f"{caught.value} {caught.value!r} {records} {await desk.calls(claim)!r} {desk.ai!r} {desk.ai.spec(model)!r}"
    assert caught.value.error_class == "auth"
    assert "canary" not in seen
    assert "***" in str(caught.value)


async def test_failures_in_a_row_are_an_outage(desk: Any) -> None:
    """
    The third failure in a row, whatever was asked, shuts the model's gate; a success starts over.
    """
    desk.double.faults.extend([Fault(kind="status", status=500)] * 3)
    advices = []
    for _ in range(3):
        with pytest.raises(AIError) as caught:
            await desk.ask()
        advices.append(caught.value.advice)

    await desk.ask()
    desk.double.faults.append(Fault(kind="status", status=500))
    with pytest.raises(AIError) as caught:
        await desk.ask()

    assert [*advices, caught.value.advice] == ["retry", "retry", "gate", "retry"]


async def test_every_second_call_that_fails_is_an_outage(desk: Any) -> None:
    """
    Never three in a row, but half of twenty within half a minute: the gate is shut.
    """
    advices = []
    for _ in range(10):
        await desk.ask()
        desk.double.faults.append(Fault(kind="status", status=500))
        with pytest.raises(AIError) as caught:
            await desk.ask()
        advices.append(caught.value.advice)

    assert advices == ["retry"] * 10
    desk.double.faults.append(Fault(kind="status", status=500))
    with pytest.raises(AIError) as caught:
        await desk.ask()
    assert caught.value.advice == "gate"
