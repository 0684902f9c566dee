"""
A connector as it is known without a connection: what `check`, docs and editors need, and no client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from connectors.contract import Action, JsonSchema, WriteMode
from schemas.entries import ActionClass


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupSpec:
    """
    What `check` may know of a lookup.
    """

    name: str
    description: str
    fields: Mapping[str, JsonSchema]
    many: bool
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """
    What `check` may know of an action.
    """

    name: str
    description: str
    idempotency: ActionClass
    takes: frozenset[Literal["text", "fields"]]
    modes: tuple[WriteMode, ...]
    sets: frozenset[str] | None
    emits: frozenset[str]
    touches: frozenset[str]
    reads: str | None
    steers: frozenset[str] = frozenset()
    """Fields that decide what the system or its people do next: an answer may only choose among given values."""
    progress: bool = False
    approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """
    What people may know of a source.
    """

    name: str
    description: str
    every: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSpec:
    """
    A connector as the catalog knows it: everything `check`, docs and editors need, no client.
    """

    name: str
    description: str
    settings: JsonSchema
    """JSON Schema of its settings in `connections`; secret ones carry `"x-secret": true`."""
    events: Mapping[str, JsonSchema]
    """`ticket.created` -> schema of `event.data`."""
    lookups: Mapping[str, LookupSpec]
    actions: Mapping[str, ActionSpec]
    guarded: bool
    """True when it recognises its own writes by identity or marker."""
    delivers: bool = True
    """Whether its system sends deliveries to us."""
    sources: Mapping[str, SourceSpec] = field(default_factory=dict)


def made(spec: ActionSpec, *, timeout: float, write: Any, find: Any, **more: Any) -> Action:
    """
    Return the action that *spec* says, written and found by these; further arguments as those of `Action`.
    """
    return Action(
        name=spec.name,
        description=spec.description,
        idempotency=spec.idempotency,
        takes=spec.takes,
        modes=spec.modes,
        sets=spec.sets,
        emits=spec.emits,
        touches=spec.touches,
        reads=spec.reads,
        **{"key_lifetime": None, **more},
        timeout=timeout,
        write=write,
        find=find,
    )
