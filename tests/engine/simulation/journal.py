"""
What systems and models saw: the only thing the judge believes about effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.engine.simulation.process import Process

Work = tuple[str, str]
"""
A pipeline and an event's id.
"""


@dataclass(eq=False, slots=True)
class Request:
    """
    One request that arrived.
    """

    work: Work
    lane: tuple[str, str]
    """The pipeline and the record."""
    process: Process
    what: str
    at: float
    answered_at: float | None = None
    """When its answer was handed to a process that still ran."""
    ended_at: float = 0.0
    """When the system was done with it."""
    asleep: bool = False
    """True when its process was frozen after its last look at the fence and before the bytes left."""
    cost: int = 0
    """Micro-USD that the model metered."""


@dataclass(frozen=True, slots=True)
class Effect:
    """
    One change in a system.
    """

    work: Work
    step: str
    action: str
    key: str
    record: str
    at: float
    asleep: bool


@dataclass(slots=True)
class Journal:
    """
    All of it, in order.
    """

    requests: list[Request] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
