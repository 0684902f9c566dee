"""
Who is alive on this host: one file per worker, locked for life. The kernel gives the lock back even after `kill -9`.

A lock that is free proves its worker dead, at once and without waiting for a lease.
"""

from __future__ import annotations

import os
from pathlib import Path

from penstock.lock import locked

_OWNER_ONLY = 0o600


class Presence:
    """
    The folder of these files, and the one of this process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._mine = ""
        self._handle = -1

    def begin(self, name: str) -> None:
        """
        Be alive as *name* from now on, instead of as whoever this was.
        """
        self.end()
        while self._handle < 0:
            handle = os.open(self._folder / name, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
            if locked(handle, wait=True) and self._is_there(name, handle):
                self._handle, self._mine = handle, name
            else:
                os.close(handle)  # whoever tried it meanwhile took it for a dead one's

    def end(self) -> None:
        """
        Be alive no longer; a second call does nothing.
        """
        if self._handle >= 0:
            (self._folder / self._mine).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1

    def gone(self) -> set[str]:
        """
        Return the names of those who are dead for certain.
        """
        others = {entry.name for entry in os.scandir(self._folder)} - {self._mine}
        return {name for name in others if self._free(name)}

    def forget(self, name: str) -> None:
        """
        Delete the file of *name*, who is gone.
        """
        (self._folder / name).unlink(missing_ok=True)

    def _free(self, name: str) -> bool:
        try:
            handle = os.open(self._folder / name, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return locked(handle, wait=False)
        finally:
            os.close(handle)

    def _is_there(self, name: str, handle: int) -> bool:
        try:
            return os.path.samestat((self._folder / name).stat(), os.fstat(handle))
        except FileNotFoundError:
            return False
