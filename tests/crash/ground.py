"""
What a scene stands on: a broker, a PostgreSQL server behind a proxy, a small disk; each can be taken away.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bus.broker import Broker
from ledger.testing_server import LocalServer
from tests.ledger.proxy import Proxy

DISK = 256 * 1024 * 1024  # bytes; its pages are only taken when they are written


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """
    Which bus and which ledger.
    """

    bus: Literal["kafka", "embedded"]
    ledger: Literal["postgres", "sqlite"]

    def __str__(self) -> str:
        return f"{self.bus}-{self.ledger}"

    @property
    def on_disk(self) -> bool:
        """
        Whether anything of it lies in the hub's state folder.
        """
        return self.bus == "embedded" or self.ledger == "sqlite"


COMBINATIONS = (
    Combination(bus="kafka", ledger="postgres"),
    Combination(bus="kafka", ledger="sqlite"),
    Combination(bus="embedded", ledger="postgres"),
    Combination(bus="embedded", ledger="sqlite"),
)


@dataclass(kw_only=True)
class Ground:
    """
    The servers of one scene.
    """

    broker: Broker | None = None
    server: LocalServer | None = None
    proxy: Proxy | None = None
    disk: Path | None = None
    """The state folder, when it is a disk of its own that can be filled."""
    down: int = 0
    """How many of them are away now."""
    back_at: float = 0.0
    """Monotonic seconds when the last one came back."""

    def shaky_since(self, began: float) -> bool:
        """
        Return whether a start that began then may rightly fail: something is away, or was when it looked.
        """
        return self.down > 0 or self.back_at >= began

    @property
    def dsn(self) -> str | None:
        """
        Where the ledger is, through the proxy.
        """
        return f"postgresql://penstock@127.0.0.1:{self.proxy.port}/postgres" if self.proxy else None

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """
        Count what is away meanwhile.
        """
        self.down += 1
        try:
            yield
        finally:
            self.down -= 1
            self.back_at = time.monotonic()

    def fill(self) -> Path:
        """
        Fill the disk with ballast; return what has to be deleted to free it.
        """
        assert self.disk is not None
        ballast = self.disk / "ballast"
        room = os.statvfs(self.disk)
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize)
            file.seek(0, os.SEEK_END)
            while True:
                file.write(b"0" * 4096)
        return ballast


@contextlib.asynccontextmanager
async def ground(combination: Combination, folder: Path, state: Path) -> AsyncIterator[Ground]:
    """
    Start what *combination* needs; *state* becomes a small disk where the system lets us.
    """
    made = Ground()
    async with contextlib.AsyncExitStack() as stack:
        if combination.bus == "kafka":
            made.broker = Broker(folder / "kafka")
            await asyncio.to_thread(made.broker.start)
            stack.push_async_callback(asyncio.to_thread, made.broker.stop, signal.SIGKILL)
        if combination.ledger == "postgres":
            made.server = LocalServer()
            stack.callback(made.server.remove)
            await asyncio.to_thread(made.server.start)
            made.proxy = Proxy(made.server.port)
            stack.callback(made.proxy.close)
        if combination.on_disk and mounted(state):
            made.disk = state
            stack.callback(unmount, state)
        yield made


def mounted(place: Path) -> bool:
    """
    Mount a small disk at *place*, where the system lets us.
    """
    place.mkdir(parents=True, exist_ok=True)
    return os.geteuid() == 0 and _did(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "penstock-crash", str(place)])


def unmount(place: Path) -> None:
    """
    Take the disk away; what was on it stays in a folder beside it.
    """
    _did(["cp", "-r", str(place), f"{place}.kept"])
    if not _did(["umount", str(place)]):
        _did(["umount", "-l", str(place)])


def _did(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
