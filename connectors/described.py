"""
What a connector in Python says of itself without its client: settings, events, lookups, actions, sources.

Such a connector is a folder with two modules. `declaration.py` holds `DECLARED`, a `Described`, and imports
nothing that is slow. `connector.py` holds `open(settled, *, http, clock)`, which returns a `Connector`;
it is imported only when a hub has a connection of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.contract import Connector
from connectors.settings import Setting, Settled
from connectors.specs import ConnectorSpec
from penstock.clock import Clock
from penstock.http import Http


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """
    A connector in Python.
    """

    name: str
    settings: Mapping[str, Setting]
    spec: Callable[[Mapping[str, Any]], ConnectorSpec]
    """
    What there is with these settings, as they are written under `connections`; secrets are references in them.

    `{}` asks for what holds with any settings, for docs and editors. What it can say of settings that are not
    right it says; raises `SettingError` for a mistake inside a setting that is data.
    """


class Opens(Protocol):
    """
    `open` of a connector's `connector.py`.
    """

    def __call__(self, settled: Settled, *, http: Http, clock: Clock) -> Connector:
        """
        Return one connection. Raises `Invalid`.
        """
        ...
