from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from ai.double import Fault
from ai.errors import AIError
from ai.output import OutputSchema
from ledger.contract import Cap
from penstock.errors import Fenced, Invalid

DAY = "2026-11-24"
SUMMARY = OutputSchema(name="s", schema={"type": "object", "required": ["summary", "mood", "confidence"]})
GOOD = '{"summary":"The lamp of order ORD-4711 never arrived.","mood":"frustrated","confidence":0.9}'


def cap(limit: int) -> Cap:
    return Cap(scope="pipeline:ticket-summary", period=DAY, limit=limit)


@pytest.mark.parametrize("model", ["small", "large", "offline"])
async def test_an_answer(desk: Any, model: str) -> None:
    """
    Every provider gives a validated answer, one booked call, and a price from what it says it used.
    """
    claim = await desk.claim()

    answer = await desk.ask(claim, model=model, caps=lambda: [cap(1_000_000)])

    (call,) = await desk.calls(claim)
    assert answer.output["mood"] == "frustrated"
    assert "order_id" not in answer.output or answer.output["order_id"] == "ORD-4711"
    assert (call.outcome, call.cost) == ("ok", answer.cost)
    assert answer.cost == (0 if model == "offline" else call.usage.input + 2 * call.usage.output)
    assert await desk.ledger.spent("pipeline:ticket-summary", DAY) == (answer.cost, 0)
    assert answer.stored is False


async def test_a_stored_answer_is_not_paid_again(desk: Any) -> None:
    """
    The same run asks again after its first answer was kept: no call is made.
    """
    claim = await desk.claim()
    first = await desk.ask(claim)

    again = await desk.ask(claim)

    assert again == first.model_copy(update={"stored": True})
    assert len(desk.double.calls) == 1


async def test_recalling_an_answer(desk: Any) -> None:
    """
    What was kept is recalled without a prompt, unless it answers another question or breaks the schema.
    """
    claim = await desk.claim()
    renamed = OutputSchema(name="t", schema={"type": "object", "required": ["certainty"]})
    nothing = await desk.ai.recall(claim, output=SUMMARY, ask_hash="h1")
    first = await desk.ask(claim)

    assert nothing is None
    assert await desk.ai.recall(claim, output=SUMMARY, ask_hash="h1") == first.model_copy(update={"stored": True})
    assert await desk.ai.recall(claim, output=SUMMARY, ask_hash="h2") is None
    assert await desk.ai.recall(claim, output=renamed, ask_hash="h1") is None


async def test_another_question_is_asked_again(desk: Any) -> None:
    """
    A stored answer to another template or model is not reused before a delivery has begun.
    """
    claim = await desk.claim()
    await desk.ask(claim)

    again = await desk.ask(claim, ask_hash="h2")

    assert (again.stored, again.ask_hash, len(desk.double.calls)) == (False, "h2", 2)


async def test_another_question_after_a_delivery_began(desk: Any) -> None:
    """
    Once a delivery has begun, a changed question does not change the answer that is delivered.
    """
    claim = await desk.claim()
    first = await desk.ask(claim)
    async with desk.ledger.step(claim, "note", kind="write", action_class="keyed", timeout=5) as step:
        await step.done({})

    again = await desk.ask(claim, ask_hash="h2")

    assert (again.stored, again.output, len(desk.double.calls)) == (True, first.output, 1)


async def test_a_stored_answer_that_breaks_the_new_schema(desk: Any) -> None:
    """
    A renamed field makes the stored answer useless, delivery begun or not: it is asked again.
    """
    claim = await desk.claim()
    await desk.ask(claim)
    async with desk.ledger.step(claim, "note", kind="write", action_class="keyed", timeout=5) as step:
        await step.done({})
    renamed = {"type": "object", "required": ["certainty"], "properties": {"certainty": {"type": "number"}}}

    again = await desk.ask(claim, output=OutputSchema(name="t", schema=renamed))

    assert (again.stored, list(again.output), len(desk.double.calls)) == (False, ["certainty"], 2)


async def test_a_wrong_answer_is_repaired_once(desk: Any) -> None:
    """
    An answer that breaks its schema is shown to the model with what is wrong, under its own reservation.
    """
    claim = await desk.claim()
    desk.double.answers.extend(['{"summary":"x","mood":"bored","confidence":2}', GOOD])

    answer = await desk.ask(claim)

    calls = await desk.calls(claim)
    assert answer.output == orjson.loads(GOOD)
    assert answer.cost == sum(call.cost for call in calls)
    assert [call.attempt for call in calls] == [0, 1]


async def test_a_null_for_what_may_be_left_out(desk: Any) -> None:
    """
    A null that strict mode forced on an optional property is dropped, not repaired.
    """
    desk.double.answers.append(GOOD.replace('"mood"', '"order_id":null,"mood"'))

    answer = await desk.ask()

    assert answer.output == orjson.loads(GOOD)


@pytest.mark.parametrize("model", ["small", "large"])
@pytest.mark.parametrize("kind", ["wrong-schema", "not-json"])
async def test_a_wrong_answer_twice(desk: Any, model: str, kind: Any) -> None:
    """
    After one repair a wrong answer is given up; both calls are paid and the message says what is wrong.
    """
    claim = await desk.claim()
    desk.double.faults.extend([Fault(kind=kind)] * 2)

    with pytest.raises(AIError, match="wrong after one repair") as caught:
        await desk.ask(claim, model=model)

    assert (caught.value.error_class, caught.value.advice, caught.value.model) == ("invalid_output", "dead", model)
    assert len(await desk.calls(claim)) == 2


async def test_invented_facts_are_repaired(desk: Any) -> None:
    """
    An order number and an address that the context does not contain cost one repair turn.
    """
    desk.double.faults.append(Fault(kind="invented"))
    desk.double.answers.append(GOOD)

    answer = await desk.ask()

    assert answer.output == orjson.loads(GOOD)
    assert len(desk.double.calls) == 2


async def test_invented_facts_twice(desk: Any) -> None:
    """
    A model that insists on what it invented is `unsupported`, and the message names the inventions.
    """
    desk.double.faults.extend([Fault(kind="invented")] * 2)

    with pytest.raises(AIError, match="'ZZ-99887766' does not occur in the context") as caught:
        await desk.ask()

    assert (caught.value.error_class, caught.value.advice) == ("unsupported", "dead")


async def test_a_truncated_answer_gets_more_room(desk: Any) -> None:
    """
    An answer cut by its room is asked once more with twice the room.
    """
    claim = await desk.claim()
    desk.double.faults.append(Fault(kind="truncated"))

    await desk.ask(claim)

    assert [call.outcome for call in await desk.calls(claim)] == ["truncated", "ok"]


async def test_truncated_twice(desk: Any) -> None:
    """
    An answer cut twice is given up with the advice to raise `max_output`.
    """
    desk.double.faults.extend([Fault(kind="truncated")] * 2)

    with pytest.raises(AIError, match="raise `max_output`") as caught:
        await desk.ask()

    assert (caught.value.error_class, caught.value.billed) == ("truncated", "yes")


async def test_cancelled_inside_a_call(desk: Any) -> None:
    """
    A call that is cancelled may have been billed: its whole reservation is booked, the step is unknown.
    """
    claim = await desk.claim()
    desk.double.faults.append(Fault(kind="hang", seconds=5))
    task = asyncio.create_task(desk.ask(claim, caps=lambda: [cap(1_000_000)]))
    await asyncio.sleep(0.2)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    spent, held = await desk.ledger.spent("pipeline:ticket-summary", DAY)
    detail = await desk.ledger.detail(claim.run)
    assert (spent > 0, held) == (True, 0)
    assert [step.state for step in detail.steps] == ["unknown"]


async def test_stopped_before_and_after_the_call(desk: Any) -> None:
    """
    A stop before sending asks the model once in all; a stop after the answer pays for a second call.
    """

    class Stop(BaseException):
        pass

    counts = []
    for place in ("ai:before-send", "ai:after-answer"):
        claim, before = await desk.claim(), len(desk.double.calls)

        def stop(name: str, place: str = place) -> None:
            if name == place:
                desk.fails.clear()
                raise Stop

        desk.fails.append(stop)
        with pytest.raises(Stop):
            await desk.ask(claim)
        await desk.ask(claim)
        counts.append(len(desk.double.calls) - before)

    assert counts == [1, 2]


