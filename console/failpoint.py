"""
Named places where a test stops this process dead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def failpoint() -> Callable[[str], None]:
    """
    Return what stops this process dead at the failpoint named in `PENSTOCK_FAIL` (`name` or `name@nth`).
    """
    wanted, _, nth = os.environ.get("PENSTOCK_FAIL", "").partition("@")
    left = [int(nth or 1)]

    def hit(name: str) -> None:
        if name == wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit
