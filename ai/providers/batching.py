"""
What a provider's batch API is asked and says: build requests, read answers. Pure, as the adapters are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ai.providers import faults
from ai.providers.contract import Malformed

if TYPE_CHECKING:
    from ai.models import ModelSpec
    from penstock.http import Request, Response

BATCHING = frozenset({"openai", "anthropic"})
"""Providers with a batch API that is spoken here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One question of a batch.
    """

    id: str
    """What its answer is found by."""
    body: bytes
    """What would be asked live, JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    How a batch stands at its provider.
    """

    handle: str
    """The provider's id."""
    over: bool
    """Whether nothing more is done on it."""
    refused: str | None = None
    """Why none of it was done, when it was refused as a whole."""
    sources: tuple[str, ...] = ()
    """Where its answers are, as the provider names it."""
    ours: str | None = None
    """Our own id, where the provider keeps it."""
    size: int | None = None
    """How many questions it has, where that is said."""
    at: float = 0.0
    """UTC seconds at which it was made."""
    complete: bool = True
    """Whether every question was worked on; else those without an answer were left out, and cost nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """
    What became of one question.
    """

    id: str
    status: int | None = None
    """HTTP status of its answer; None when it was never asked, and costs nothing."""
    body: Any = None
    why: str = ""
    """Why it was never asked."""


class Batcher(Protocol):
    """
    One provider's batch API.
    """

    NAMES: bool
    """Whether it keeps our own id with a batch."""

    def upload(self, spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line]) -> Request | None:
        """
        Build the request that puts the questions there first; None when they go with the batch itself.
        """
        ...

    def uploaded(self, response: Response) -> str:
        """
        Return the name of what was put there; raises `Malformed`.
        """
        ...

    def create(self, spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line], there: str) -> Request:
        """
        Build the request that begins the batch; *there* is what was uploaded.
        """
        ...

    def look(self, spec: ModelSpec, key: str | None, handle: str) -> Request:
        """
        Build the request that asks how a batch stands.
        """
        ...

    def cancel(self, spec: ModelSpec, key: str | None, handle: str) -> Request:
        """
        Build the request that ends a batch early.
        """
        ...

    def listing(self, spec: ModelSpec, key: str | None, after: str | None) -> Request:
        """
        Build the request for the newest batches there are, or those before the batch *after*.
        """
        ...

    def standing(self, response: Response) -> Standing:
        """
        Read how a batch stands; raises `Malformed`.
        """
        ...

    def standings(self, response: Response) -> tuple[list[Standing], bool]:
        """
        Read a listing, and whether it goes on; raises `Malformed`.
        """
        ...

    def fetch(self, spec: ModelSpec, key: str | None, source: str) -> Request:
        """
        Build the request for the answers at *source*.
        """
        ...

    def answered(self, line: Any) -> Answered:
        """
        Read one line of answers; raises `Malformed`.
        """
        ...


def batcher(provider: str) -> Batcher:
    """
    Return the batch API of *provider*, which is one of `BATCHING`.
    """
    if provider == "openai":
        from ai.providers import openai_batches

        return openai_batches
    from ai.providers import anthropic_batches

    return anthropic_batches


def object_of(response: Response) -> dict[str, Any]:
    """
    Return the JSON object an answer is; raises `Malformed`.
    """
    try:
        body = response.json()
    except ValueError as exc:
        raise Malformed("the answer is not JSON") from exc
    if not isinstance(body, dict):
        raise Malformed("the answer is no object")
    return body


def word_of(part: Any, name: str) -> str:
    """
    Return the text called *name* in an object; raises `Malformed` when there is none.
    """
    if not isinstance(part, dict) or not (found := faults.word(part, name)):
        raise Malformed(f"the answer has no {name!r}")
    return found
