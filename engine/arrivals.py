"""
Arrivals: what was fetched becomes an item of its lane, or has its end at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from bus.contract import Message
from engine.intake import Intake, Item
from engine.patience import firmly
from engine.watch import Watch
from ledger.contract import Known, Ledger
from penstock.clock import Clock
from schemas.entries import Verdict
from schemas.events import Event

log = logging.getLogger(__name__)


class Arrivals:
    """
    Looks at what came in; *admit* stores an item, *enqueue* gives one to its lane,
    and *enqueued* is called when all of them have one.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        watch: Watch,
        *,
        admit: Callable[[Item], Awaitable[None]],
        enqueue: Callable[[Item], None],
        enqueued: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._watch = watch
        self._admit = admit
        self._enqueue = enqueue
        self._enqueued = enqueued
        self._order = itertools.count()

    async def take_in(self, intake: Intake) -> None:
        """
        Give each message of the inbox its lane, or its end; after an error the inbox is still there.
        """
        found = [(message, await self._read(intake, message)) for message in list(intake.inbox)]
        known = await firmly(self._clock, lambda: self._ledger.recognise([item.new.run for _, item in found if item]))
        horizon = await firmly(self._clock, self._ledger.horizon)
        left, intake.inbox = set(map(id, intake.inbox)), []
        ends: list[Coroutine[Any, Any, None]] = []
        for message, item in found:
            if item is None or id(message) not in left:  # no event, or withdrawn meanwhile
                continue
            if item.new.run in known:
                ends.append(self._seen(item, known[item.new.run]))
            elif (judged := self._judge(item, horizon)) is not None:
                ends.append(self._concluded(item, *judged))
            else:
                self._enqueue(item)
        self._enqueued()
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("an event's end could not be kept; it is read again at the next start", exc_info=result)

    async def _read(self, intake: Intake, message: Message) -> Item | None:
        try:
            event = Event.from_kafka(list(message.headers), message.value)
        except ValueError as error:
            why = f"The message is not a CloudEvent: {str(error).splitlines()[0]}"
            await firmly(self._clock, lambda: self._ledger.conclude(intake.runner.unreadable(message), "dead", why))
            self._watch.concluded(intake.runner.plan.name, "dead")
            if message in intake.inbox:
                intake.inbox.remove(message)
                intake.finish(message)
            return None
        new = intake.runner.offer(event, message)
        return Item(intake, message, event, new, next(self._order), self._clock.monotonic())

    def _judge(self, item: Item, horizon: int) -> tuple[Verdict, str] | None:
        if item.message.timestamp_ms < horizon:
            return "stale", "it is older than what the ledger remembers, and may have run already"
        return item.intake.runner.judge(item.event)

    async def _seen(self, item: Item, known: Known) -> None:
        if known.state == "running":  # adopt it: whoever runs it may die without its event
            await self._admit(item)
        await firmly(self._clock, lambda: self._ledger.redelivered([item.new.run]))
        item.passed()

    async def _concluded(self, item: Item, verdict: Verdict, why: str) -> None:
        await firmly(self._clock, lambda: self._ledger.conclude(item.new, verdict, why, body=item.body))
        self._watch.concluded(item.new.pipeline, verdict)
        item.passed()
