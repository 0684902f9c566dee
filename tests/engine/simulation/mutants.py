"""
Ways to get it wrong, each a patch of the product for the length of one world: the judge has to see every one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from bus.contract import Message
from engine import arrivals, executor, intake
from engine.writing import Writing
from ledger import book, claims, lanes, money, pickup
from ledger.claims import Claimant
from ledger.connection import Connection
from ledger.contract import Known, NewRun
from ledger.queries import queries

LIBERAL = "DROP INDEX IF EXISTS runs_one_running"
_LET_GO, _PICK, _CLAIM = intake.Intake._let_go, claims.pick, claims.claim
_WORK, _REVOKED = executor.Executor._work, intake.Intake.revoked


def withdrawn_is_finished(self: intake.Intake, message: Message) -> None:
    """
    The watermark skips what was withdrawn before it started.
    """
    if mark := self.marks.get(message.source):
        mark.finish(message.offset)
    _LET_GO(self, message)


def picked_up_is_deleted(connection: Connection, *given: Any, **more: Any) -> Any:
    """
    The waiting event is deleted when it is picked up (P1).
    """
    picked = _PICK(connection, *given, **more)
    connection.execute(queries["forget_bodies"], {"run": bytes.fromhex(picked.claim.run)})
    return picked


def _without_barrier(state: str) -> Callable[[Connection, NewRun, Claimant], Any]:
    def claim(connection: Connection, new: NewRun, by: Claimant) -> Any:
        """
        A new run is started though another one holds its lane.
        """
        lane = connection.execute(queries["lane"], lanes.values(new)).fetchone()
        if lane is not None and claims.runs.known(connection, new.run) is None:
            head = connection.execute(queries["known_run"], {"run": lane["head"]}).fetchone()
            if head["state"] == state:
                connection.execute(LIBERAL)
                named = lanes.values(new) | {"fence": lane["fence"]}
                connection.execute(queries["drop_lane"], named)
                return claims._start(connection, new, by)
        return _CLAIM(connection, new, by)

    return claim


async def passed_before_it_ran(self: executor.Executor, lane: intake.Lane, item: intake.Item) -> None:
    """
    The offset is passed when the run starts.
    """
    item.passed()
    await _WORK(self, lane, item)


async def not_adopted(self: arrivals.Arrivals, item: intake.Item, _known: Known) -> None:
    """
    What runs elsewhere is somebody else's: its offset is passed and nothing kept (P2).
    """
    item.passed()


async def revoked_and_remembered(self: intake.Intake, partitions: Any) -> None:
    """
    What was received of a partition that is gone is remembered for its return.
    """
    marks = {one: self.marks[one] for one in partitions if one in self.marks}
    await _REVOKED(self, partitions)
    self.marks.update(marks)


async def not_looked_for(self: Writing, *_given: Any) -> None:
    """
    After an unknown outcome the write is sent again, without a look.
    """


def forgotten_claim(self: book.Book, _what: str) -> Claimant:
    """
    A claim of unknown fate is tried again under another id.
    """
    return Claimant(worker=self.lease.worker, token=book.secrets.token_bytes(16), now=self.clock.now_ms())


def nothing(*_given: object, **_more: object) -> None:
    """
    Do nothing.
    """


MUTANTS: dict[str, list[tuple[Any, str, Any]]] = {
    "the watermark skips withdrawn messages": [(intake.Intake, "_let_go", withdrawn_is_finished)],
    "a waiting event is deleted at pick-up": [(claims, "pick", picked_up_is_deleted)],
    "a claim does not see a lane whose head waits": [(claims, "claim", _without_barrier("waiting"))],
    "a claim does not see a lane whose head runs": [(claims, "claim", _without_barrier("running"))],
    "an offset is passed before its run is kept": [(executor.Executor, "_work", passed_before_it_ran)],
    "what runs elsewhere is not adopted": [(arrivals.Arrivals, "_seen", not_adopted)],
    "a partition comes back with its old marks": [(intake.Intake, "revoked", revoked_and_remembered)],
    "no look before a write is sent again": [(Writing, "_look", not_looked_for)],
    "a claim of unknown fate is forgotten": [(book.Book, "_claimant", forgotten_claim)],
    "reservations of the dead are not swept": [(money, "sweep", nothing)],
}
"""
What is broken, and the patches that break it.
"""
assert pickup.claims is claims, "picking up goes through the module that is patched"


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """
    Break the product in one way.
    """
    patches = [mock.patch.object(owner, attribute, wrong) for owner, attribute, wrong in MUTANTS[name]]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()
