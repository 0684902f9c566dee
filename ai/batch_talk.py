"""
Talking to a provider about batches: what was surely sent, surely not, or perhaps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

import orjson

from ai.errors import AIError
from ai.providers import adapter, faults
from ai.providers.batching import Answered, Batcher, Line, Standing, batcher
from ai.providers.contract import Malformed
from penstock.errors import PenstockError
from penstock.http import NotSent, Request, Response, SentNoAnswer
from penstock.redaction import MASK

if TYPE_CHECKING:
    from ai.exchange import Tools
    from ai.keyring import Keyring
    from ai.models import ModelSpec
    from ledger.batching import Batch

PATIENCE = 60.0  # seconds for one request
TRANSFER = 120.0  # seconds for one that carries questions or answers
MOST_ANSWERS = 256 * 1024 * 1024  # bytes
SKEW = 600.0  # seconds a provider's clock may be wrong
PAGES = 50  # of a listing
_REFUSED = frozenset(range(300, 500)) - {408}
_NOT_NOW = frozenset({409, 425, 429})
_ANOTHER_KEY = frozenset({401, 403, 404})
"""Statuses after which another key is tried: a batch is seen by the account that made it."""

Build = Callable[[str | None], Request]


class Unsent(PenstockError):
    """
    Nothing came of it, and it may be tried again.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Uncertain(Unsent):
    """
    It may have had an effect.
    """


class Refused(PenstockError):
    """
    The provider does not want it, now or later.
    """


class Talk:
    """
    Requests about batches; *check* is called before each leaves.
    """

    def __init__(self, tools: Tools, keyring: Keyring, *, check: Callable[[], None]) -> None:
        self._http = tools.http
        self._keyring = keyring
        self._check = check

    async def create(self, spec: ModelSpec, batch: str, lines: Sequence[Line]) -> Standing:
        """
        Create a batch. Raises `Unsent` when it surely was not made, `Refused`, `Uncertain`.
        """
        words, there = batcher(spec.provider), ""
        try:
            if words.upload(spec, None, batch, lines) is not None:
                there = words.uploaded(await self._good(spec, lambda key: _some(words.upload(spec, key, batch, lines))))
        except (Uncertain, Malformed) as error:  # a file without a batch costs nothing
            raise Unsent(str(error), getattr(error, "retry_after", None)) from error
        return await self._standing(spec, lambda key: words.create(spec, key, batch, lines, there))

    async def look(self, spec: ModelSpec, handle: str) -> Standing:
        """
        Ask how a batch stands. Raises `Uncertain`.
        """
        try:
            return await self._standing(spec, lambda key: batcher(spec.provider).look(spec, key, handle))
        except Refused as error:
            raise Uncertain(str(error)) from error

    async def cancel(self, spec: ModelSpec, handle: str) -> None:
        """
        End a batch early. Raises `Uncertain`.
        """
        try:
            await self._good(spec, lambda key: batcher(spec.provider).cancel(spec, key, handle))
        except Refused as error:
            raise Uncertain(str(error)) from error

    async def answers(self, spec: ModelSpec, standing: Standing) -> tuple[dict[str, Answered], bool]:
        """
        Return what there is by the ids of the questions, and whether all of it could be read. Raises `Uncertain`.
        """
        words, found, readable = batcher(spec.provider), {}, True
        for source in standing.sources:
            try:
                response = await self._good(spec, lambda key, source=source: words.fetch(spec, key, source))  # type: ignore[misc]
            except Refused as error:
                raise Uncertain(str(error)) from error
            for line in response.body.splitlines():
                if not line.strip():
                    continue
                try:
                    one = words.answered(orjson.loads(line))
                except (ValueError, Malformed):
                    readable = False
                    continue
                found[one.id] = one
        return found, readable

    async def find(
        self, spec: ModelSpec, batch: Batch, names: set[str], *, known: Callable[[str], Awaitable[bool]]
    ) -> Standing | Literal["perhaps"] | None:
        """
        Return the batch whose creation nobody was told of; None when it surely was not made. Raises `Uncertain`.
        """
        words, after, perhaps = batcher(spec.provider), None, False
        since = (batch.sent_at or batch.at) / 1000 - SKEW
        for _ in range(PAGES):
            page, more = await self._page(spec, words, after)
            for standing in (one for one in page if one.at >= since):
                if standing.ours == batch.batch:
                    return standing
                if words.NAMES or standing.size != batch.items or await known(standing.handle):
                    continue
                if not standing.over:
                    perhaps = True
                elif names & set((await self.answers(spec, standing))[0]):
                    return standing
            if not more or not page or page[-1].at < since:
                return "perhaps" if perhaps else None
            after = page[-1].handle
        return "perhaps"

    async def _page(self, spec: ModelSpec, words: Batcher, after: str | None) -> tuple[list[Standing], bool]:
        try:
            return words.standings(await self._good(spec, lambda key: words.listing(spec, key, after)))
        except (Malformed, Refused) as error:
            raise Uncertain(str(error)) from error

    async def _standing(self, spec: ModelSpec, build: Build) -> Standing:
        response = await self._good(spec, build)
        try:
            return batcher(spec.provider).standing(response)
        except Malformed as error:
            raise Uncertain(str(error)) from error

    async def _good(self, spec: ModelSpec, build: Build) -> Response:
        """
        Return a success, with whichever key opens it. Raises `Unsent`, `Refused`, `Uncertain`.
        """
        try:
            keys: list[str | None] = [*await self._keyring.of(spec)] or [None]
        except AIError as error:
            raise Unsent(str(error)) from error
        for number, key in enumerate(keys):
            response = await self._sent(build(key))
            if response.status not in _ANOTHER_KEY or number == len(keys) - 1:
                break
        if 200 <= response.status < 300:
            return _without(response, key)
        fault = adapter(spec.provider).classify(response)
        told = (str(fault) if fault else f"HTTP {response.status}").replace(key or MASK, MASK)
        pause = faults.retry_after(response.headers)
        if response.status in _NOT_NOW:
            raise Unsent(told, pause)
        if response.status in _REFUSED:
            raise Refused(told)
        raise Uncertain(told, pause)

    async def _sent(self, request: Request) -> Response:
        large = len(request.content) > MOST_SMALL
        patience = TRANSFER if large or request.url.path.endswith(("/content", "/results")) else PATIENCE
        try:
            return await self._http.send(request, timeout=patience, fence=self._check, max_body=MOST_ANSWERS)
        except NotSent as error:
            raise Unsent(f"the provider cannot be reached: {error}") from error
        except SentNoAnswer as error:
            raise Uncertain(f"the provider was asked and did not answer: {error}") from error


MOST_SMALL = 64 * 1024  # bytes


def _some(request: Request | None) -> Request:
    assert request is not None
    return request


def _without(response: Response, key: str | None) -> Response:
    """
    Take the key out of what a server says: answers are kept.
    """
    if key is None or len(key) < 12 or (secret := key.encode()) not in response.body:
        return response
    return Response(
        status=response.status,
        headers=response.headers,
        body=response.body.replace(secret, MASK.encode()),
        seconds=response.seconds,
    )
