"""
The workers of a scene: `penstock run` in slots, each process replaced when it is gone.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from console.testing import HubProcess
from tests.crash.journal import Journal

AFTER_FAILED_START = 0.5  # seconds
STARTS_WITHIN = 90.0  # seconds, on a busy machine


@dataclass(kw_only=True, eq=False)
class Life:
    """
    One process of a worker, from its start to its death.
    """

    name: str
    hub: HubProcess
    point: str | None
    """The failpoint it dies at (`name@nth`)."""
    expected: str = ""
    """What we did to it."""
    began: float = field(default_factory=time.monotonic)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether its slot has another."""


class Slot:
    """
    A place for one process at a time.
    """

    def __init__(
        self,
        number: int,
        open_life: Callable[[str], HubProcess],
        *,
        journal: Journal,
        shaky_since: Callable[[float], bool],
    ) -> None:
        self.number = number
        self.busy = asyncio.Lock()
        """Held while somebody does something to it."""
        self.arm: str | None = None
        """The failpoint of the next process."""
        self.life: Life | None = None
        self._open = open_life
        self._journal = journal
        self._shaky_since = shaky_since
        self._lives = 0
        self._closing = False

    async def keep(self) -> None:
        """
        Keep one process running until `close`.
        """
        while not self._closing:
            self._lives += 1
            name = f"w{self.number}.{self._lives}"
            life = Life(name=name, hub=self._open(name), point=self.arm)
            self.arm = None
            self.life = life
            await self._live(life)
            life.gone.set()

    async def _live(self, life: Life) -> None:
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                await life.hub.start(fail=life.point)
        except (RuntimeError, TimeoutError) as error:
            if not (life.expected or self._shaky_since(life.began) or self._closing):
                self._journal.surprise(f"{life.name} did not start: {error}")
            life.hub.kill_at_once()
            await asyncio.sleep(AFTER_FAILED_START)
            return
        life.up.set()
        waits = [asyncio.create_task(life.hub.died()), asyncio.create_task(life.gone.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not life.gone.is_set():
            self._ended(life, await life.hub.died())

    def _ended(self, life: Life, code: int) -> None:
        if life.expected:
            return
        if life.point and code == -signal.SIGKILL:
            self._journal.fault("point", worker=life.name, point=life.point.partition("@")[0])
        else:
            self._journal.surprise(f"{life.name} ended by itself with {code}")

    async def steady(self) -> Life:
        """
        Return the process once it takes deliveries.
        """
        while True:
            life = self.life
            if life is None or life.gone.is_set():
                await asyncio.sleep(0.02)
                continue
            waits = [asyncio.create_task(life.up.wait()), asyncio.create_task(life.gone.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if life.up.is_set() and life.hub.alive and not life.gone.is_set():
                return life
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """
        Stop the process as an operator would, and start no other.
        """
        self._closing = True
        life = await self.steady()
        await stop(life, self._journal)


async def stop(life: Life, journal: Journal) -> bool:
    """
    Stop a process with SIGTERM; anything but a clean end is a surprise. False when it came to its failpoint first.
    """
    life.expected = "stop"
    try:
        code = await life.hub.stop()
    except TimeoutError:
        journal.surprise(f"{life.name} did not stop in time")
        await life.hub.kill()
        return True
    if life.point and code == -signal.SIGKILL:
        journal.fault("point", worker=life.name, point=life.point.partition("@")[0])
        return False
    if code:
        journal.surprise(f"{life.name} ended with {code} when it was asked to stop")
    return True


def urls(slots: Sequence[Slot], stopped: Sequence[Life]) -> list[str]:
    """
    Return where deliveries may go: dead and stopped processes are among them, as for a sender that cannot know.
    """
    lives = [slot.life for slot in slots if slot.life is not None] + list(stopped)
    return [life.hub.url for life in lives]


def environment(name: str, *, token: str, hook: str, key: str, lease: float) -> Mapping[str, str]:
    """
    Return the environment of the process *name*: its credentials tell the doubles who asks.
    """
    return {
        "DESK_TOKEN": token,
        "DESK_HOOK": hook,
        "OPENAI_API_KEY": key,
        "MEMBER": name.partition(".")[0],
        "PENSTOCK_LEASE": f"{lease:g}",
    }


_PLACE = re.compile(r'(?:File "|defined at )([^":]+)')


def logs(folder: Path) -> list[str]:
    """
    Return what every process said that nobody foresaw.
    """
    return [
        f"{log.stem}: {line[:400]}"
        for log in sorted(folder.glob("w*.log"))
        for line in log.read_text("utf-8", "replace").splitlines()
        if ("unforeseen" in line or "Traceback" in line) and not left_behind(line)
    ]


def left_behind(line: str) -> bool:
    """
    Say whether a line is about a future that aiokafka left behind when a broker went away: nobody waits for it,
    and what it was about is tried again. No line of code in it is ours.
    """
    places = _PLACE.findall(line.replace('\\"', '"'))
    return "exception was never retrieved" in line and bool(places) and all("/aiokafka/" in place for place in places)


def now() -> float:
    """
    Return the time as the doubles' logs have it.
    """
    return time.time()
