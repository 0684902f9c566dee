"""
Systems, models and disks that cannot be used: runs wait, and no event is to blame.
"""

from __future__ import annotations

from typing import Any

import pytest

from ai import AIError
from connectors.contract import Written
from engine import Gates
from ledger.contract import Cap, Claim
from ledger.limits import CapReached
from ledger.session import OpenStep
from penstock.errors import AuthFailed, Away, Crowded, NotFound, Unavailable
from tests.engine.bench import Flaky

SECTIONS = {"ticket": {"from": "event.data"}, "customer": {"fetch": "desk.customer", "by": "event.data.org_id"}}


async def test_an_outage_is_not_an_attempt_and_kills_nothing(world: Any, ticket: Any) -> None:
    """
    The desk is down for many probes: the run waits at its gate, is asked once, and is delivered after.
    """
    world.desk.trouble["write"] = [Unavailable("down")] * 12
    runner = world.runner(on_error={"retry": 1})
    detail = await world.run(runner, ticket())
    assert (detail.run.state, detail.run.gate) == ("waiting", "connection:desk")
    for _ in range(12):
        assert await world.resume(runner) == 1
    detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, detail.run.attempts) == ("delivered", 0)
    assert (world.model.asked, len(world.desk.notes)) == (1, 1)
    assert await world.ledger.gates() == []


async def test_behind_a_shut_gate_nobody_calls(world: Any, ticket: Any) -> None:
    """
    While the gate is shut other runs wait there without a request, then go oldest first.
    """
    world.desk.trouble["lookup"] = [Unavailable("down", retry_after=30)]
    runner = world.runner(context__sections=SECTIONS)
    for number in range(4):
        await world.run(runner, ticket(str(number), subject=str(number)))
    assert world.desk.calls.count("lookup") == 1
    assert await world.resume(runner) == 1
    assert await world.resume(runner) == 3

    assert [note[1] for note in world.desk.notes] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("operation", ["lookup", "write"])
async def test_our_own_limit_is_no_outage(world: Any, ticket: Any, operation: str) -> None:
    """
    A run that found no turn waits a moment: no gate shuts, no attempt is counted, nothing is asked again.
    """
    world.desk.trouble[operation] = [Crowded("no turn", retry_after=7.0)] * 3
    runner = world.runner(context__sections=SECTIONS, on_error={"retry": 0})
    before = world.clock.now_ms()
    detail = await world.run(runner, ticket())

    assert (detail.run.state, detail.run.reason, detail.run.gate) == ("waiting", "retry", None)
    assert detail.run.due_at - before >= 7_000
    assert await world.ledger.gates() == []
    while (detail := await world.ledger.detail(detail.run.run)).run.state == "waiting":
        assert await world.resume(runner) == 1

    assert (detail.run.verdict, detail.run.attempts) == ("delivered", 0)
    assert (world.model.asked, len(world.desk.notes)) == (1, 1)


async def test_a_gate_that_stays_shut_is_given_up(world: Any, ticket: Any) -> None:
    """
    A try that ends at a gate after `give_up_after` is the last one.
    """
    world.desk.trouble["write"] = [Unavailable("down")] * 2
    runner = world.runner(on_error={"give_up_after": "1m"})
    detail = await world.run(runner, ticket())
    await world.clock.sleep(61.0)
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert detail.run.verdict == "dead"
    assert "given up" in detail.run.error


async def test_retry_after_is_honoured(world: Any, ticket: Any) -> None:
    """
    The gate's first probe comes no earlier than the system asked for.
    """
    world.desk.trouble["write"] = [Unavailable("slow down", retry_after=120)]
    before = world.clock.now_ms()
    await world.run(world.runner(), ticket())
    gates = await world.ledger.gates()

    assert gates[0].probe_at - before >= 120_000


async def test_a_refused_credential_shuts_the_gate(world: Any, ticket: Any) -> None:
    """
    A refused token is nobody's event's fault: the run waits and its gate says why.
    """
    world.desk.trouble["write"] = [AuthFailed("401")]
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.reason, detail.run.gate) == ("outage", "connection:desk")
    assert detail.run.error == "401"


