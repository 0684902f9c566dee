"""
Penstock: business events in, budgeted AI answers back, every event accounted for.

Importing this package puts nothing else on the path. The hub itself is started by the `penstock`
command, which calls `rooms()` first.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["HOUSE", "__version__", "rooms"]

__version__ = "0.1.0"

_HERE = Path(__file__).resolve().parent
HOUSE = _HERE / "_rooms" if (_HERE / "_rooms").is_dir() else _HERE.parent
"""The folder that holds the rooms: inside the wheel, or the checkout."""


def rooms() -> Path:
    """
    Put the folder of the rooms first on this process' path, and return it.
    """
    if sys.path[:1] != [str(HOUSE)]:
        sys.path.insert(0, str(HOUSE))
    return HOUSE
