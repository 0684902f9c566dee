"""
The time of this host since it was started, which goes on while it sleeps; no other process can set it.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no BOOTTIME


def boot_ms() -> int:
    """
    Return the milliseconds since this host was started.
    """
    return int(time.clock_gettime(CLOCK) * 1000)


@functools.cache
def boot_id() -> str:
    """
    Return which start of this host it is; empty where nobody says.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
