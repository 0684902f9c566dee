"""
`penstock run`: the hub itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from console.app import Hub, open_hub, serve
from console.cli import project
from console.cli.exits import Exit
from console.cli.streams import say
from penstock.log import configure

if TYPE_CHECKING:
    from pipelines import Loaded


def run(file: Path, *, once: bool) -> int:
    """
    Run the hub until SIGTERM or SIGINT; with *once*, until there is nothing left to do.
    """
    loaded = project.load(file)
    _refuse(loaded, file)
    configure()
    try:
        asyncio.run(_run(loaded, once=once), loop_factory=_loop_factory())
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK
