"""
What each process of one `penstock run` gets of it.
"""

from __future__ import annotations

from penstock.secrets import Secrets
from pipelines.declaration import Declaration, Hub, Kafka


def share(declaration: Declaration, number: int, of: int, secrets: Secrets) -> Declaration:
    """
    Return the declaration as process *number*, counted from 1, of *of* runs it.

    The runs at once are divided, rounded up; each process is a member of its own to Kafka.
    """
    hub = declaration.hub
    changes = {"in_flight": type(hub.in_flight)(-(-hub.in_flight // of)), "bus": _bus(hub, number, secrets)}
    return declaration.model_copy(update={"hub": hub.model_copy(update=changes)})


def _bus(hub: Hub, number: int, secrets: Secrets) -> Kafka | None:
    if hub.bus is None or hub.bus.member is None:
        return hub.bus
    written = hub.bus.member
    name = secrets.get(written).reveal() if "${" in written else written
    return hub.bus.model_copy(update={"member": member(name, number)})


def member(name: str, number: int) -> str:
    """
    Return what process *number* is called where the whole is called *name*; the first keeps the name.
    """
    return name if number == 1 else f"{name}-{number}"
