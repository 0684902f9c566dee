"""
Tracing: what leaves for OpenTelemetry, as far as the house speaks of it.

Never a prompt, an answer or anything else of an event but its id and type.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

Attributes = Mapping[str, Any]


class Span(Protocol):
    """
    Something under way.
    """

    def note(self, attributes: Attributes, *, failed: bool = False) -> None:
        """
        Add what is known by now.
        """
        ...


class Tracing(Protocol):
    """
    Tells of spans; the present one is the parent of those that begin inside it.
    """

    def consumed(
        self, name: str, attributes: Attributes, traceparent: str | None = None
    ) -> AbstractContextManager[Span]:
        """
        Return a block that handles one event; *traceparent* is what caused it, in W3C's form.
        """
        ...

    def part(self, name: str, attributes: Attributes) -> AbstractContextManager[Span]:
        """
        Return a block that is a part of the present span.
        """
        ...

    def called(self, attributes: Attributes, seconds: float) -> None:
        """
        Tell of a call to a model that ended now and took *seconds*; the attributes have GenAI's own names.
        """
        ...

    def reused(self, attributes: Attributes, seconds: float) -> None:
        """
        Tell of an answer that was used again now, *seconds* after it was looked for; it is no call to a model.
        """
        ...
