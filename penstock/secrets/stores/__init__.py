"""
Where secrets are kept on a server: one module per kind of store, loaded when a reference asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from penstock.clock import Clock
from penstock.http import Http
from penstock.redaction import Redactor
from penstock.secrets.references import Kind
from penstock.secrets.stores.contract import NotGiven, Store, Versions

__all__ = ["NotGiven", "Store", "Versions", "open"]

_CLASSES: Mapping[Kind, str] = {"aws": "Aws", "azure": "Azure", "gcp": "Gcp", "vault": "Vault"}


def open(  # noqa: A001 - as every room is opened
    kind: Kind, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor
) -> Store:
    """
    Return the store of *kind* that *environment* names; nothing is asked yet.
    """
    module = import_module(f"penstock.secrets.stores.{kind}")
    store: Store = getattr(module, _CLASSES[kind])(environment, http=http, clock=clock, redactor=redactor)
    return store
