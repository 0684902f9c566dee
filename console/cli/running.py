"""
`penstock run`: the hub itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from socket import socket as Socket  # noqa: N812 - a type here
from typing import Any

from console import places
from console.app import Hub, open_hub
from console.cli import project
from console.cli.exam_machine import NETWORK_FILE_SYSTEMS, file_system_of
from console.cli.exits import Exit
from console.cli.front import exit_code
from console.cli.pipelines import look_before_start
from console.cli.streams import say
from console.keeper import Keeper, Seat
from console.references import references
from console.serving import STOP_GRACE, address, bound, serve
from console.shares import share
from penstock.errors import Invalid, PenstockError
from penstock.log import configure
from penstock.metrics import Folder, Instruments, Shared
from penstock.secrets import Secrets
from pipelines import addresses
from pipelines.declaration import Declaration
from pipelines.loading import Loaded

log = logging.getLogger(__name__)

LOOK_EVERY = 0.3  # seconds between looks at what is left, with `--once`
QUIET_LOOKS = 4  # looks in a row without work, until `--once` stops
STOPPED = "stopped; what was under way goes on at the next start"


def run(file: Path, *, once: bool, listen: str | None = None, processes: int | None = None) -> int:
    """
    Run the hub until SIGTERM or SIGINT; with *once*, until nothing is left that can be done now.

    *listen* and *processes* take the place of `hub.listen` and `hub.processes`; *once* works in one process.
    """
    if once and processes is not None and processes > 1:
        hint = "leave one of the two out"
        raise Invalid("`--once` works off what is there in one process", where="--processes", hint=hint)
    loaded = project.load(file)
    project.refuse(file)
    declaration = _listening(project.declaration(loaded), listen)
    _on_local_disk(loaded.root / declaration.hub.state)
    secrets = Secrets()
    secrets.check(references(declaration))
    configure()
    count = 1 if once else processes or declaration.hub.processes
    if count > 1:
        return _run_kept(declaration, loaded, secrets, count)
    return _looped(_run(declaration, loaded, secrets, once=once))


async def _run(declaration: Declaration, loaded: Loaded, secrets: Secrets, *, once: bool) -> int:
    with project.placing(loaded):
        async with open_hub(declaration, loaded.root, secrets=secrets) as hub:
            await look_before_start(hub.ledger, declaration)
            if once:
                return await _work_off(hub)
            await serve(hub, ready=partial(_ready, declaration, 1))
    say(STOPPED)
    return Exit.OK


def _run_kept(declaration: Declaration, loaded: Loaded, secrets: Secrets, count: int) -> int:
    """
    Run in *count* processes; this one only keeps them.
    """
    door = bound(*address(declaration.hub.listen))
    places.preload(declaration)
    folder = _counting(loaded.root / declaration.hub.state)
    ended = Keeper(count, door=door).keep()
    if isinstance(ended, int):
        folder.remove()
        if ended == Exit.OK:
            say(STOPPED)
        return ended
    configure(process=ended.number)
    try:
        instruments = Instruments(Shared(folder=folder.path, seat=ended.number))
        return _looped(_run_at(ended, declaration, loaded, secrets, door, instruments))
    except Exception as error:
        if ended.may_complain():
            raise
        return exit_code(error) if isinstance(error, PenstockError) else Exit.UNFORESEEN


def _counting(state: Path) -> Folder:
    """
    Return where the processes count together: among the state, or where that cannot be written.
    """
    try:
        return Folder(state / "metrics")
    except OSError:
        return Folder(Path(tempfile.mkdtemp(prefix="penstock-")))


async def _run_at(
    seat: Seat, declaration: Declaration, loaded: Loaded, secrets: Secrets, door: Socket, instruments: Instruments
) -> int:
    """
    Be one of several processes.
    """
    seat.watch()

    def ready(url: str) -> None:
        seat.up()
        log.info("process %d of %d works", seat.number, seat.of)
        if url:
            _ready(declaration, seat.of, url)

    shared = share(declaration, seat.number, seat.of, secrets)
    with project.placing(loaded):
        async with open_hub(shared, loaded.root, secrets=secrets, instruments=instruments) as hub:
            await look_before_start(hub.ledger, declaration)
            seat.opened()
            hub.engine.metrics.count_from(seat.began)  # also when this process takes the place of another
            await serve(hub, ready=ready, seat=seat, door=door)
    return Exit.OK


def _ready(declaration: Declaration, count: int, url: str) -> None:
    """
    Say where deliveries go.
    """
    for name in declaration.connections:
        say(f"deliveries for {name}: POST {url}/in/{name}")
    among = f" in {count} processes" if count > 1 else ""
    say(f"penstock runs at {url}{among} with {', '.join(declaration.pipelines)}; Ctrl-C stops it")


async def _work_off(hub: Hub) -> int:
    """
    Work until nothing is held and nothing is due; 6 when runs still wait for a later time or a gate.
    """
    await hub.engine.start(taking=False)
    try:
        quiet = 0
        while quiet < QUIET_LOOKS:
            await asyncio.sleep(LOOK_EVERY)
            due = await hub.ledger.next_due(list(hub.plans))
            busy = hub.engine.executor.running or hub.engine.executor.held or (due or sys.maxsize) <= hub.clock.now_ms()
            quiet = 0 if busy else quiet + 1
    finally:
        await hub.engine.stop(STOP_GRACE)
    left: Counter[str] = Counter()
    for (_pipeline, state), count in (await hub.ledger.counts(list(hub.plans))).items():
        left[state] += count
    if left["waiting"]:
        say(f"{left['waiting']} runs wait for a later time or a gate; next: penstock runs --verdict waiting")
        return Exit.PARTIAL
    return Exit.OK


def _listening(declaration: Declaration, listen: str | None) -> Declaration:
    if listen is None:
        return declaration
    if found := addresses.fault(listen):
        raise Invalid(found[0], where="--listen", hint=found[1])
    return declaration.model_copy(update={"hub": declaration.hub.model_copy(update={"listen": listen})})


def _on_local_disk(state: Path) -> None:
    there = state.absolute()
    while not there.is_dir() and there != there.parent:
        there = there.parent
    kind = file_system_of(there)
    if kind in NETWORK_FILE_SYSTEMS:
        raise Invalid(
            f"{kind}: locks of a network file system cannot be trusted",
            where=f"hub.state {str(state)!r}",
            hint="put it on a local disk",
        )


def _looped(work: Coroutine[Any, Any, int]) -> int:
    """
    Run *work* on uvloop where it is there.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
