"""
Caps hold whatever happens: calls at once over crossed scopes, workers that die, answers that come late.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

import ledger
from ledger import Cap
from ledger.limits import CapReached
from ledger.queries import read
from ledger.testing import beside, bury
from penstock.clock import ManualClock
from penstock.errors import Fenced
from tests.ledger.conftest import entry, new

ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
SCOPES = ("budget:all", "budget:support", "budget:each/user=1", "pipeline:p", "pipeline:q")
BODY = b"{}"


def caps(names, limit=1000):
    """Caps of a few scopes, in the order given."""
    return [Cap(scope=name, period="d", limit=limit, at_limit="hold", alert_at=(0.5, 0.8)) for name in names]


async def money(book):
    """Spent and reserved of every scope."""
    return [await book.spent(scope, "d") for scope in SCOPES]


async def test_crossed_scopes_of_several_connections_do_not_deadlock(site, make, cost, caplog):
    """P20: workers that lock the same scopes in every order all come to an end, no batch is undone, no cap passed."""
    caplog.set_level(logging.DEBUG, "ledger.writer")
    dsn = site.place if isinstance(site.place, str) else None
    first = await site.open()
    workers = [first]
    workers += [await site.open() if dsn else await beside(first) for _ in range(3)]  # a server: each a connection
    dice = random.Random(20)
    highest = [0]
    waits = 0

    async def one(worker, number):
        nonlocal waits
        wanted = caps(dice.sample(SCOPES, 4))
        claim = await site.claim(worker, make(str(number), lane=str(number)))
        try:
            async with worker.step(claim, "ask", **ASK) as step, step.call(amount=90, caps=wanted) as slot:
                highest.append(max(sum(found) for found in await money(first)))
                await slot.settle(cost(slot.call, dice.randrange(5, 40)))
        except CapReached as error:
            waits += 1
            await worker.hold(claim, BODY, error.cap, need=90, why="no money")
            return
        await worker.finish(claim, "delivered")

    async with asyncio.timeout(120):
        await asyncio.gather(*(one(workers[number % 4], number) for number in range(160)))
        found = await asyncio.gather(*(worker.pick_up(["p"], 5) for worker in workers))

    assert "one by one" not in caplog.text, "a transaction was undone: a deadlock, most likely"
    assert max(highest) <= 1000
    assert waits > 0
    assert len({each.claim.run for some in found for each in some}) == sum(map(len, found))
    assert all(reserved == 0 and 0 < spent <= 1000 for spent, reserved in await money(first))


async def test_a_settle_after_a_sweep_books_once_under_every_scope(book, site, make, cost):
    """P22: swept in full while its worker slept, put right once by the answer, under all its scopes."""
    slow = await beside(book)
    claim = await site.claim(slow, make("1"))
    wanted = caps(SCOPES[:3])
    begun = slow.step(claim, "ask", **ASK)
    step = await begun.__aenter__()
    call = step.call(amount=300, caps=wanted)
    slot = await call.__aenter__()
    await book.admit(make("1"), BODY, reason="behind")
    await bury(slow)
    (picked,) = await book.pick_up(["p"], 1)
    swept = await money(book)
    for _ in range(3):
        await slot.settle(cost(slot.call, 120))
    await slot.release(cost(slot.call, 0))
    with suppress(Fenced):
        await step.done({})

    assert swept[:3] == [(300, 0)] * 3
    assert (await money(book))[:3] == [(120, 0)] * 3
    await book.finish(picked.claim, "delivered")


@st.composite
def deeds(draw):
    """What workers do to their calls, in any order."""
    deed = st.tuples(
        st.sampled_from(["begin", "settle", "release", "lose", "bury", "late"]),
        st.integers(1, 400),
        st.sets(st.sampled_from(SCOPES), min_size=1),
        st.integers(0, 1000),
    )
    return draw(st.lists(deed, max_size=30))


@settings(max_examples=60)
@given(deeds())
def test_no_cap_is_passed_at_any_moment(done):
    """Whatever is reserved, settled, released, lost and swept: 0 <= reserved, and spent + reserved <= cap."""
    asyncio.run(_do(done))


class _Calls:
    """Calls under way, each in a lane of its own, of workers that may be believed dead."""

    def __init__(self, book):
        self.book = book
        self.open = []
        self.late = []
        self.made = 0

    async def begin(self, amount, scopes, worker):
        self.made += 1
        run = new(str(self.made), lane=str(self.made))
        claim = await worker.claim(run)
        await self.book.admit(run, BODY, reason="behind")
        begun = worker.step(claim, "ask", **ASK)
        call = (await begun.__aenter__()).call(amount=amount, caps=caps(sorted(scopes)))
        try:
            self.open.append((worker, amount, await call.__aenter__()))
        except CapReached:
            await worker.finish(claim, "over-budget")

    def take(self, number):
        return self.open.pop(number % len(self.open))


async def _do(done):
    book = await ledger.open(None, clock=ManualClock())
    calls, worker = _Calls(book), await beside(book)
    for deed, amount, scopes, number in done:
        if deed == "begin":
            await calls.begin(amount, scopes, worker)
        elif deed == "bury":
            await bury(worker)
            await book.pick_up(["p"], 100)
            calls.late += calls.open
            calls.open, worker = [], await beside(book)
        elif deed == "late" and calls.late:
            _, held, slot = calls.late[number % len(calls.late)]
            await slot.settle(entry(slot.call, number % (held + 1)))
        elif calls.open and deed in {"settle", "release", "lose"}:
            _, held, slot = calls.take(number)
            if deed == "settle":
                await slot.settle(entry(slot.call, number % (held + 1)))
            elif deed == "release":
                await slot.release(entry(slot.call, 0))
            else:
                await slot.lose()
        for spent, reserved in await money(book):
            assert min(spent, reserved) >= 0
            assert spent + reserved <= 1000
    await book.store.read(_money_adds_up)
    await book.close()


def _money_adds_up(connection):
    """What budgets hold is what reservations say."""
    sums = {}
    for amount, rows, state, booked in connection.execute("SELECT amount, rows, state, booked FROM reservations"):
        for scope, period in orjson.loads(rows):
            spent, reserved = sums.get((scope, period), (0, 0))
            sums[scope, period] = (spent + booked, reserved + (amount if state == "held" else 0))
    for scope, period, spent, reserved in connection.execute("SELECT scope, period, spent, reserved FROM budgets"):
        assert sums.get((scope, period), (0, 0)) == (spent, reserved)


def test_a_name_of_a_statement_is_used_once():
    """Two statements of one name would hide each other."""
    files = sorted(Path(ledger.__file__).with_name("sql").glob("*.sql"))
    names = [name for file in files for name in read(file)]

    assert sorted(set(names)) == sorted(names)
