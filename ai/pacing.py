"""
Going no faster than a provider takes: each request has its turn at its model's pace, which all workers share.

A model whose limits nobody knows has no pace, and costs nothing here. Limits come from the declaration, from
the headers of answers, or from a provider that asks to slow down: then they are guessed and felt out, additively
up and by half down (AIMD).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ai.errors import AIError
from ai.providers.quotas import said
from ledger.pacing import Need, Pace, Permits, Quota
from penstock.errors import Unavailable

if TYPE_CHECKING:
    from ai.meters import Meters
    from ai.models import ModelSpec
    from ledger.contract import Ledger
    from penstock.clock import Clock

log = logging.getLogger(__name__)

HORIZON = 1.0  # seconds before its turn a request may take it
PATIENCE = 3.0  # seconds a run waits for its turn where it is; then it waits in the ledger
LONGEST_AHEAD = 30.0  # seconds before its turn a run may begin at most, to have its context by then
FIRST_PAUSE = 2.0  # seconds, after the first answer that asks to slow down and does not say for how long
LONGEST_PAUSE = 60.0  # seconds
_NEAREST = 0.02  # seconds between looks for a turn at least
_LOOKS_BACK = 60.0  # seconds over which a limit is guessed
_REMEMBERED = 20_000  # requests of that time at most
_NOTHING = Need(input=0, output=0)


class Paced(Unavailable):
    """
    A model's pace leaves no room for the run now; nobody is to blame, and nothing was sent.
    """

    def __init__(self, model: str, due_at: int, why: str) -> None:
        super().__init__(f"model {model!r} {why}")
        self.due_at = due_at
        """UTC ms from which it may try again."""


@dataclass(slots=True)
class _Wanted:
    need: Need
    turn: asyncio.Future[tuple[int | None, int]]
    """UTC ms of the turn, and of the first that could be had otherwise."""


class Pacer:
    """
    This process' way to one pace of the ledger. Those who come while it asks are asked for together.
    """

    def __init__(
        self, pace: Pace, *, ledger: Ledger, clock: Clock, spread: Callable[[], float] = random.random
    ) -> None:
        self.pace = pace
        """As it was when the ledger last told."""
        self._coming: dict[str, float] = {}
        """Runs that began and have not asked for their turn yet, and when they began."""
        self._ahead = 0.0
        """Seconds that runs took of late from their begin until they asked."""
        self._ledger = ledger
        self._clock = clock
        self._spread = spread
        self._wanted: list[_Wanted] = []
        self._back = _NOTHING
        self._asking: asyncio.Task[None] | None = None
        self._waiting = 0
        self._part = 0.0
        """Of a minute, what a request took on average of late."""
        self._used_up_until = 0
        self._refusals = 0

    @property
    def room(self) -> int:
        """
        How many more runs may begin whose turn would come soon.
        """
        now = self._clock.now_ms()
        lead = (max(self.pace.next_at, self.pace.paused_until, self._used_up_until) - now) / 1000
        free = HORIZON + self._ahead - max(lead, 0.0)
        return math.ceil(free / max(self._seconds(), 1e-6)) - self._waiting - len(self._coming) if free > 0 else 0

    def begins(self, run: str) -> None:
        """
        Take note that a run is on its way here.
        """
        self._coming[run] = self._clock.monotonic()

    def arrives(self, run: str) -> None:
        """
        Take note that it asks for its turn now: others may begin as long before theirs.
        """
        if (began := self._coming.pop(run, None)) is not None:
            took = min(self._clock.monotonic() - began, LONGEST_AHEAD)
            self._ahead += 0.1 * (took - self._ahead)

    def ended(self, run: str) -> None:
        """
        Take note that it has ended, whether it asked or not.
        """
        self._coming.pop(run, None)

    async def turn(self, model: str, need: Need, *, patience: float) -> float:
        """
        Return when it is the turn of a request, with the seconds that took.

        Raises `Paced` when it does not come within *patience* seconds, and `Unavailable` of the ledger.
        """
        began = self._clock.monotonic()
        self._waiting += 1
        try:
            while True:
                due, first = await self._asked(need)
                now = self._clock.now_ms()
                if due is not None:
                    await self._clock.sleep(max(0.0, (due - now) / 1000))
                    return self._clock.monotonic() - began
                near = 0.0 if need.patient else HORIZON
                pause = max((first - now) / 1000 - near, _NEAREST)
                if self._clock.monotonic() - began + pause > patience:
                    raise Paced(model, self._later(first), self._why())
                await self._clock.sleep(pause)
        finally:
            self._waiting -= 1

    def back(self, need: Need) -> None:
        """
        Take back what a request did not use; the ledger hears of it with the next turn.
        """
        self._back = Need(input=self._back.input + need.input, output=self._back.output + need.output)

    def told(self, pace: Pace) -> None:
        """
        Believe the ledger.
        """
        self.pace = pace

    def used_up(self, seconds: float) -> None:
        """
        Leave the provider alone until there is something left of its quota.
        """
        self._used_up_until = self._clock.now_ms() + int(seconds * 1000)

    def refused(self, error: AIError) -> int:
        """
        Return until when, in UTC ms, to leave alone a provider that asked to slow down: as long as it said, else
        longer each time, by a part that chance decides (full jitter).
        """
        pause = error.retry_after
        if pause is None:
            pause = self._spread() * min(FIRST_PAUSE * 2.0 ** min(self._refusals, 8), LONGEST_PAUSE)
        self._refusals += 1
        return self._clock.now_ms() + int(pause * 1000)

    def worked(self) -> None:
        """
        Forget earlier refusals.
        """
        self._refusals = 0

    def paced(self, model: str) -> Paced:
        """
        Return the error of a run that has to come again.
        """
        return Paced(model, self._later(max(self.pace.paused_until, self.pace.next_at)), self._why())

    def _seconds(self) -> float:
        """
        Return the seconds a request takes of the pace.
        """
        request, _ = self.pace.quota.parts(_NOTHING)
        return 60 * max(request, self._part) / max(self.pace.cut, 0.01)

    def _later(self, first: int) -> int:
        spread = self._spread() * max(1.0, self._waiting * self._seconds())
        return max(first, self._clock.now_ms()) + int(spread * 1000)

    def _why(self) -> str:
        if self.pace.paused_until > self._clock.now_ms():
            return "asked to slow down; the run has its turn later"
        return "takes no more a minute; the run has its turn later"

    async def _asked(self, need: Need) -> tuple[int | None, int]:
        if (until := self._used_up_until) > self._clock.now_ms():
            return None, until
        self._part += 0.1 * (max(self.pace.quota.parts(need)) - self._part)
        wanted = _Wanted(need, asyncio.get_running_loop().create_future())
        self._wanted.append(wanted)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await wanted.turn

    async def _ask(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, []
                back, self._back = self._back, _NOTHING
                try:
                    permits = await self._ledger.permits(
                        self.pace.name, [each.need for each in wanted], back=back, horizon=HORIZON
                    )
                except BaseException as error:  # each of them has to hear of it
                    for each in wanted:
                        if not each.turn.done():
                            each.turn.set_exception(error if isinstance(error, Exception) else Unavailable("stopped"))
                    if not isinstance(error, Exception):
                        raise
                else:
                    self._give(wanted, permits)
        finally:
            self._asking = None

    def _give(self, wanted: Iterable[_Wanted], permits: Permits) -> None:
        self.told(permits.pace)
        for each, due in zip(wanted, permits.due, strict=True):
            if not each.turn.done():
                each.turn.set_result((due, permits.next_at))


class Paces:
    """
    The paces of all models.
    """

    def __init__(self, models: Mapping[str, ModelSpec], *, ledger: Ledger, clock: Clock, meters: Meters) -> None:
        self._ledger = ledger
        self._clock = clock
        self._meters = meters
        self._names = {name: name_of(spec) for name, spec in models.items()}
        self._declared = {self._names[name]: spec.quota for name, spec in models.items() if spec.quota is not None}
        self._pacers: dict[str, Pacer] = {}
        self._sent: dict[str, deque[float]] = {name: deque(maxlen=_REMEMBERED) for name in self._names.values()}

    def of(self, model: str) -> Pacer | None:
        """
        Return the pacer of a model; None when nothing is known of its limits.
        """
        return self._pacers.get(self._names[model]) if self._pacers else None

    async def look(self) -> None:
        """
        Learn from the ledger which paces there are: others may have found one. Raises `Unavailable`.
        """
        kept = {pace.name: pace for pace in await self._ledger.paces() if pace.name in self._sent}
        for name, declared in self._declared.items():
            found = kept.get(name)
            by_answers = found is not None and found.told and not found.declared
            wanted = declared.within(found.quota) if found is not None and by_answers else declared
            if found is None or found.quota != wanted:
                kept[name] = await self._ledger.set_pace(name, wanted, told=True, declared=not by_answers)
        for name, pace in kept.items():
            if pace.declared and name not in self._declared:  # it was, before
                await self._ledger.forget_pace(name)
                self._pacers.pop(name, None)
            else:
                self._pacer(name, pace)

    async def turn(self, model: str, need: Need, *, patience: float) -> None:
        """
        Wait for the turn of a request. Raises `Paced`, and `Unavailable` of the ledger.
        """
        if (pacer := self.of(model)) is not None:
            self._meters.paced(await pacer.turn(model, need, patience=patience), model)

    def sent(self, model: str) -> None:
        """
        Count a request: a limit that nobody told is guessed by what was sent.
        """
        self._sent[self._names[model]].append(self._clock.monotonic())

    def back(self, model: str, given: int, said: int) -> None:
        """
        Take back the tokens of input and output that a request did not use.
        """
        if (pacer := self.of(model)) is not None:
            pacer.back(Need(input=given, output=said))

    async def heard(self, model: str, headers: Mapping[str, str]) -> None:
        """
        Learn what the headers of an answer say.
        """
        if (pacer := self.of(model)) is not None:
            pacer.worked()
        if (told := said(headers)) is None:
            return
        name = self._names[model]
        quota = told.quota.within(self._declared.get(name, Quota()))
        if pacer is None or pacer.pace.quota != quota or not pacer.pace.told:
            if pacer is not None:
                pacer.told(replace(pacer.pace, quota=quota, told=True))  # so that one answer of many tells it
            pacer = await self._set(name, quota)
        if told.used_up and pacer is not None:
            pacer.used_up(told.used_up)

    async def too_fast(self, model: str, error: AIError) -> Pacer:
        """
        Slow down, as the provider asked; for all workers.
        """
        name = self._names[model]
        pacer = self.of(model) or self._pacer(
            name, Pace(name=name, quota=Quota(), told=False, paused_until=0, cut=1.0, next_at=0)
        )
        until = pacer.refused(error)
        pacer.told(await self._ledger.slow_down(name, until=until, guess=self._guess(name)))
        log.warning("model %s asked to slow down: %s", model, error, extra={"penstock.model": model})
        return pacer

    async def _set(self, name: str, quota: Quota) -> Pacer | None:
        try:
            return self._pacer(name, await self._ledger.set_pace(name, quota, told=True))
        except Unavailable as error:
            log.warning("a limit of %s could not be kept: %s", name, error)
            return self._pacers.get(name)

    def _pacer(self, name: str, pace: Pace) -> Pacer:
        if (pacer := self._pacers.get(name)) is None:
            pacer = self._pacers[name] = Pacer(pace, ledger=self._ledger, clock=self._clock)
        pacer.told(pace)
        return pacer

    def _guess(self, name: str) -> Quota:
        """
        Return what was sent in the last minute, and a request at least.
        """
        since = self._clock.monotonic() - _LOOKS_BACK
        return Quota(requests=max(1, sum(at > since for at in self._sent[name])))


def name_of(spec: ModelSpec) -> str:
    """
    Return the name of a model's pace: models that ask for the same under the same credential have one.

    A credential is known by its reference, not by what it leads to: a new key of the same account changes nothing.
    """
    whose = (spec.provider, spec.url, spec.project, spec.region, str(spec.key.newest) if spec.key else "", spec.model)
    return f"{spec.label}@{hashlib.sha256(repr(whose).encode()).hexdigest()[:8]}"
