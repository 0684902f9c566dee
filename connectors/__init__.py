"""
The outside world: one folder per system, and what turns its words into ours.

`connectors.contract` says what a connector is; `connectors.catalog` knows all of them.
"""

from __future__ import annotations

from pathlib import Path

from connectors.calling import HttpCall, open_call, open_source_call

__all__ = ["HttpCall", "extend", "open_call", "open_source_call"]


def extend(folder: Path) -> None:
    """
    Let the connectors in *folder*, a hub's own, be found too; the built-in ones come first.
    """
    place = str(folder.resolve())
    if folder.is_dir() and place not in __path__:
        __path__.append(place)
