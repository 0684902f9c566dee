"""
One connection to a system that is described where it is used.
"""

from __future__ import annotations

from pathlib import Path

from connectors.declared import DeclaredConnector
from connectors.rest.declaration import manifest_of
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.http import Http


def open(settled: Settled, *, http: Http, clock: Clock) -> DeclaredConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection; raises `SettingError` for a mistake in its description.
    """
    return DeclaredConnector(manifest_of(settled.values), Path(__file__).parent, settled, clock, http)
