"""
What lets several processes of one host share the bus file: whose turn it is to write, and who lives.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from pathlib import Path

from penstock.lock import Turn
from penstock.presence import Presence

_ID_BYTES = 16


class Locks:
    """
    The locks beside the file *path*, and this process among them.
    """

    def __init__(self, path: Path) -> None:
        folder = path.with_name(path.name + ".locks")
        self.process = secrets.token_hex(_ID_BYTES)
        self._turn = Turn(folder, what=f"the bus {path.name!r}")
        self._presence = Presence(folder / "alive")
        self._presence.begin(self.process)

    def turn(self) -> AbstractContextManager[None]:
        """
        Keep others from writing while the context is open; raises `Unavailable` when they do not end.
        """
        return self._turn.held()

    def gone(self) -> set[str]:
        """
        Return the processes that died.
        """
        return self._presence.gone()

    def forget(self, gone: set[str]) -> None:
        """
        Delete what is left of processes that are *gone* and taken out.
        """
        for name in gone:
            self._presence.forget(name)

    def close(self) -> None:
        """
        Be here no longer.
        """
        self._presence.end()
        self._turn.close()
