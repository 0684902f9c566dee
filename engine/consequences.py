"""
What an error means for a run: it waits, stands aside, begins anew or ends.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ai import AIError, Awaited, Batched, Paced
from engine.approving import Undecided
from engine.changes import RecordChanged
from engine.echoes import EchoPending
from engine.gates import AtGate
from engine.holds import Holds, Queued
from engine.patience import LedgerDown
from engine.rates import TooMany
from engine.stations import station_of
from engine.writing import Parked
from ledger.contract import Claim, Ledger
from ledger.limits import CapReached
from ledger.returning import Failure
from penstock.clock import Clock
from penstock.errors import (
    AuthFailed,
    Conflict,
    EdgeError,
    OverBudget,
    PenstockError,
    Refused,
    Unavailable,
    UnknownOutcome,
)
from penstock.units import span as spelled
from pipelines.plan import Plan

log = logging.getLogger(__name__)

OURS_AGAIN = 2_000  # ms until a run goes on that our own ledger or our own limit stopped

End = tuple[Callable[..., Awaitable[object]], tuple[Any, ...], dict[str, Any]]
"""
A transition of the ledger, with its arguments.
"""


class Consequences:
    """
    The consequences of one pipeline's errors.
    """

    def __init__(self, plan: Plan, *, ledger: Ledger, clock: Clock, holds: Holds) -> None:
        self._plan = plan
        self._ledger = ledger
        self._clock = clock
        self._holds = holds

    async def after(self, error: Exception, claim: Claim, body: bytes) -> End:
        """
        Return the transition that *error* asks for.
        """
        ledger = self._ledger
        why = str(error).encode(errors="replace").decode()  # half a character could not be kept
        if waiting := await self._wait(error, claim, body, why):
            return waiting
        if isinstance(error, AtGate | Paced):
            return self.given_up(claim, body, why)
        match error:
            case OverBudget():
                return ledger.finish, (claim, "over-budget"), {"why": why, "body": body}
            case Refused() | AIError(advice="refused"):
                return ledger.finish, (claim, "refused"), {"why": why, "body": body}
            case RecordChanged():
                return ledger.rerun, (claim, body), {"why": why}
            case Parked() | Undecided():
                return ledger.aside, (claim, error.aside, body), {"why": why}
            case AIError(advice="retry") | Conflict() | AuthFailed():
                return self._again(claim, body, why, at=station_of(error))
            case UnknownOutcome():
                return self._again(claim, body, why, last=(ledger.aside, (claim, "parked", body), {"why": why}))
            case AIError() | EdgeError() | PenstockError():
                return self._dead(claim, body, why, station_of(error))
            case _:
                log.error("run %s failed unforeseen", claim.run, exc_info=error, extra={"penstock.run": claim.run})
                return self._again(claim, body, f"unforeseen {type(error).__name__}: {why}", at=station_of(error))

    def given_up(self, claim: Claim, body: bytes, why: str, at: str | None = None) -> End:
        """
        Return the end of a run for which it is too late.
        """
        told = f"{why} (given up {spelled(self._plan.give_up_after)} after the first try)"
        return self._dead(claim, body, told, at)

    def failure(self, step: str | None) -> Failure:
        """
        Return where a run died, under which configuration.
        """
        return Failure(step=step, config_hash=self._plan.config_hash)

    def _dead(self, claim: Claim, body: bytes, why: str, step: str | None) -> End:
        return self._ledger.finish, (claim, "dead"), {"why": why, "body": body, "failed": self.failure(step)}

    async def _wait(self, error: Exception, claim: Claim, body: bytes, why: str) -> End | None:
        """
        Return how a run waits for what is not its event's fault; None when it is.
        """
        wait, now = self._ledger.wait, self._clock.now_ms()
        match error:
            case AtGate():
                late = self._too_late(claim, now)
                return None if late else (wait, (claim, "outage", body), {"why": why, "gate": error.gate})
            case Paced():
                late = self._too_late(claim, now)
                return None if late else (wait, (claim, "pace", body), {"why": why, "due_at": error.due_at})
            case Batched():
                return wait, (claim, "batch", body), {"why": why, "due_at": error.due_at}
            case EchoPending() | Awaited():
                return wait, (claim, "behind", body), {"why": why, "due_at": error.due_at}
            case LedgerDown() | Unavailable():  # of our ledger or our own limit: what systems and models do is `AtGate`
                pause = getattr(error, "retry_after", None) or 0.0
                return wait, (claim, "retry", body), {"why": why, "due_at": now + max(int(pause * 1000), OURS_AGAIN)}
            case TooMany() if self._plan.pipeline.limits.at_limit == "hold":
                return wait, (claim, "hold", body), {"why": why, "due_at": error.due_at}
            case CapReached() | Queued() if await self._holds.waits(error, claim):
                return self._holds.wait, (error, claim, body), {"why": why}
        return None

    def _too_late(self, claim: Claim, at: int) -> bool:
        """
        Say whether a try at UTC ms *at* would be longer after the first than `give_up_after`.
        """
        return claim.began_at is not None and at - claim.began_at > self._plan.give_up_after * 1000

    def _again(self, claim: Claim, body: bytes, why: str, *, last: End | None = None, at: str | None = None) -> End:
        """
        Wait for the next attempt, or end as *last* (by default dead) when there is none left.
        """
        pause = self._plan.backoff.decide(claim.attempts + 1)
        if pause is None:
            tried = f"{why} (tried {claim.attempts + 1} times)"
            return last or self._dead(claim, body, tried, at)
        due = self._clock.now_ms() + int(pause * 1000)
        if self._too_late(claim, due):
            return last or self.given_up(claim, body, why, at)
        return self._ledger.wait, (claim, "retry", body), {"why": why, "due_at": due, "attempt": True}
