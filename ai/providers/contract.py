"""
What every provider's adapter does: build one request, read one answer. Pure: no input, no output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.errors import AIError
    from ai.models import ModelSpec
    from penstock.http import Request, Response
    from schemas.entries import Prompt

FinishReason = Literal["stop", "length", "content_filter", "context"]
"""`length`: its room was too small. `context`: the window ended. `content_filter`: refused."""

THINKING_ROOM = 1024  # tokens on top of `max_output` for models that always reason before they answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """
    A second turn: what the model said, and what is wrong with it.
    """

    said: str
    complaint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    Everything one request to a model is made of, but for the key.
    """

    spec: ModelSpec
    prompt: Prompt
    schema_name: str
    schema: Mapping[str, Any]
    room: int
    """Tokens of output at most, thinking included."""
    repair: Repair | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    What a provider's answer says, in our words.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    refusal: str | None = None
    """Why the model refused, where it says so."""
    response_id: str | None = None
    response_model: str | None = None


class Malformed(ValueError):
    """
    A success that is not what the provider's API promises.
    """


class Adapter(Protocol):
    """
    One provider's words.
    """

    def thinks(self, spec: ModelSpec) -> bool:
        """
        Tell whether the model always reasons before it answers.
        """
        ...

    def request(self, question: Question, key: str | None) -> Request:
        """
        Build the request. *key* is the model's key, or what a sign-in gave for it.
        """
        ...

    def probe(self, spec: ModelSpec, key: str | None) -> Request:
        """
        Build the cheapest request that needs the key and goes where a question goes; it costs nothing.
        """
        ...

    def classify(self, response: Response) -> AIError | None:
        """
        Return the error that *response* stands for; None for a success.
        """
        ...

    def read(self, response: Response) -> Reading:
        """
        Read a success; raises `Malformed`.
        """
        ...
