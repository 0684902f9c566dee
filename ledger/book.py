"""
The ledger over a store: a SQLite file, memory, or PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Literal, TypeVar

from ledger import asks, claims, gates, locks, pickup, reading, retention, runs, settling, steps
from ledger.batching_book import BatchingBook
from ledger.beats_book import BeatsBook
from ledger.caching_book import CachingBook
from ledger.claims import Claimant
from ledger.connection import Connection
from ledger.contract import Busy, Claim, Ending, Known, NewRun, PickedUp, WriteIntent
from ledger.drafting_book import DraftingBook
from ledger.estate_book import EstateBook
from ledger.facts_book import FactsBook
from ledger.fuses_book import FusesBook
from ledger.ids import Ids
from ledger.lease import Lease
from ledger.limiting import Limiting
from ledger.lineage_book import LineageBook
from ledger.locks import Locks
from ledger.pacing_book import PacingBook
from ledger.pausing_book import PausingBook
from ledger.queries import queries
from ledger.questions_book import QuestionsBook
from ledger.returning import Failure
from ledger.returning_book import ReturningBook
from ledger.runs import End, Until
from ledger.sending_book import SendingBook
from ledger.session import OpenStep, open_step
from ledger.settling import Member
from ledger.slots import Means
from ledger.sourcing_book import SourcingBook
from ledger.steps import Plan
from ledger.store import Store
from penstock.clock import Clock
from penstock.errors import Unavailable
from penstock.redaction import LIVE
from schemas.entries import (
    ActionClass,
    AsideReason,
    GateEntry,
    StepKind,
    Verdict,
    WaitReason,
    WriteEntry,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")
_SECOND = 1000  # ms
_PICK_UP = "picking up"


def never(_point: str) -> None:
    """
    Stop nowhere.
    """


class Book(
    FactsBook,
    SendingBook,
    QuestionsBook,
    Limiting,
    ReturningBook,
    PausingBook,
    PacingBook,
    CachingBook,
    BatchingBook,
    EstateBook,
    SourcingBook,
    DraftingBook,
    LineageBook,
    FusesBook,
    BeatsBook,
):
    """
    `ledger.contract.Ledger`, which documents every method.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease | None,
        *,
        clock: Clock,
        keep: float = retention.DETAILS,
        fail: Callable[[str], None] = never,
    ) -> None:
        self.store = store
        self.clock = clock
        self.lease = lease or Lease(0.0, None)
        self._keep = keep
        self._fail = fail
        self._writes = lease is not None
        self._ids = Ids()
        self._means = Means(store=store, lease=self.lease, clock=clock, fail=fail, ids=self._ids)
        self._unsure: dict[str, bytes] = {}
        """Ids of claims that failed, and may have been won all the same: the next try is made under the same."""
        self.secret = store.secret

    @property
    def worker(self) -> str:
        return self.lease.worker.hex() if self._writes else ""

    # ---- runs -------------------------------------------------------------------------------

    async def recognise(self, runs_: Sequence[str]) -> dict[str, Known]:
        names = tuple(runs_)
        return await self.store.read(lambda connection: runs.recognise(connection, names))

    async def conclude(self, run: NewRun, verdict: Verdict, why: str | None, *, body: bytes | None = None) -> None:
        now, why = self.clock.now_ms(), _hidden(why)
        await self.store.write(
            lambda connection: runs.conclude(connection, run, verdict, why=why, body=body, now=now),
            locks.of(run, asks=partial(asks.start, run)),
        )

    async def redelivered(self, runs_: Sequence[str]) -> None:
        named = [{"run": bytes.fromhex(run)} for run in runs_]

        def count(connection: Connection) -> None:
            for one in named:
                connection.execute(queries["count_delivery"], one)

        await self.store.write(count, Locks(runs=tuple(runs_)))

    async def claim(self, run: NewRun) -> Claim | Known | Busy:
        by = self._claimant(run.run)
        claimed = await self._unless_cancelled(
            run.run,
            by,
            lambda connection: claims.claim(connection, run, by),
            _claim_in,
            locks.of(run, worker=by.worker, asks=partial(asks.start, run)),
        )
        if isinstance(claimed, Claim):
            self._fail("claim")
        return claimed

    async def admit(
        self, run: NewRun, body: bytes, *, reason: WaitReason, due_at: int | None = None, gate: str | None = None
    ) -> None:
        now = self.clock.now_ms()
        until = Until(reason=reason, due_at=due_at, gate=gate)
        needs = locks.of(run, asks=partial(asks.start, run))
        await self.store.write(lambda connection: claims.admit(connection, run, body, until, now), needs)
        self._fail("admit")

    async def settle(self, run: NewRun, body: bytes, *, quiet: float, most: float, changed: Sequence[str] = ()) -> None:
        now = self.clock.now_ms()
        due_at, until = (now + int(seconds * _SECOND) for seconds in (quiet, most))
        member = Member(due_at=due_at, until=until, changed=tuple(changed))
        await self.store.write(lambda connection: settling.join(connection, run, body, member, now), locks.of(run))
        self._fail("join")

    async def hurry(self, pipeline: str, *, within: float) -> None:
        named = {"pipeline": pipeline, "due_at": self.clock.now_ms() + int(within * _SECOND)}
        await self.store.write(partial(settling.hurry, named=named), locks.ALONE)

    async def pick_up(self, pipelines: Sequence[str], most: int) -> list[PickedUp]:
        by, names = self._claimant(_PICK_UP), tuple(pipelines)
        return await self._unless_cancelled(
            _PICK_UP,
            by,
            lambda connection: pickup.pick_up(connection, names, most, by),
            lambda found: [one.claim for one in found],
            Locks(worker=by.worker, alone=True),
        )

    async def pick_up_late(self, pipeline: str, *, began_before: int, most: int) -> list[PickedUp]:
        what = f"late ones of {pipeline}"
        by = self._claimant(what)
        return await self._unless_cancelled(
            what,
            by,
            lambda connection: pickup.pick_up_late(connection, pipeline, began_before, most=most, by=by),
            lambda found: [one.claim for one in found],
            Locks(worker=by.worker, alone=True),
        )

    async def next_due(self, pipelines: Sequence[str]) -> int | None:
        now, names = self.clock.now_ms(), tuple(pipelines)
        if _PICK_UP in self._unsure:
            return now  # it may have won lanes that nobody works on
        return await self.store.read(lambda connection: pickup.next_due(connection, names, now))

    async def wait(
        self,
        claim: Claim,
        reason: WaitReason,
        body: bytes,
        *,
        why: str,
        due_at: int | None = None,
        gate: str | None = None,
        attempt: bool = False,
    ) -> None:
        now = self.clock.now_ms()
        until = Until(reason=reason, why=_hidden(why), due_at=due_at, gate=gate, attempt=attempt)
        await self.store.write(lambda connection: runs.wait(connection, claim, body, until, now), locks.of(claim))
        self._fail("wait")

    async def rerun(self, claim: Claim, body: bytes, *, why: str) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(why)
        await self.store.write(
            lambda connection: runs.rerun(connection, claim, body, why=told, now=now), locks.of(claim)
        )
        self._fail("rerun")

    async def aside(self, claim: Claim, reason: AsideReason, body: bytes, *, why: str) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(why)
        await self.store.write(
            lambda connection: runs.aside(connection, claim, body, reason=reason, why=told, now=now),
            locks.of(claim, asks=partial(asks.end, claim)),
        )
        self._fail("aside")

    async def finish(
        self,
        claim: Claim,
        verdict: Verdict,
        *,
        why: str | None = None,
        body: bytes | None = None,
        failed: Failure | None = None,
        superseded_by: str | None = None,
        ending: Ending | None = None,
    ) -> bool:
        self._fail("finish:before")
        now, why = self.clock.now_ms(), _hidden(why)
        end = End(verdict=verdict, why=why, body=body, failed=failed, superseded_by=superseded_by, now=now)
        before = None if ending is None else ending.keep
        asked = partial(asks.end, claim, () if ending is None else ending.asks())
        last = await self.store.write(
            lambda connection: runs.finish(connection, claim, end, before), locks.of(claim, asks=asked)
        )
        self._fail("finish:after")
        return last

    async def give_up(self, claim: Claim) -> None:
        await self.store.write(partial(claims.abandon, claim=claim), locks.of(claim))

    # ---- steps ------------------------------------------------------------------------------

    def step(
        self,
        claim: Claim,
        name: str,
        *,
        kind: StepKind,
        action_class: ActionClass | Literal["ai"],
        timeout: float,
        input_hash: str = "",
        write: WriteIntent | None = None,
        anew: bool = False,
        new: bool = False,
    ) -> AbstractAsyncContextManager[OpenStep]:
        plan = Plan(
            name=name,
            kind=kind,
            action_class=action_class,
            timeout_ms=int(timeout * _SECOND),
            input_hash=input_hash,
            write=write,
            anew=anew,
            token=self._ids.new(),
        )
        return open_step(self._means, claim, plan, new=new)

    async def answer(self, run: str, step: str, generation: int) -> tuple[object, bool] | None:
        return await self.store.read(lambda connection: steps.answer(connection, run, step, generation))

    async def writes_of(self, connection: str, record: str, since: int) -> list[WriteEntry]:
        return await self.store.read(lambda c: reading.writes_of(c, connection, record, since))

    # ---- gates ------------------------------------------------------------------------------

    async def shut(self, gate: str, reason: str, *, probe_at: int, refused: bool = False) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(reason)
        await self.store.write(
            lambda c: gates.shut(c, gate, told, probe_at=probe_at, now=now, refused=refused), locks.ALONE
        )

    async def reopen(self, gate: str) -> None:
        now = self.clock.now_ms()
        await self.store.write(lambda connection: gates.reopen(connection, gate, now), locks.ALONE)

    async def gates(self) -> list[GateEntry]:
        return await self.store.read(gates.shut_ones)

    async def close(self) -> None:
        try:
            if self._writes:
                await self.store.write(self.lease.give_back, locks.ALONE)
        except Unavailable as error:
            _log.warning("the lease could not be given back, and ends by itself: %s", error)
        finally:
            await self.store.close()

    def _claimant(self, what: str) -> Claimant:
        token = self._unsure.pop(what, None) or self._ids.new()
        return Claimant(worker=self.lease.worker, token=token, now=self.clock.now_ms())

    async def _unless_cancelled(
        self,
        what: str,
        by: Claimant,
        operation: Callable[[Connection], T],
        claimed: Callable[[T], Sequence[Claim]],
        needs: Locks,
    ) -> T:
        """
        Run *operation*; when its caller is gone before the end, give up what it claimed.
        """
        future = self.store.write(operation, needs)
        try:
            return await asyncio.shield(future)
        except Unavailable:
            self._unsure[what] = by.token
            raise
        except asyncio.CancelledError:
            future.add_done_callback(lambda ended: self._give_up(ended, claimed))
            raise

    def _give_up(self, ended: asyncio.Future[T], claimed: Callable[[T], Sequence[Claim]]) -> None:
        if ended.cancelled() or ended.exception() is not None:
            return
        for claim in claimed(ended.result()):
            self.store.write(partial(claims.abandon, claim=claim), locks.of(claim))


def _hidden(why: str | None) -> str | None:
    return None if why is None else LIVE.hide(why)  # systems repeat what was sent to them


def _claim_in(claimed: Claim | Known | Busy) -> Sequence[Claim]:
    return [claimed] if isinstance(claimed, Claim) else []
