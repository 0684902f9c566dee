"""
What every ledger test needs: an open ledger of each kind, events, and an auditor that trusts nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

import ledger
from ledger import Claim, Ledger, NewRun
from ledger.connection import Connection
from ledger.foreseen import Answer
from ledger.queries import queries
from ledger.server_connection import ServerConnection
from penstock.clock import ManualClock
from schemas.entries import ModelCall

BODY = b'{"specversion":"1.0"}'


def new(event: str = "1", *, lane: str = "k", pipeline: str = "p", **more: Any) -> NewRun:
    """
    Return a run of the event's id, in one lane unless told otherwise.
    """
    values: dict[str, Any] = {
        "pipeline": pipeline,
        "lane": lane,
        "source": "https://desk.example",
        "event_id": event,
        "subject": "7",
        "body_hash": f"hash-{event}",
        "config_hash": "c1",
        "topic": "events.desk",
        "partition": 0,
        "offset": 0,
        "bus_time": 1_700_000_000_000,
    }
    return NewRun(**values | more)


def entry(call: str, cost: int, **more: Any) -> ModelCall:
    """
    Return what a provider call really cost.
    """
    values = {"run": "0" * 32, "step": "ask", "model": "small", "provider": "offline", "request_model": "m"}
    return ModelCall(call=call, cost=cost, **values | more)


def audit(connection: Connection) -> None:
    """
    Check everything that must hold between the tables, whatever happened.
    """
    reserved: dict[tuple[str, str], int] = {}
    spent: dict[tuple[str, str], int] = {}
    for amount, rows, state, booked in connection.execute("SELECT amount, rows, state, booked FROM reservations"):
        for scope, period in orjson.loads(rows):
            reserved[scope, period] = reserved.get((scope, period), 0) + (amount if state == "held" else 0)
            spent[scope, period] = spent.get((scope, period), 0) + booked
    for scope, period, was_spent, was_reserved in connection.execute(_BUDGETS):
        assert (spent[scope, period], reserved[scope, period]) == (was_spent, was_reserved)
    for question in _MUST_BE_EMPTY:
        assert connection.execute(question).fetchall() == [], question


_BUDGETS = "SELECT scope, period, spent, reserved FROM budgets"
_MUST_BE_EMPTY = (
    # a waiting or aside run without its event
    "SELECT run FROM runs WHERE state IN ('waiting', 'aside') AND run NOT IN (SELECT run FROM bodies)",
    # a lane whose head is not the oldest run that holds it
    """SELECT l.lane FROM lanes l WHERE l.head IS DISTINCT FROM (SELECT run FROM runs r WHERE r.tenant = l.tenant
       AND r.pipeline = l.pipeline AND r.lane = l.lane AND state IN ('running', 'waiting') ORDER BY seq LIMIT 1)""",
    # a run that holds a lane that is not there
    """SELECT run FROM runs r WHERE state IN ('running', 'waiting') AND NOT EXISTS (SELECT 1 FROM lanes l
       WHERE r.tenant = l.tenant AND r.pipeline = l.pipeline AND r.lane = l.lane)""",
    # a running run that is not the held head of its lane under the same fence
    """SELECT run FROM runs r WHERE state = 'running' AND NOT EXISTS (SELECT 1 FROM lanes l
       WHERE l.head = r.run AND l.fence = r.fence AND l.worker IS NOT NULL)""",
    # a held lane whose head does not run
    "SELECT lane FROM lanes WHERE worker IS NOT NULL AND head NOT IN (SELECT run FROM runs WHERE state = 'running')",
    # an unheld lane nobody can ever find
    "SELECT lane FROM lanes WHERE worker IS NULL AND (due_at IS NULL) = (gate IS NULL)",
    # a run that stands aside for decisions that were taken
    """SELECT r.run FROM runs r JOIN drafts d ON d.run = r.run AND d.generation = r.generation
       WHERE r.state = 'aside' AND r.reason = 'approval' GROUP BY r.run HAVING count(d.choice) = count(*)""",
    # a lane held by nobody known
    "SELECT lane FROM lanes WHERE worker IS NOT NULL AND worker NOT IN (SELECT worker FROM workers)",
    # a run whose cost is not the sum of its calls
    "SELECT run FROM runs r WHERE cost <> (SELECT coalesce(sum(cost), 0) FROM calls c WHERE c.run = r.run)",
    # an open step, or an open write, of a run that does not run
    """SELECT s.step FROM steps s JOIN runs r ON r.run = s.run
       WHERE s.state = 'intent' AND (r.state <> 'running' OR s.fence <> r.fence)""",
    """SELECT w.step FROM writes w JOIN runs r ON r.run = w.run WHERE w.state = 'open' AND r.state <> 'running'""",
)


@dataclass
class Site:
    """
    One place for a ledger, and a clock that tests move.
    """

    place: Path | str | None
    clock: ManualClock = field(default_factory=ManualClock)
    opened: list[Ledger] = field(default_factory=list)

    async def open(self, **more: Any) -> Ledger:
        """
        Open the ledger; it is audited and closed when the test ends.
        """
        found = await ledger.open(self.place, clock=self.clock, **more)
        self.opened.append(found)
        return found

    async def close(self) -> None:
        """
        Audit and close what the test left open.
        """
        for found in self.opened:
            await found.store.read(audit)
            await found.close()

    async def claim(self, of: Ledger, run: NewRun) -> Claim:
        """
        Claim a run that must be free.
        """
        claimed = await of.claim(run)
        assert isinstance(claimed, Claim)
        return claimed


def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    Let every answer known beforehand be asked for as well, and return the list of those that differ.
    """
    wrong: list[str] = []
    execute = ServerConnection.execute

    def twice(self: ServerConnection, sql: str, parameters: Any = None, /) -> Any:
        known = execute(self, sql, parameters)
        if isinstance(known, Answer) and sql != queries["tick"]:
            row, found = known.fetchone(), self._sent(sql, parameters).fetchone()
            names = found.keys() if found is not None else ()
            if (row is None) != (found is None) or any(row[name] != found[name] for name in names):
                wrong.append(f"{sql}: {row} and not {found}")
        return known

    monkeypatch.setattr(ServerConnection, "execute", twice)
    return wrong


@pytest.fixture(params=["file", "memory", "postgres"])
async def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """
    A place per implementation. Whatever a batch on PostgreSQL knew beforehand is what the server would have said.
    """
    wrong = compared(monkeypatch)
    places: dict[str, Callable[[], Path | str | None]] = {
        "file": lambda: tmp_path / "ledger.db",
        "memory": lambda: None,
        "postgres": lambda: request.getfixturevalue("dsn"),
    }
    place = Site(places[request.param]())
    yield place
    await place.close()
    assert wrong == []


@pytest.fixture
async def book(site: Site) -> Ledger:
    """
    An open ledger.
    """
    return await site.open()


@pytest.fixture
def make() -> Callable[..., NewRun]:
    """
    The maker of runs.
    """
    return new


@pytest.fixture
def cost() -> Callable[..., ModelCall]:
    """
    The maker of call entries.
    """
    return entry


@pytest.fixture
def auditor() -> Callable[[Connection], None]:
    """
    The check of everything between the tables.
    """
    return audit
