"""
Instruments: what is counted and timed, and how Prometheus reads it.

The processes of one run share a folder: each counts in files of its own, and whichever is asked shows
the sum of all. A process that takes another's place goes on where that one stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
"""Seconds: bounds for what a machine does."""
SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0)
"""Seconds: bounds for what may wait, for its turn or for a system that is down."""
_LOCK = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """
    Where the processes of one run count together, and which of them this one is.
    """

    folder: Path
    seat: int


class Instruments:
    """
    Makes instruments, and shows them.
    """

    def __init__(self, shared: Shared | None = None) -> None:
        """
        Count in memory, or in the files of *shared*: then for all that this process ever counts.
        """
        self._shared = shared
        self._registry = None if shared else CollectorRegistry()
        if shared:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared.folder)  # where the library looks for it
            values.ValueClass = values.MultiProcessValue(lambda: shared.seat)  # type: ignore[no-untyped-call]

    def counter(self, name: str, text: str, labels: Sequence[str]) -> Callable[..., None]:
        """
        Return what adds an amount under the values of *labels*, each of which must have few.
        """
        made = Counter(name, text, labels, registry=self._registry)
        known: dict[tuple[str, ...], Callable[[float], None]] = {}  # the library's own look-up takes most of the time

        def add(amount: float, *values: str) -> None:
            if (told := known.get(values)) is None:
                told = known[values] = made.labels(*values).inc
            told(amount)

        return add

    def histogram(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float] = QUICK
    ) -> Callable[..., None]:
        """
        Return what counts a value under those of *labels*, in buckets that end at *bounds*.
        """
        made = Histogram(name, text, labels, buckets=bounds, registry=self._registry)
        known: dict[tuple[str, ...], Callable[[float], None]] = {}

        def observe(value: float, *values: str) -> None:
            if (told := known.get(values)) is None:
                told = known[values] = made.labels(*values).observe
            told(value)

        return observe

    def text(self, *more: Collector) -> bytes:
        """
        Return what all processes counted, and what *more* say, as Prometheus reads it.
        """
        registry = CollectorRegistry()
        if self._shared:
            from prometheus_client.multiprocess import MultiProcessCollector

            MultiProcessCollector(registry, path=str(self._shared.folder))  # type: ignore[no-untyped-call]
        elif self._registry:
            registry.register(self._registry)
        for each in more:
            registry.register(each)
        return generate_latest(registry)


class Folder:
    """
    A folder for the processes of one run; it lives as long as one of them does.
    """

    def __init__(self, above: Path) -> None:
        """
        Make it in *above*, and delete there what earlier runs left behind.
        """
        above.mkdir(parents=True, exist_ok=True)
        for stale in _unlocked(above):
            shutil.rmtree(stale, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(dir=above))
        self._lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # processes that are forked hold it as well

    def remove(self) -> None:
        """
        Delete it: the run is over.
        """
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()  # nobody else is there


def _unlocked(above: Path) -> Iterator[Path]:
    for folder in above.iterdir():
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # it is being made or deleted
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # somebody runs
        else:
            yield folder
        finally:
            os.close(lock)
