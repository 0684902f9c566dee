"""
How stores are asked over HTTP: one request, one answer, and a token that is good for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from penstock.clock import Clock
from penstock.http import Http, NotSent, Request, Response, SentNoAnswer
from penstock.redaction import Redactor
from penstock.secrets.stores.contract import NotGiven

WITHIN = 10.0  # seconds per request
MOST = 1024 * 1024  # bytes of an answer
EARLY = 60.0  # seconds before its end a token is replaced, at most
EARLY_SHARE = 0.2  # of its life, for short ones
_LATER = {408, 425, 429}


async def ask(http: Http, request: Request, whom: str, *, answers: tuple[bytes, ...] = ()) -> Response:
    """
    Return the answer to *request*; raises `NotGiven` when *whom* gives none now. Bodies are never repeated.

    A server's error that says one of *answers* is an answer all the same.
    """
    try:
        answer = await http.send(request, timeout=WITHIN, max_body=MOST)
    except (NotSent, SentNoAnswer) as error:
        reason = "no answer came" if isinstance(error, SentNoAnswer) else "it cannot be reached"
        raise NotGiven(
            f"cannot be asked for: {whom}: {reason}: look at the network and at the store", "away"
        ) from error
    if answer.status in _LATER or (answer.status >= 500 and not any(said in answer.body for said in answers)):
        raise NotGiven(f"cannot be asked for: {whom} answered {answer.status}: look at the store", "away")
    return answer


def data(answer: Response, whom: str) -> dict[str, Any]:
    """
    Return the JSON object of *answer*; raises `NotGiven`.
    """
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotGiven(f"cannot be read: {whom} answered {answer.status} without a JSON object", "away")
    return found


def text(found: Any, *path: str, whom: str) -> str:
    """
    Return the text at *path* in *found*; raises `NotGiven`.
    """
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, str) or not found:
        raise NotGiven(f"cannot be read: the answer of {whom} has no {'.'.join(path)!r}", "away")
    return found


async def given(environment: Mapping[str, str], name: str) -> str:
    """
    Return the variable *name*, or what stands in the file that `NAME_FILE` names, read anew; else nothing.
    """
    if value := environment.get(name, "").strip():
        return value
    file = environment.get(f"{name}_FILE", "").strip()
    if not file:
        return ""
    try:
        return (await asyncio.to_thread(Path(file).read_text, "utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"cannot be asked for: the file of {name}_FILE cannot be read ({type(error).__name__})"
        raise NotGiven(problem, "refused") from None


class Token:
    """
    Proves who we are for a while: fetched when it is needed, replaced before its end.
    """

    def __init__(self, fetch: Callable[[], Awaitable[tuple[str, float]]], clock: Clock, redactor: Redactor) -> None:
        self._fetch = fetch
        self._clock = clock
        self._redactor = redactor
        self._text = ""
        self._fresh_until = 0.0
        self._good_until = 0.0
        self._fetching = asyncio.Lock()

    async def __call__(self) -> str:
        """
        Return one that is good now; raises `NotGiven`.
        """
        async with self._fetching:
            asked = self._clock.monotonic()
            if not self._text or asked >= self._fresh_until:
                try:
                    self._text, life = await self._fetch()
                except NotGiven:
                    if not self._text or asked >= self._good_until:
                        raise
                    return self._text  # the present one is used until it ends
                self._redactor.add_passing(self._text)
                self._good_until = asked + life
                self._fresh_until = self._good_until - min(EARLY, life * EARLY_SHARE)
            return self._text

    def forget(self) -> None:
        """
        Take the present one for refused.
        """
        self._text = ""


def life(written: object) -> float:
    """
    Return how long a token lives, in seconds; a minute when it does not say.
    """
    try:
        return max(0.0, float(str(written)))
    except ValueError:
        return 60.0
