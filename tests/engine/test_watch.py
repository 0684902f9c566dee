"""
What is counted and timed of runs.
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics import Metrics
from engine.watch import Watch
from ledger.contract import Claim
from penstock.errors import Rejected, Unavailable
from penstock.metrics import Instruments
from penstock.otel import Otel


async def shown(world: Any) -> dict[tuple[str, ...], float]:
    """
    Return what Prometheus would read, by name and the values of labels.
    """
    text = await Metrics(world.ledger, world.clock, ZoneInfo("UTC"), world.instruments).text()
    found = (sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples)
    return {(each.name, *each.labels.values()): each.value for each in found}


async def test_every_end_is_counted_and_timed(world: Any, ticket: Any) -> None:
    """
    By verdict; what waits is no end, and its time counts when it comes.
    """
    runner = world.runner(trigger__where="event.data.status != 'spam'")
    await world.run(runner, ticket("1"))
    world.desk.trouble = {"write": [Rejected("no")]}
    await world.run(runner, ticket("2", subject="36"))
    world.desk.trouble = {"write": [Unavailable("later")]}
    await world.run(runner, ticket("3", subject="37"))

    found = await shown(world)

    assert found["penstock_runs_total", "p", "delivered"] == 1
    assert found["penstock_runs_total", "p", "dead"] == 1
    assert found["penstock_runs_put_off_total", "p", "outage"] == 1
    assert found["penstock_run_seconds_count", "p"] == 2
    assert found["penstock_step_seconds_count", "p", "ask"] == 3
    assert found["penstock_step_seconds_count", "p", "context"] == 3
    assert found["penstock_step_seconds_count", "p", "desk.note"] == 3


async def test_an_answer_that_was_kept_is_no_ask(world: Any, ticket: Any) -> None:
    """
    It is counted as stored, and the run's time is from its first start.
    """
    runner = world.runner()
    world.desk.trouble = {"write": [Unavailable("later")]}
    await world.run(runner, ticket("1"))
    world.clock.ahead += 100
    while (await shown(world)).get(("penstock_runs_total", "p", "delivered")) is None:
        assert await world.resume(runner)

    found = await shown(world)

    assert found["penstock_answers_stored_total", "p"] >= 1
    assert found["penstock_step_seconds_count", "p", "ask"] == 1
    assert found["penstock_run_seconds_bucket", "60.0", "p"] == 0
    assert found["penstock_run_seconds_sum", "p"] > 100


async def test_the_queue_is_from_the_bus_to_the_first_start(world: Any, ticket: Any) -> None:
    """
    Also for what waited behind others in the ledger; not for what was put off on purpose.
    """
    runner, now = world.runner(), world.clock.now_ms()
    for number, reason in (("1", None), ("2", "behind"), ("3", "retry")):
        new = _queued(runner.offer(ticket(number, subject=number)), now - 7_000)
        if reason is None:
            claim = await world.ledger.claim(new)
            assert isinstance(claim, Claim)
            world.watch.began(claim)
        else:
            await world.ledger.admit(new, b"{}", reason=reason, due_at=now - 1)
    for picked in await world.ledger.pick_up(["p"], 10):
        world.watch.began(picked.claim)

    found = await shown(world)

    assert found["penstock_queue_seconds_count", "p"] == 2
    assert 14 <= found["penstock_queue_seconds_sum", "p"] < 60


def _queued(new: Any, at: int) -> Any:
    import dataclasses

    return dataclasses.replace(new, bus_time=at)


async def test_labels_are_few(world: Any, ticket: Any) -> None:
    """
    No user, tenant, record or run is a label: a line for each would never end.
    """
    runner = world.runner(who={"user": "event.data.org_id", "tenant": "event.data.org_id"})
    for number in range(5):
        data = {"org_id": f"org-{number}", "subject": "x", "description": "y"}
        await world.run(runner, ticket(f"{number}", subject=f"{number}", data=data))

    text = (await Metrics(world.ledger, world.clock, ZoneInfo("UTC"), world.instruments).text()).decode()

    assert "org-" not in text
    assert len({line.partition(" ")[0] for line in text.splitlines() if line.startswith("penstock_runs_total")}) == 1


async def test_a_run_goes_on_with_the_trace_of_its_event(world: Any, ticket: Any) -> None:
    """
    Each try is a span of it, with its parts below, and says how it ended.
    """
    spans = InMemorySpanExporter()
    world.watch = Watch(Instruments(), world.clock, Otel(SimpleSpanProcessor(spans), InMemoryMetricReader()))
    runner = world.runner()
    world.desk.trouble = {"write": [Unavailable("the parcel of Nadia")]}
    cause = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await world.run(runner, ticket("1", traceparent=cause))
    await world.resume(runner)

    tries = [span for span in spans.get_finished_spans() if span.name == "run p"]
    first = [span.name for span in spans.get_finished_spans()[:3]]
    assert {f"{span.context.trace_id:032x}/{span.parent.span_id:016x}" for span in tries} == {
        "0af7651916cd43dd8448eb211c80319c/b7ad6b7169203331"
    }
    assert first == ["context", "ask", "desk.note"]
    assert tries[0].attributes["penstock.reason"] == "outage"
    assert tries[-1].attributes["penstock.verdict"] == "delivered"
    assert "Nadia" not in "".join(span.to_json() for span in spans.get_finished_spans())