async def test_a_fenced_worker_sends_nothing(desk: Any, monkeypatch: Any) -> None:
    """
    A worker that lost its lane between reservation and connection sends nothing and pays nothing.
    """
    claim = await desk.claim()

    async def fenced(*_: Any, **__: Any) -> Any:
        raise Fenced

    monkeypatch.setattr(desk.http, "send", fenced)
    with pytest.raises(Fenced):
        await desk.ask(claim, caps=lambda: [cap(1_000_000)])

    assert await desk.ledger.spent("pipeline:ticket-summary", DAY) == (0, 0)
    assert [call.outcome for call in await desk.calls(claim)] == ["fenced"]


async def test_one_structured_entry_per_call(desk: Any, caplog: Any) -> None:
    """
    The log entry of a call carries OpenTelemetry's names and ours, and neither prompt nor answer.
    """
    caplog.set_level(logging.INFO)
    claim = await desk.claim()

    answer = await desk.ask(claim)

    (record,) = [record for record in caplog.records if record.name == "penstock.ai"]
    seen = record.__dict__
    assert seen["gen_ai.operation.name"] == "chat"
    assert seen["gen_ai.provider.name"] == "openai"
    assert seen["gen_ai.request.model"] == "small-1"
    assert seen["gen_ai.response.model"] == "small-1-double"
    assert seen["gen_ai.usage.input_tokens"] > 100
    assert (seen["penstock.run"], seen["penstock.pipeline"]) == (claim.run, "ticket-summary")
    assert seen["penstock.cost_micro_usd"] == answer.cost
    assert "lamp" not in repr(seen)


async def test_the_window_is_checked_before_paying(desk: Any) -> None:
    """
    A prompt that cannot fit the model's window is `context_too_long` and no call is made.
    """
    from dataclasses import replace

    desk.ai._models["small"] = replace(desk.ai.spec("small"), window=200)

    with pytest.raises(AIError, match="lower `context.tokens`") as caught:
        await desk.ask()

    assert (caught.value.error_class, desk.double.calls) == ("context_too_long", [])


async def test_an_unknown_model(desk: Any) -> None:
    """
    A model nobody configured is named together with those that exist.
    """
    with pytest.raises(Invalid, match="there is no model 'big' .*'large'"):
        await desk.ask(model="big")


async def test_an_unknown_price_is_kept_as_unknown(desk: Any, caplog: Any) -> None:
    """
    A call whose price nobody knows says so, in the ledger and in the log; one that surely cost nothing does not.
    """
    caplog.set_level(logging.INFO)
    claim = await desk.claim()
    await desk.ask(claim, model="unpriced")
    other = await desk.claim("2")
    with pytest.raises(AIError):
        await desk.ask(other, model="nowhere")

    assert [(call.priced, call.cost) for call in await desk.calls(claim)] == [(False, 0)]
    assert {call.priced for call in await desk.calls(other)} == {True}
    (record, *_) = [record for record in caplog.records if record.name == "penstock.ai"]
    assert "penstock.cost_micro_usd" not in vars(record)


async def test_calls_are_counted_and_timed(desk: Any) -> None:
    """
    By pipeline, model and outcome: time, tokens and money, as in the ledger.
    """
    claim = await desk.claim()
    answer = await desk.ask(claim)
    with pytest.raises(AIError):
        await desk.ask(model="nowhere")
    (call,) = await desk.calls(claim)

    text = desk.instruments.text().decode()

    whose = 'model="small",pipeline="ticket-summary"'
    assert 'penstock_calls_total{model="small",outcome="ok",pipeline="ticket-summary"} 1.0' in text
    assert 'penstock_calls_total{model="nowhere",outcome="connection",pipeline="ticket-summary"} 1.0' in text
    assert f"penstock_tokens_in_total{{{whose}}} {call.usage.input}.0" in text
    assert f"penstock_tokens_out_total{{{whose}}} {call.usage.output}.0" in text
    assert f"penstock_cost_usd_total{{{whose}}} {answer.cost / 1_000_000}" in text
    assert f"penstock_call_seconds_count{{{whose}}} 1.0" in text
    assert f'penstock_call_seconds_bucket{{le="160.0",{whose}}} 1.0' in text
