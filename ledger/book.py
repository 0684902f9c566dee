"""
The ledger over a store: a SQLite file, memory, or PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Literal, TypeVar

from ledger import claims, gates, locks, pickup, reading, retention, runs, steps
from ledger.claims import Claimant
from ledger.connection import Connection
from ledger.contract import Busy, Claim, Known, NewRun, PickedUp, RunQuery, WriteIntent
from ledger.lease import Lease
from ledger.locks import Locks
from ledger.queries import queries
from ledger.runs import Until
from ledger.session import ID_BYTES, Means, OpenStep, open_step
from ledger.steps import Plan
from ledger.store import Store
from penstock.clock import Clock
from penstock.errors import Unavailable
from penstock.redaction import LIVE
from schemas.entries import (
    ActionClass,
    AsideReason,
    GateEntry,
    Run,
    RunDetail,
    StepKind,
    Verdict,
    WaitReason,
    WriteEntry,
)

_log = logging.getLogger(__name__)

T = TypeVar("T")
_SECOND = 1000  # ms


def never(_point: str) -> None:
    """
    Stop nowhere.
    """


class Book:
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
            lambda connection: runs.conclude(connection, run, verdict, why=why, body=body, now=now), locks.of(run)
        )

    async def redelivered(self, runs_: Sequence[str]) -> None:
        named = [{"run": bytes.fromhex(run)} for run in runs_]
        await self.store.write(
            lambda connection: connection.executemany(queries["count_delivery"], named), Locks(runs=tuple(runs_))
        )

    async def claim(self, run: NewRun) -> Claim | Known | Busy:
        by = self._claimant()
        claimed = await self._unless_cancelled(
            lambda connection: claims.claim(connection, run, by), _claim_in, locks.of(run, worker=by.worker)
        )
        if isinstance(claimed, Claim):
            self._fail("claim")
        return claimed

    async def admit(
        self, run: NewRun, body: bytes, *, reason: WaitReason, due_at: int | None = None, gate: str | None = None
    ) -> None:
        now = self.clock.now_ms()
        until = Until(reason=reason, due_at=due_at, gate=gate)
        await self.store.write(lambda connection: claims.admit(connection, run, body, until, now), locks.of(run))
        self._fail("admit")

    async def pick_up(self, pipelines: Sequence[str], most: int) -> list[PickedUp]:
        by, names = self._claimant(), tuple(pipelines)
        return await self._unless_cancelled(
            lambda connection: pickup.pick_up(connection, names, most, by),
            lambda found: [one.claim for one in found],
            Locks(worker=by.worker, alone=True),
        )

    async def next_due(self, pipelines: Sequence[str]) -> int | None:
        now, names = self.clock.now_ms(), tuple(pipelines)
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

    async def aside(self, claim: Claim, reason: AsideReason, body: bytes, *, why: str) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(why)
        await self.store.write(
            lambda connection: runs.aside(connection, claim, body, reason=reason, why=told, now=now), locks.of(claim)
        )
        self._fail("aside")

    async def finish(
        self, claim: Claim, verdict: Verdict, *, why: str | None = None, body: bytes | None = None
    ) -> None:
        self._fail("finish:before")
        now, why = self.clock.now_ms(), _hidden(why)
        await self.store.write(
            lambda connection: runs.finish(connection, claim, verdict, why=why, body=body, now=now), locks.of(claim)
        )
        self._fail("finish:after")

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
    ) -> AbstractAsyncContextManager[OpenStep]:
        plan = Plan(
            name=name,
            kind=kind,
            action_class=action_class,
            timeout_ms=int(timeout * _SECOND),
            input_hash=input_hash,
            write=write,
            anew=anew,
            token=secrets.token_bytes(ID_BYTES),
        )
        means = Means(store=self.store, lease=self.lease, clock=self.clock, fail=self._fail)
        return open_step(means, claim, plan)

    async def answer(self, run: str, step: str, generation: int) -> tuple[object, bool] | None:
        return await self.store.read(lambda connection: steps.answer(connection, run, step, generation))

    async def last_write(self, pipeline: str, connection: str, record: str, step: str) -> WriteEntry | None:
        return await self.store.read(lambda c: reading.last_write(c, pipeline, connection, record, step))

    async def writes_of(self, connection: str, record: str, since: int) -> list[WriteEntry]:
        return await self.store.read(lambda c: reading.writes_of(c, connection, record, since))

    # ---- gates ------------------------------------------------------------------------------

    async def shut(self, gate: str, reason: str, *, probe_at: int) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(reason)
        await self.store.write(lambda c: gates.shut(c, gate, told, probe_at=probe_at, now=now), locks.ALONE)

    async def reopen(self, gate: str) -> None:
        now = self.clock.now_ms()
        await self.store.write(lambda connection: gates.reopen(connection, gate, now), locks.ALONE)

    async def gates(self) -> list[GateEntry]:
        return await self.store.read(gates.shut_ones)

    # ---- facts and retention ----------------------------------------------------------------

    async def positions(self, pipeline: str, topic: str) -> dict[int, int]:
        named = {"pipeline": pipeline, "topic": topic}
        rows = await self.store.read(lambda connection: connection.execute(queries["positions"], named).fetchall())
        return {int(row["part"]): int(row["next_off"]) for row in rows}

    async def keep_positions(self, pipeline: str, topic: str, positions: Mapping[int, int]) -> None:
        now = self.clock.now_ms()
        rows = [
            {"pipeline": pipeline, "topic": topic, "part": part, "next_off": offset, "now": now}
            for part, offset in sorted(positions.items())
        ]

        def keep(connection: Connection) -> None:
            for row in rows:
                connection.execute(queries["keep_position"], row)

        await self.store.write(keep, locks.ALONE)

    async def remember_config(self, config_hash: str, body: str) -> None:
        named = {"config_hash": config_hash, "body": body, "now": self.clock.now_ms()}
        await self.store.write(lambda connection: connection.execute(queries["remember_config"], named), locks.ALONE)

    async def horizon(self) -> int:
        return await self.store.read(retention.horizon)

    async def prune(self, now: int | None = None) -> int:
        at = self.clock.now_ms() if now is None else now
        details, identities = (int(at - seconds * _SECOND) for seconds in (self._keep, retention.IDENTITIES))
        pruned = 0
        while found := await self.store.write(lambda connection: retention.prune(connection, details), locks.ALONE):
            pruned += found
        await self.store.write(lambda connection: retention.forget(connection, identities), locks.ALONE)
        return pruned

    # ---- reading ----------------------------------------------------------------------------

    async def runs(self, query: RunQuery) -> list[Run]:
        return await self.store.read(lambda connection: reading.runs(connection, query))

    async def detail(self, run: str) -> RunDetail | None:
        return await self.store.read(lambda connection: reading.detail(connection, run))

    async def spent(self, scope: str, period: str) -> tuple[int, int]:
        return await self.store.read(lambda connection: reading.spent(connection, scope, period))

    async def counts(self, pipelines: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        return await self.store.read(lambda connection: reading.counts(connection, pipelines))

    async def close(self) -> None:
        try:
            if self._writes:
                await self.store.write(self.lease.give_back, locks.ALONE)
        except Unavailable as error:
            _log.warning("the lease could not be given back, and ends by itself: %s", error)
        finally:
            await self.store.close()

    def _claimant(self) -> Claimant:
        token = secrets.token_bytes(ID_BYTES)
        return Claimant(worker=self.lease.worker, token=token, now=self.clock.now_ms())

    async def _unless_cancelled(
        self, operation: Callable[[Connection], T], claimed: Callable[[T], Sequence[Claim]], needs: Locks
    ) -> T:
        """
        Run *operation*; when its caller is gone before the end, give up what it claimed.
        """
        future = self.store.write(operation, needs)
        try:
            return await asyncio.shield(future)
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
