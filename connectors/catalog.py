"""
All connectors by name: what they are, without any client, and how a connection of one is opened.

A connector is a folder with a `manifest.yaml`, or with a `declaration.py` (see `connectors.described`): in this
room, in a hub's own `connectors/` (see `connectors.extend`), or in a package registered under the entry point
`penstock.connectors`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import connectors
from connectors.contract import Connector
from connectors.declared import DeclaredConnector
from connectors.described import Described, Opens
from connectors.manifest import Manifest
from connectors.manifest_file import read_manifest
from connectors.settings import SecretSource, Settled
from connectors.specs import ConnectorSpec
from penstock.clock import Clock
from penstock.errors import Invalid
from penstock.http import Http

log = logging.getLogger(__name__)

MANIFEST = "manifest.yaml"
DECLARATION = "declaration.py"
GROUP = "penstock.connectors"


def names() -> tuple[str, ...]:
    """
    Return the names of all connectors, sorted.
    """
    return tuple(sorted(_folders()))


def spec(name: str, settings: Mapping[str, Any] | None = None) -> ConnectorSpec:
    """
    Return what may be known of a connector without a connection, or of one with *settings*; raises `Invalid`.
    """
    found = described(name)
    return manifest(name).spec_with(settings or {}) if found is None else found.spec(settings or {})


def described(name: str) -> Described | None:
    """
    Return what a connector in Python says of itself, None for one with a manifest; raises `Invalid`.
    """
    if (folder(name) / MANIFEST).is_file():
        return None
    found = _module(name, "declaration").DECLARED
    assert isinstance(found, Described)
    if found.name != name:
        raise Invalid(f"the folder is {name!r} and the name is {found.name!r}", where=f"{name}/{DECLARATION}")
    return found


def manifest(name: str) -> Manifest:
    """
    Return a connector's manifest; raises `Invalid` for an unknown name or a mistake in it.
    """
    path = folder(name) / MANIFEST
    if not path.is_file():
        raise Invalid(f"the connector {name!r} is written in Python and has no manifest")
    found = _read(path, path.stat().st_mtime_ns)
    if found.name != name:
        raise Invalid(f"the folder is {name!r} and the name is {found.name!r}", where=f"{name}/{MANIFEST}:1:1")
    return found


def folder(name: str) -> Path:
    """
    Return the folder of a connector; raises `Invalid` for an unknown name.
    """
    folders = _folders()
    if name not in folders:
        close = difflib.get_close_matches(name, folders, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(folders))}"
        raise Invalid(f"there is no connector {name!r}", hint=hint)
    return folders[name]


def open(  # noqa: A001  # reads as `catalog.open`
    name: str, settings: Mapping[str, Any], *, secrets: SecretSource, http: Http, clock: Clock
) -> Connector:
    """
    Return one connection of connector *name*; raises `Invalid` for its settings and missing secrets.

    *http* is for connectors that keep a client of their own, and for tokens; manifests speak through `open_call`.
    """
    found = described(name)
    if found is not None:
        settled = Settled(found.settings, settings, secrets)
        opens: Opens = _module(name, "connector").open
        return opens(settled, http=http, clock=clock)
    declared = manifest(name)
    return DeclaredConnector(declared, folder(name), Settled(declared.settings, settings, secrets), clock, http)


def _module(name: str, part: str) -> Any:
    place, package = _registered().get(name, (None, ""))
    package = package if place == folder(name) else f"connectors.{name}"
    return importlib.import_module(f"{package}.{part}")


def _folders() -> dict[str, Path]:
    found = {
        path.parent.name: path.parent
        for room in connectors.__path__
        for file in (MANIFEST, DECLARATION)
        for path in Path(room).glob(f"*/{file}")
    }
    return {**{name: place for name, (place, _) in _registered().items()}, **found}


@functools.cache
def _registered() -> dict[str, tuple[Path, str]]:
    """
    Return the connectors of installed packages, with the package; one that cannot be found is left out.
    """
    found: dict[str, tuple[Path, str]] = {}
    for entry in entry_points(group=GROUP):
        try:
            package = importlib.util.find_spec(entry.value)
        except ImportError:
            log.warning("the connector %r of an installed package cannot be found: %s", entry.name, entry.value)
            continue
        for place in (package.submodule_search_locations or []) if package else []:
            if any((Path(place) / file).is_file() for file in (MANIFEST, DECLARATION)):
                found.setdefault(entry.name, (Path(place), entry.value))
    return found


@functools.lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Manifest:
    return read_manifest(path)