async def test_a_model_that_is_down_shuts_its_own_gate(world: Any, ticket: Any) -> None:
    """
    An overloaded provider stops the model's gate, not the event; the probe opens it.
    """
    world.model.trouble = [AIError("busy", error_class="overloaded")]
    runner = world.runner()
    detail = await world.run(runner, ticket())
    assert detail.run.gate == "model:small"
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, detail.run.attempts) == ("delivered", 0)


async def test_our_own_full_disk_is_not_an_attempt(world: Any, ticket: Any) -> None:
    """
    The ledger cannot take a step: the run waits, nothing counts against the event or the desk.
    """
    full = [Unavailable("disk full")]

    def step(claim: Claim, name: str, *, kind: str, **more: Any) -> Any:
        if kind == "write" and full:
            raise full.pop()
        return world.ledger.step(claim, name, kind=kind, **more)

    ledger: Any = Flaky(world.ledger)
    ledger.step = step
    runner = world.runner(ledger, on_error={"retry": 0})
    detail = await world.run(runner, ticket())
    assert (detail.run.state, detail.run.reason, detail.run.attempts) == ("waiting", "retry", 0)
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, world.model.asked) == ("delivered", 1)
    assert await world.ledger.gates() == []


async def test_our_own_full_disk_does_not_shut_the_desk(
    world: Any, ticket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The last look before a request finds that nothing may leave: that is no outage of the desk.
    """

    def full(_step: OpenStep) -> None:
        raise Unavailable("the ledger could not be written for 30 s")

    write = world.desk._write

    async def looking(record: str, args: Any, mode: Any, call: Any) -> Any:
        call.fence()
        return await write(record, args, mode, call)

    world.desk._write = looking
    runner = world.runner(on_error={"retry": 0})
    with monkeypatch.context() as patched:
        patched.setattr(OpenStep, "local_fence", full)
        detail = await world.run(runner, ticket())
    assert (detail.run.reason, detail.run.gate, detail.run.attempts) == ("retry", None, 0)
    assert await world.ledger.gates() == []
    await world.resume(runner)

    assert len(world.desk.notes) == 1


async def test_a_full_disk_when_a_gate_opens_does_not_write_twice(world: Any, ticket: Any) -> None:
    """
    The note stands, and only the word that its gate is open cannot be kept at once.
    """
    flaky = Flaky(world.ledger, reopen=[Unavailable("disk full")] * 3)
    world.gates = Gates(flaky, world.clock)
    world.desk.trouble["write"] = [Unavailable("down")]
    runner = world.runner()
    detail = await world.run(runner, ticket())
    while (await world.ledger.detail(detail.run.run)).run.state == "waiting":
        await world.resume(runner)

    assert world.desk.calls.count("write") == 2
    assert len(world.desk.notes) == 1
    assert await world.ledger.gates() == []


async def test_a_gate_is_shut_in_the_ledger_too_however_full_the_disk(world: Any, ticket: Any) -> None:
    """
    Else its runs would be due at once, again and again.
    """
    world.gates = Gates(Flaky(world.ledger, shut=[Unavailable("disk full")] * 3), world.clock)
    world.desk.trouble["write"] = [Unavailable("down")]
    detail = await world.run(world.runner(), ticket())

    assert detail.run.gate == "connection:desk"
    assert [gate.gate for gate in await world.ledger.gates()] == ["connection:desk"]


async def test_a_probe_that_is_told_no_opens_the_gate(world: Any, ticket: Any) -> None:
    """
    A system that does not find a record is there: the others need not wait for a success.
    """
    world.desk.trouble["lookup"] = [Unavailable("down"), NotFound("no customer")]
    runner = world.runner(context__sections=SECTIONS)
    for number in range(4):
        await world.run(runner, ticket(str(number), subject=str(number)))
    assert await world.resume(runner) == 1
    assert await world.ledger.gates() == []

    assert await world.resume(runner) == 3


async def test_a_useless_answer_opens_the_models_gate(world: Any, ticket: Any) -> None:
    """
    A model that answers nonsense to one event is up for the others.
    """
    world.model.trouble = [
        AIError("busy", error_class="overloaded"),
        AIError("nonsense", error_class="invalid_output"),
    ]
    runner = world.runner()
    first = await world.run(runner, ticket("1", subject="1"))
    await world.run(runner, ticket("2", subject="2"))
    await world.resume(runner)
    first = await world.ledger.detail(first.run.run)

    assert first.run.verdict == "dead"
    assert await world.ledger.gates() == []


async def test_money_that_is_only_reserved_makes_a_run_wait(world: Any, ticket: Any) -> None:
    """
    Calls under way hold the rest of the day's money: what they do not need comes back, so nobody is dropped.
    """
    holder = await world.ledger.claim(world.runner().offer(ticket("0", subject="other")))
    cap = Cap(scope="pipeline:p", period="2026-01-05", limit=100)
    world.model.trouble = [
        CapReached(cap, amount=100, spent=0, reserved=100),
        CapReached(cap, amount=100, spent=100, reserved=0),
    ]
    runner = world.runner()
    begun = world.ledger.step(holder, "ask", kind="ask", action_class="ai", timeout=5)
    async with begun as step, step.call(amount=100, caps=[cap]):
        detail = await world.run(runner, ticket("1"))
        assert (detail.run.state, detail.run.reason, detail.run.attempts) == ("waiting", "hold", 0)
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert detail.run.verdict == "over-budget"


async def test_what_was_delivered_stays_delivered(world: Any, ticket: Any) -> None:
    """
    The second delivery had to wait, and the ticket was solved meanwhile: the first one counts.
    """
    unless = "record.status == 'solved'"
    deliver = [
        {"to": "desk.note", "name": "one", "template": "note.j2", "unless": unless},
        {"to": "desk.note", "name": "two", "template": "note.j2", "unless": unless},
    ]
    world.desk.trouble["write"] = [None, Unavailable("down")]
    runner = world.runner(deliver=deliver)
    detail = await world.run(runner, ticket())
    world.desk.records["35"]["status"] = "solved"
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, len(world.desk.notes)) == ("delivered", 1)


async def test_a_full_disk_does_not_pay_twice(world: Any, ticket: Any) -> None:
    """
    The answer is there and cannot be kept for a while: it is kept then, not asked for again.
    """
    write, full = world.ledger.store.write, [3]

    def failing(operation: Any, *needs: Any) -> Any:
        if world.model.asked and full[0]:
            full[0] -= 1
            raise Unavailable("disk full")
        return write(operation, *needs)

    world.ledger.store.write = failing
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.verdict, world.model.asked, full) == ("delivered", 1, [0])


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("idempotency", ["keyed", "read-back", "blind"])
async def test_a_system_that_says_it_is_away(world: Any, ticket: Any, idempotency: str, arrived: bool) -> None:
    """
    Of a write that may have arrived all the same: others wait at the gate, and it stands there once, whatever its
    class; only a blind one is left to a person.
    """
    world.desk.idempotency, world.desk.findable = idempotency, idempotency == "read-back"
    seen: set[str] = set()

    async def writing(record: str, args: Any, mode: Any, call: Any) -> Any:
        if call.key in seen and idempotency == "keyed":
            return Written(remote_id="n1", already=True)  # as the system does that knows the key
        seen.update({call.key} if arrived or not away else ())
        if arrived or not away:
            world.desk.notes.append((call.key, record, args["text"]))
        if away:
            away.pop()
            raise Away("503")
        return Written(remote_id="n1")

    away = ["once", "twice"] if idempotency != "blind" else ["once"]
    world.desk._write = writing
    runner = world.runner()
    waiting = await world.run(runner, ticket("1"))
    shut = [gate.gate for gate in await world.ledger.gates()]
    behind = await world.run(runner, ticket("2", subject="36"))
    for _ in range(8):
        await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert shut == ["connection:desk"]
    assert (behind.run.state, behind.run.reason) == ("waiting", "outage")
    assert (detail.run.state, detail.run.reason or detail.run.verdict) == (
        ("aside", "parked") if idempotency == "blind" else ("final", "delivered")
    )
    assert sum(note[1] == "35" for note in world.desk.notes) == (arrived if idempotency == "blind" else 1)
    assert (await world.ledger.detail(behind.run.run)).run.verdict == "delivered"
