"""
A simulated process: everything that runs in its context stops when it is killed or frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["runs", "frozen", "dead"]


@dataclass(eq=False)
class Process:
    """
    What `kill -9` and `SIGSTOP` act upon.
    """

    name: str
    number: int
    state: State = "runs"
    steps: int = 0
    """Callbacks it has run."""
    fate_at: int = -1
    """The callback before which something happens to it."""
    nap: Callable[[], None] | None = None
    """What happens to it inside its next request: after its last look at the fence, before the bytes leave."""
    kept: list[Any] = field(default_factory=list)
    """What would run if it were not frozen; of a dead one, what never runs."""
    tasks: list[asyncio.Task[object]] = field(default_factory=list)
    """Held for ever, so that no `finally` of a dead process runs because its memory was freed."""
    blows: list[float] = field(default_factory=list)
    """When it died, was frozen, or lost its lease."""

    def context(self) -> Context:
        """
        Return a context in which whatever runs belongs to this process.
        """
        context = copy_context()
        context.run(CURRENT.set, self)
        return context


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""
The process that runs; None for the world outside: systems, bus, models.
"""


def current() -> Process:
    """
    Return the process that runs.
    """
    process = CURRENT.get()
    assert process is not None, "only a process may do this"
    return process
