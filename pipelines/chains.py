"""
Chains: pipelines that run on what other pipelines wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.declaration import Declaration, Pipeline

DEEPEST = 64
"""Writes of ours that may lead to an event at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """
    What a pipeline follows.
    """

    follows: frozenset[str] = frozenset()
    """Pipelines whose writes may start it."""
    depth: int = 0
    """How many writes of ours may have led to its event."""
    circle: bool = False
    """Whether it says so itself, as those that follow each other in a circle must."""
    written: tuple[str, ...] = ()
    """Connections to the account it listens to that some pipeline writes by."""
    actions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By pipeline and step the action of each of these deliveries."""


def chain_of(declaration: Declaration, name: str) -> Chain:
    """
    Return what the pipeline *name* follows.
    """
    pipelines = declaration.pipelines
    trigger = pipelines[name].trigger
    account = _account(declaration, trigger.connection)
    there = {
        (each, deliver.step): deliver.to.partition(".")[::2]
        for each, pipeline in pipelines.items()
        for deliver in pipeline.deliver
        if _account(declaration, deliver.to.partition(".")[0]) == account
    }
    return Chain(
        follows=frozenset(trigger.follows or ()),
        depth=depths(pipelines).get(name, 1) if trigger.follows else 0,
        circle=trigger.depth is not None,
        written=tuple(sorted({connection for connection, _ in there.values()})),
        actions={step: action for step, (_, action) in there.items()},
    )


def depths(pipelines: Mapping[str, Pipeline]) -> dict[str, int]:
    """
    Return how deep each pipeline runs: as it says, else one deeper than what it follows.

    Those in a circle that do not say, and those that follow them, are absent.
    """
    known = {
        name: pipeline.trigger.depth or 0
        for name, pipeline in pipelines.items()
        if pipeline.trigger.depth is not None or not pipeline.trigger.follows
    }
    for _ in range(DEEPEST):
        found = {
            name: 1 + max(known.get(each, 0) for each in pipeline.trigger.follows or ())
            for name, pipeline in pipelines.items()
            if name not in known and known.keys() >= pipelines.keys() & set(pipeline.trigger.follows or ())
        }
        if not found:
            break
        known |= found
    return known


def _account(declaration: Declaration, connection: str) -> object:
    """
    Return what tells the account of a connection from others: its settings, but for those that are references.
    """
    found = declaration.connections.get(connection)
    if found is None:
        return connection
    return found.connector, {name: value for name, value in found.settings.items() if "${" not in str(value)}
