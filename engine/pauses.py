"""
This process' view of the pauses, looked up once a second: the bus gives new events without asking the ledger.
"""

from __future__ import annotations

import logging

from ledger.contract import Ledger

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds until a running hub notices a pause


class Pauses:
    """
    Which pipelines start nothing now.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._paused: frozenset[str] = frozenset()

    def __contains__(self, pipeline: str) -> bool:
        return pipeline in self._paused

    async def look(self) -> None:
        """
        Ask the ledger.
        """
        found = {pause.pipeline: pause.reason for pause in await self._ledger.pauses()}
        for name in sorted(found.keys() - self._paused):
            log.warning("pipeline %s is paused: %s", name, found[name])
        for name in sorted(self._paused - found.keys()):
            log.warning("pipeline %s goes on", name)
        self._paused = frozenset(found)
