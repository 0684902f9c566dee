"""
Whoever looks after batches: seals open items, sends them, asks how they stand, and books what came of them.

One worker does it for all. Everything is written before it is done and after: a batch whose creation nobody was told
of is looked for at the provider, and its items are in no other batch until it is certain that it was never made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ai.batch_talk import Refused, Talk, Uncertain, Unsent
from ai.batch_yield import Yield
from ai.batching import Terms
from ai.models import ModelSpec
from ai.providers.batching import BATCHING, Line, Standing
from ledger.batching import Batch, BatchState, Entry, ItemEnd, Limits
from penstock.errors import Fenced, PenstockError, Unavailable
from penstock.retry import Backoff

if TYPE_CHECKING:
    from ai.exchange import Tools
    from ai.keyring import Keyring

log = logging.getLogger("penstock.ai")

SEALED = Limits(items=1_000, size=16 * 1024 * 1024, age=300.0)
"""When open items become a batch."""
MARGIN = 900.0  # seconds before the end of `within` at which a run asks by itself
GRACE = 600.0  # seconds after that for a batch that was cancelled to say what was done of it
WORTH = 900.0  # seconds that must be left for a batch, or else a question is asked at once
QUIET = 300.0  # seconds after which a request that created a batch can no longer arrive
LASTS = 600.0  # seconds for which one worker looks after all batches
_LOOKS = Backoff(first=15.0, last=300.0, attempts=2**31)
_LEAD = "batches"
_SECOND = 1000  # ms


@dataclass(frozen=True, slots=True)
class Later:
    """
    When a batch is looked at again, and as what.
    """

    state: BatchState
    seconds: float
    why: str | None = None
    handle: str | None = None


class Batches:
    """
    The batches of all runs.
    """

    def __init__(
        self, models: Mapping[str, ModelSpec], *, tools: Tools, keyring: Keyring, limits: Limits = SEALED
    ) -> None:
        self.limits = limits
        self._models = models
        self._ledger = tools.ledger
        self._clock = tools.clock
        self._fail: Callable[[str], None] = tools.fail
        self._talk = Talk(tools, keyring, check=self._check)
        self._yield = Yield(tools)
        self._until = 0.0
        """Monotonic seconds until which this worker leads."""

    async def look(self) -> None:
        """
        Do what is to be done now, if nobody else does it.
        """
        if not await self._ledger.has_batches() or not await self._leads():
            return
        await self._ledger.withdraw()
        await self._ledger.seal(self.limits)
        for batch in await self._ledger.due_batches():
            if await self._leads():
                await self._advance(batch)

    async def _leads(self) -> bool:
        now = self._clock.monotonic()
        if self._until - now > LASTS / 2:
            return True
        if not await self._ledger.lead(_LEAD, lasts=LASTS):
            self._until = 0.0
            return False
        self._until = now + LASTS
        return True

    def _check(self) -> None:
        """
        Raise `Fenced` when another may look after batches by now: nothing new may be sent.
        """
        if self._clock.monotonic() >= self._until:
            raise Fenced("another worker looks after batches")

    async def _advance(self, batch: Batch) -> None:
        """
        Take one batch as far as it goes now.
        """
        spec = self._models.get(batch.model)
        try:
            if spec is None or spec.provider not in BATCHING:
                later: Later | None = Later(batch.state, 60.0, "its model is not configured here")
            elif batch.state == "sealed":
                later = await self._send(batch, spec)
            elif batch.state == "sending":
                later = await self._recover(batch, spec)
            else:
                later = await self._ask(batch, spec)
        except Unsent as error:
            later = Later(batch.state, self._pause(batch, error.retry_after), str(error))
        except (Fenced, Unavailable) as error:
            log.warning("batch %s of model %s: %s", batch.batch[:8], batch.model, error)
            return  # looked at again soon, by whoever may
        except PenstockError as error:
            later = Later(batch.state, self._pause(batch), str(error))
        if later is not None:
            await self._put_off(batch, later)

    async def _put_off(self, batch: Batch, later: Later) -> None:
        now = self._clock.now_ms()
        if now >= batch.due_at and later.state == "sealed":
            await self._end(batch, "free", "it was in no batch when it was due")
            return
        if now >= batch.due_at + GRACE * _SECOND:
            await self._end(batch, "lost", f"nobody knows what became of its batch: {later.why or batch.state}")
            return
        look_at = now + int(later.seconds * _SECOND)
        if now < batch.due_at:
            look_at = min(look_at, batch.due_at)
        if later.why:
            log.warning("batch %s of model %s: %s", batch.batch[:8], batch.model, later.why)
        looks = batch.looks + 1 if later.state == batch.state else 0
        await self._ledger.move_batch(
            batch, later.state, look_at=look_at, looks=looks, handle=later.handle, why=later.why
        )

    def _pause(self, batch: Batch, retry_after: float | None = None) -> float:
        if self._clock.now_ms() >= batch.due_at:
            return _LOOKS.first
        return max(_LOOKS.decide(batch.looks + 1, retry_after) or 0.0, _LOOKS.first)

    # ---- sending ----------------------------------------------------------------------------

    async def _send(self, batch: Batch, spec: ModelSpec) -> Later | None:
        """
        Create the batch at its provider: written down before, and only by whoever wrote that.
        """
        now = self._clock.now_ms()
        if now >= batch.due_at:
            return Later("sealed", 0.0)
        entries = await self._ledger.entries(batch.batch)
        lines = [Line(id=entry.call, body=entry.body) for entry in entries]
        if not await self._ledger.move_batch(
            batch, "sending", look_at=now + int(QUIET * _SECOND), looks=batch.looks, sent_at=now
        ):
            return None
        self._fail("batch:sending")
        sending = replace(batch, state="sending", sent_at=now)
        try:
            standing = await self._talk.create(spec, batch.batch, lines)
        except Uncertain as error:
            log.warning("batch %s of model %s may have been made: %s", batch.batch[:8], batch.model, error)
            return None  # looked for when the request can no longer arrive
        except Unsent as error:
            await self._put_off(sending, Later("sealed", self._pause(batch, error.retry_after), str(error)))
            return None
        except Refused as error:
            if await self._ledger.move_batch(sending, "sealed", look_at=now + int(QUIET * _SECOND)):
                await self._end(replace(sending, state="sealed"), "free", f"the provider refused its batch: {error}")
            return None
        self._fail("batch:created")
        log.info("batch %s of model %s: %d questions sent", batch.batch[:8], batch.model, len(lines))
        await self._put_off(sending, Later("running", _LOOKS.first, handle=standing.handle))
        return None

    async def _recover(self, batch: Batch, spec: ModelSpec) -> Later:
        """
        Look for a batch that may have been made; it is sent again only when it surely was not.
        """
        quiet_at = (batch.sent_at or batch.at) + int(QUIET * _SECOND)
        if (left := quiet_at - self._clock.now_ms()) > 0:
            return Later("sending", left / _SECOND)
        names = {entry.call for entry in await self._ledger.entries(batch.batch)}
        found = await self._talk.find(spec, batch, names, known=self._ledger.known_handle)
        if isinstance(found, Standing):
            return Later("running", 0.0, handle=found.handle)
        if found == "perhaps":
            return Later("sending", self._pause(batch), "a batch at the provider may be this one")
        return Later("sealed", 0.0)

    # ---- waiting ----------------------------------------------------------------------------

    async def _ask(self, batch: Batch, spec: ModelSpec) -> Later | None:
        """
        Ask how a batch stands; collect it when it is over, cancel it when it is due.
        """
        assert batch.handle is not None
        standing = await self._talk.look(spec, batch.handle)
        if standing.over:
            await self._collect(batch, spec, standing)
            return None
        if batch.state == "running" and self._clock.now_ms() >= batch.due_at:
            await self._talk.cancel(spec, batch.handle)
            return Later("cancelling", _LOOKS.first, "it is due, and was cancelled")
        return Later(batch.state, self._pause(batch))

    async def _collect(self, batch: Batch, spec: ModelSpec, standing: Standing) -> None:
        """
        Book every answer of a batch that is over.
        """
        if standing.refused is not None:
            await self._end(batch, "free", f"the provider refused its batch: {standing.refused}")
            return
        answers, readable = await self._talk.answers(spec, standing)
        entries = await self._ledger.entries(batch.batch)
        sure = readable and not standing.complete
        ends = [self._yield.end(spec, entry, answers.get(entry.call), sure=sure) for entry in entries]
        await self._finish(batch, spec, entries, ends)

    async def _end(self, batch: Batch, state: str, why: str) -> None:
        """
        End a batch of which there are no answers.
        """
        log.warning("batch %s of model %s: %s", batch.batch[:8], batch.model, why)
        entries, spec = await self._ledger.entries(batch.batch), self._models.get(batch.model)
        ends = [self._yield.without(spec, entry, lost=state == "lost", why=why) for entry in entries]
        await self._finish(batch, spec, entries, ends)

    async def _finish(
        self, batch: Batch, spec: ModelSpec | None, entries: Sequence[Entry], ends: Sequence[ItemEnd]
    ) -> None:
        await self._ledger.end_items(ends)
        if spec is not None:
            self._yield.record(spec, entries, ends)
        self._fail("batch:booked")
        await self._ledger.move_batch(batch, "ended", look_at=self._clock.now_ms())


def batch_terms(*, within: float, began_at: int, now: int, ask_hash: str, asked: Any) -> Terms | None:
    """
    Return how an ask that began then goes through a batch; None when too little time is left for one.
    """
    due = began_at + int((within - MARGIN) * _SECOND)
    if due - now < WORTH * _SECOND:
        return None
    return Terms(within=within, due_at=due, ask_hash=ask_hash, asked=asked)
