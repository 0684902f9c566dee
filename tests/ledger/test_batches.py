"""
Batches on PostgreSQL: few questions for many operations, and what holds when the server breaks in the middle.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

import ledger
from ledger import Cap, Claim, Ledger, NewRun
from ledger.server_connection import ServerConnection
from ledger.testing_server import LocalServer
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from schemas.entries import ModelCall
from tests.ledger.proxy import Proxy

CAPS = (Cap(scope="hub", period="-", limit=10**9), Cap(scope="team", period="-", limit=10**9))
FEW, MANY = 5, 60
MOST_QUESTIONS = 12  # per batch
STATEMENTS = 24  # that a run with one call and one write may take, beside those of its batches
LIVES = 40
IN_FLIGHT = 1_000
LEASE = 3.0  # seconds
WITHIN = 120.0  # seconds a busy machine may take
Make = Callable[..., NewRun]
Cost = Callable[..., ModelCall]


@pytest.fixture
async def opened(dsn: str, auditor: Callable) -> AsyncIterator[Callable[..., Awaitable[Ledger]]]:
    """
    What opens ledgers; they are audited and closed at the end.
    """
    async with AsyncExitStack() as stack:

        async def one(at: str = dsn, **more: float) -> Ledger:
            found = await ledger.open(at, clock=SystemClock(), **more)
            stack.push_async_callback(found.close)
            return found

        yield one
        await (await one()).store.read(auditor)


@pytest.fixture
def own(server: LocalServer, dsn: str) -> LocalServer:
    """
    The server of `dsn`, when it is ours to stop.
    """
    if str(server.port) not in dsn:
        pytest.skip("somebody else's server is not stopped")
    return server


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    The statements that go to the server, by their first word.
    """
    seen: list[str] = []
    send = ServerConnection._sent

    def noted(self: ServerConnection, sql: str, parameters: Any) -> Any:
        seen.append("".join(line for line in sql.splitlines(keepends=True) if not line.startswith("--")).split()[0])
        return send(self, sql, parameters)

    monkeypatch.setattr(ServerConnection, "_sent", noted)
    return seen


