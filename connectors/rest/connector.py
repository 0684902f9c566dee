"""
One connection to a system that is described where it is used.
"""

from __future__ import annotations

from pathlib import Path

from connectors.declared import DeclaredConnector
from connectors.rest.declaration import manifest_of
from connectors.rest.reaching import CERTIFICATES, Reaching, check_reach
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.http import Http


def open(settled: Settled, *, http: Http, clock: Clock) -> DeclaredConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection; raises `SettingError` for a mistake in its description, and for its certificates.
    """
    check_reach({**settled.values, **{name: True for name in CERTIFICATES if settled.secrets(name)}})
    manifest, reach = manifest_of(settled.values), Reaching(settled)
    return DeclaredConnector(manifest, Path(__file__).parent, settled, clock, http, reach.now)
