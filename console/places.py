"""
Where a declaration puts its bus and its ledger.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import bus as bus_room
from ai import tokens
from bus.contract import Bus
from console.cluster import cluster_of
from engine import Layout
from penstock.clock import Clock
from penstock.http import Http
from penstock.secrets import Secrets, is_reference
from pipelines.declaration import Declaration

LEDGER = "ledger.db"  # in `hub.state`


def layout(declaration: Declaration) -> Layout:
    """
    Return how the hub's topics are named and cut.
    """
    kafka = declaration.hub.bus
    return Layout() if kafka is None else Layout(prefix=kafka.prefix, partitions=int(kafka.partitions))


async def open_bus(declaration: Declaration, root: Path, *, secrets: Secrets, http: Http, clock: Clock) -> Bus:
    keep, kafka = declaration.hub.keep, declaration.hub.bus
    if kafka is None:
        return bus_room.open(root / declaration.hub.state / "bus.db", keep=keep, clock=clock)
    cluster = cluster_of(kafka, root, secrets, http=http, clock=clock)
    return await bus_room.connect(cluster, partitions=int(kafka.partitions), keep=keep)


def ledger_place(declaration: Declaration, root: Path, secrets: Secrets) -> Path | str:
    """
    Return where the ledger is: the file in `hub.state`, or the server that `hub.ledger` names.
    """
    named = declaration.hub.ledger
    if named is None:
        return root / declaration.hub.state / LEDGER
    return secrets.get(named).reveal() if is_reference(named) else named


def preload(declaration: Declaration) -> None:
    """
    Load what every process of a run is slow to load, so that they share it and are there at once.
    """
    names = ["genai_prices.data_snapshot", "jsonschema_rs"]
    names += ["bus.kafka"] if declaration.hub.bus is not None else []
    names += ["ledger.server"] if declaration.hub.ledger is not None else []
    for name in names:
        importlib.import_module(name)
    tokens.encoding()