async def together(book: Ledger, work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """
    Do *work* in one batch: the writer is held up until all of it was submitted.
    """
    begun, go = threading.Event(), threading.Event()

    def held(_connection: object) -> None:
        begun.set()
        go.wait()

    book.store.write(held)
    await asyncio.to_thread(begun.wait)
    tasks = [asyncio.ensure_future(each) for each in work]
    for _ in range(10):
        await asyncio.sleep(0)
    go.set()
    return await asyncio.gather(*tasks)


async def lives(book: Ledger, runs: list[NewRun], cost: Cost, sent: list[str]) -> list[int]:
    """
    Take *runs* from claim to end, each stage in one batch; return how many questions each batch asked.
    """
    asked = []

    async def stage(work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
        before = len(sent)
        results = await together(book, work)
        asked.append(sent[before:].count("SELECT"))
        return results

    claims = await stage([book.claim(run) for run in runs])
    asks = [book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) for claim in claims]
    steps = await stage([step.__aenter__() for step in asks])
    calls = [step.call(amount=100, caps=CAPS, per_event=10**6) for step in steps]
    slots = await stage([call.__aenter__() for call in calls])
    for slot, call in zip(slots, calls, strict=True):
        await slot.settle(cost(slot.call, 40), with_step=True)
        await call.__aexit__(None, None, None)
    await stage([step.done({}) for step in steps])
    writes = [book.step(claim, "note", kind="write", action_class="keyed", timeout=5) for claim in claims]
    steps = await stage([step.__aenter__() for step in writes])
    await stage([step.done({}) for step in steps])
    await stage([book.finish(claim, "delivered") for claim in claims])
    return asked


async def test_a_batch_asks_for_all_its_operations_at_once(
    opened: Callable, make: Make, cost: Cost, sent: list[str]
) -> None:
    """
    However many operations it has, it asks as few questions, and no run takes more than a few statements.
    """
    book = await opened()
    await lives(book, [make("first", lane="first")], cost, sent)  # makes the budget rows
    few = await lives(book, [make(f"few{n}", lane=f"few{n}") for n in range(FEW)], cost, sent)
    before = len(sent)
    many = await lives(book, [make(f"many{n}", lane=f"many{n}") for n in range(MANY)], cost, sent)

    assert many == few
    assert max(many) <= MOST_QUESTIONS
    assert len([word for word in sent[before:] if word != "SELECT"]) <= STATEMENTS * MANY


@pytest.mark.parametrize("kind", ["recognise", "redelivered"])
async def test_redelivered_events_are_recognised_in_one_query(
    opened: Callable, make: Make, sent: list[str], kind: str
) -> None:
    """
    As many as were fetched together.
    """
    book = await opened()
    runs = [make(str(n), lane=str(n)) for n in range(MANY)]
    await asyncio.gather(*(book.conclude(run, "filtered", None) for run in runs))
    before = len(sent)
    if kind == "recognise":
        assert len(await book.recognise([run.run for run in runs])) == MANY
        assert sent[before:].count("SELECT") == 1
    else:
        await together(book, [book.redelivered([run.run]) for run in runs])
        assert sent[before:].count("UPDATE") == MANY
        assert sent[before:].count("SELECT") <= MOST_QUESTIONS


async def test_batches_that_are_cut_at_commit_count_each_reservation_once(
    opened: Callable, dsn: str, own: LocalServer, make: Make, cost: Cost
) -> None:
    """
    P21: many runs at once, their connection cut before or after each COMMIT but every third.
    """
    proxy = Proxy(own.port)
    book = await ledger.open(dsn.replace(str(own.port), str(proxy.port)), clock=SystemClock())
    proxy.cuts += ["after", "before", None] * 20
    try:
        async with asyncio.timeout(WITHIN):
            await asyncio.gather(*(_life(book, make(str(n), lane=str(n)), cost) for n in range(LIVES)))
    finally:
        proxy.cuts.clear()
        await book.close()
        proxy.close()
    other = await opened()

    assert {"before", "after"} <= set(proxy.done)
    assert [await other.spent(cap.scope, cap.period) for cap in CAPS] == [(LIVES * 40, 0)] * 2
    assert await _count(other, "reservations") == LIVES
    assert await other.counts() == {("p", "delivered"): LIVES}


async def _life(book: Ledger, run: NewRun, cost: Cost) -> None:
    claim = await book.claim(run)
    assert isinstance(claim, Claim)
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
        async with step.call(amount=100, caps=CAPS) as call:
            await call.settle(cost(call.call, 40))
        await step.done({})
    await book.finish(claim, "delivered")


async def _count(book: Ledger, table: str) -> int:
    return await book.store.read(lambda c: c.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_calls_in_flight_outlive_a_server_that_is_away_for_two_leases(
    opened: Callable, own: LocalServer, make: Make, cost: Cost
) -> None:
    """
    P23: each of a thousand answers comes while the server is away, and is kept; nobody takes a lane over.
    """
    book, other = await opened(lease=LEASE), await opened(lease=LEASE)
    was = (book.worker, other.worker)
    runs = [make(str(n), lane=str(n)) for n in range(IN_FLIGHT)]
    asked, answers = asyncio.Queue[str](), asyncio.Event()
    async with asyncio.timeout(WITHIN):
        working = [asyncio.create_task(_asked_once(book, run, cost, asked, answers)) for run in runs]
        while asked.qsize() < IN_FLIGHT:
            await asyncio.sleep(0.05)
        own.stop()
        answers.set()
        await asyncio.sleep(2 * LEASE)
        own.start()
        taken = await _tried(other, runs, working)
        await asyncio.gather(*working)

    assert asked.qsize() == IN_FLIGHT
    assert taken == []
    assert (book.worker, other.worker) == was
    assert await other.counts() == {("p", "delivered"): IN_FLIGHT}
    assert await other.spent("hub", "-") == (IN_FLIGHT * 40, 0)


async def _asked_once(book: Ledger, run: NewRun, cost: Cost, asked: asyncio.Queue[str], answers: asyncio.Event) -> None:
    claim = await book.claim(run)
    assert isinstance(claim, Claim)
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
        async with step.call(amount=100, caps=CAPS) as call:
            asked.put_nowait(run.run)
            await answers.wait()
            await call.settle(cost(call.call, 40), with_step=True)
        await step.done({})
    await _firmly(lambda: book.finish(claim, "delivered"))


async def _firmly(work: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await work()
        except Unavailable:
            await asyncio.sleep(0.1)


async def _tried(by: Ledger, runs: list[NewRun], working: list[asyncio.Task[None]]) -> list[Claim]:
    """
    Try to take every run over, as after a rebalance, as long as its worker has not ended; return what was won.
    """
    won: list[Claim] = []
    while not all(task.done() for task in working):
        for run in runs[:: IN_FLIGHT // 50]:
            got = await _firmly(lambda run=run: by.claim(run))
            won += [got] if isinstance(got, Claim) else []
        await asyncio.sleep(0.05)
    return won
