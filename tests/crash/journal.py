"""
What the harness did to whom, one JSON line each, as it happens.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

FOREVER = 1e12  # seconds: a dead worker stays dead


class Journal:
    """
    The faults of one run, in `faults.jsonl`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.counts: Counter[str] = Counter()
        self.points: Counter[str] = Counter()
        self.surprises: list[str] = []
        """What nobody asked for: exits, late stops, servers that did not come back."""

    @property
    def faults(self) -> int:
        """
        How many faults there were.
        """
        return sum(self.counts.values())

    def fault(
        self,
        kind: str,
        *,
        worker: str | None = None,
        since: float | None = None,
        until: float | None = None,
        **more: Any,
    ) -> None:
        """
        Note a fault that hit *worker* (None: all of them) *since* then *until* then (None: for good).
        """
        now = time.time()
        self.counts[kind] += 1
        if "point" in more:
            self.points[more["point"]] += 1
        line = {"kind": kind, "worker": worker, "since": since or now, "until": until or FOREVER, **more}
        with self._file.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")

    def surprise(self, what: str) -> None:
        """
        Note what nobody asked for.
        """
        self.surprises.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {what}")
