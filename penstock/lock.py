"""
One process writes a file: a lock the kernel gives back even after `kill -9`.

Holding it also proves every earlier holder dead, at once and without waiting for a lease.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from penstock.errors import Unreachable

_OWNER_ONLY = 0o600
_MOST_DIGITS = 20  # of a process id


class FileLock:
    """
    The right to write *path*, held until `release`.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        """
        Take the lock beside *path*; raises `Unreachable` when another process holds *what* it is.
        """
        self._handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._handle, _MOST_DIGITS, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise Unreachable(
                f"another `penstock run` (process {holder}) has the {what} {str(path)!r} open; "
                "stop it, or give this hub another `hub.state` folder"
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """
        Let another process open the file; a second call does nothing.
        """
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)
