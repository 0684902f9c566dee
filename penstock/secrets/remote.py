"""
Secrets of stores: fetched before they are used, renewed beside the work, never while somebody waits for a value.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Mapping

from penstock.clock import Clock
from penstock.http import Http
from penstock.redaction import Redactor
from penstock.secrets import stores
from penstock.secrets.errors import SecretAway
from penstock.secrets.kept import Kept
from penstock.secrets.references import Kind, SecretRef
from penstock.secrets.stores.contract import NotGiven, Store
from penstock.secrets.values import Secret

log = logging.getLogger(__name__)

AT_ONCE = 8  # secrets asked for at the same time
Place = tuple[Kind, str]


class Remote:
    """
    Every secret of a store that this process needs.
    """

    def __init__(self, environment: Mapping[str, str], clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._clock = clock
        self._redactor = redactor
        self._kept: dict[Place, Kept] = {}
        self._asking: _Asking | None = None

    def __repr__(self) -> str:
        return f"<Remote of {len(self._kept)} secrets>"

    def values(self, ref: SecretRef) -> tuple[Secret, ...]:
        """
        Return the live values of *ref*, newest first; raises `SecretAway`. Asks nobody.
        """
        try:
            return self._values(ref)
        except NotGiven as error:
            raise SecretAway(f"{ref} {error.problem}") from None

    async def load(self, refs: Iterable[SecretRef], asking: _Asking) -> dict[SecretRef, NotGiven]:
        """
        Fetch what is not known or too old; return why, for each of *refs* without a value.
        """
        wanted = list(refs)
        places = {_place(ref): self._kept.setdefault(_place(ref), Kept(self._redactor)) for ref in wanted}
        now = self._clock.monotonic()
        await asking.renew({place: kept for place, kept in places.items() if kept.due <= now})
        return {ref: problem for ref in wanted if (problem := self._problem(ref)) is not None}

    @contextlib.asynccontextmanager
    async def asking(self, http: Http) -> AsyncIterator[_Asking]:
        """
        Be able to ask stores over *http* in this event loop.
        """
        asking = _Asking(self._environment, http, self._clock, self._redactor)
        try:
            yield asking
        finally:
            await asking.close()

    @contextlib.asynccontextmanager
    async def renewing(self, asking: _Asking) -> AsyncIterator[None]:
        """
        Renew what is due, beside the work.
        """
        self._asking = asking
        keeper = asyncio.create_task(asking.keep(self._kept))
        try:
            yield
        finally:
            self._asking = None
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def renew(self, ref: SecretRef) -> None:
        """
        Renew *ref* now, or soon where that was done just before: somebody refuses its value.
        """
        kept = self._kept.get(_place(ref))
        if kept is None or self._asking is None:
            return
        kept.hurry()
        if kept.due <= self._clock.monotonic():
            await self._asking.renew({_place(ref): kept})
        else:
            self._asking.wake()

    def _values(self, ref: SecretRef) -> tuple[Secret, ...]:
        kept = self._kept.get(_place(ref))
        if kept is None:
            raise NotGiven("was not fetched yet", "away")
        return kept.values(ref, self._clock.monotonic())

    def _problem(self, ref: SecretRef) -> NotGiven | None:
        try:
            self._values(ref)
        except NotGiven as error:
            return error
        return None


class _Asking:
    """
    Open stores, in one event loop.
    """

    def __init__(self, environment: Mapping[str, str], http: Http, clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._http = http
        self._clock = clock
        self._redactor = redactor
        self._stores: dict[Kind, Store] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._flying: dict[Place, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()

    async def close(self) -> None:
        """
        Give up what is under way, close what is open.
        """
        for task in (flying := [*self._flying.values()]):
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)
        for store in self._stores.values():
            await store.close()

    def wake(self) -> None:
        """
        Look again at what is due.
        """
        self._woken.set()

    async def keep(self, secrets: Mapping[Place, Kept]) -> None:
        """
        Renew each of *secrets* when it is due, for ever.
        """
        while secrets:
            now = self._clock.monotonic()
            await self.renew({place: kept for place, kept in secrets.items() if kept.due <= now})
            await self._rest(min(kept.due for kept in secrets.values()) - self._clock.monotonic())

    async def renew(self, secrets: Mapping[Place, Kept]) -> None:
        """
        Ask for *secrets*, each once at a time; failures are kept with them.
        """
        for place, kept in secrets.items():
            if place not in self._flying:
                task = self._flying[place] = asyncio.create_task(self._ask(place, kept))
                task.add_done_callback(lambda _, place=place: self._flying.pop(place, None))  # type: ignore[misc]
        await asyncio.gather(*(asyncio.shield(self._flying[place]) for place in secrets))

    async def _ask(self, place: Place, kept: Kept) -> None:
        kind, name = place
        async with self._turns:
            asked = kept.tried = self._clock.monotonic()
            try:
                changed = kept.take(await self._store(kind).fetch(name), asked)
            except NotGiven as error:
                self._failed(place, kept, error)
            except Exception as error:  # noqa: BLE001 - a store that surprises us must not end the keeper
                # Its words may hold an answer, so they are not told.
                told = NotGiven(f"cannot be asked for: unforeseen {type(error).__name__}", "away")
                self._failed(place, kept, told)
            else:
                if changed:
                    log.info("the secret %s:%s was rotated; the new one is in use", kind, name)

    def _store(self, kind: Kind) -> Store:
        if kind not in self._stores:
            self._stores[kind] = stores.open(
                kind, self._environment, http=self._http, clock=self._clock, redactor=self._redactor
            )
        return self._stores[kind]

    def _failed(self, place: Place, kept: Kept, error: NotGiven) -> None:
        first = not kept.failing
        kept.fail(error, self._clock.monotonic())
        if first:
            log.warning("the secret %s:%s %s", *place, error.problem)

    async def _rest(self, seconds: float) -> None:
        """
        Sleep *seconds*, or until somebody is in a hurry.
        """
        self._woken.clear()
        waits = [asyncio.create_task(self._clock.sleep(max(0.0, seconds))), asyncio.create_task(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


def _place(ref: SecretRef) -> Place:
    return ref.source, ref.name
