"""
`penstock run`: the hub itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from connectors import catalog
from console.app import Hub, open_hub
from console.cli import project
from console.cli.exam_machine import NETWORK_FILE_SYSTEMS, file_system_of
from console.cli.exits import Exit
from console.cli.streams import say
from console.serving import STOP_GRACE, serve
from penstock.errors import Invalid
from penstock.log import configure
from penstock.secrets import Secrets, is_reference
from pipelines.declaration import Declaration
from pipelines.loading import Loaded

LOOK_EVERY = 0.3  # seconds between looks at what is left, with `--once`
QUIET_LOOKS = 4  # looks in a row without work, until `--once` stops


def run(file: Path, *, once: bool) -> int:
    """
    Run the hub until SIGTERM or SIGINT; with *once*, until nothing is left that can be done now.
    """
    loaded = project.load(file)
    project.refuse(file)
    declaration = project.declaration(loaded)
    _on_local_disk(loaded.root / declaration.hub.state)
    secrets = Secrets()
    secrets.check(references(declaration))
    configure()
    return _looped(_run(declaration, loaded, secrets, once=once))


async def _run(declaration: Declaration, loaded: Loaded, secrets: Secrets, *, once: bool) -> int:
    async with open_hub(declaration, loaded.root, secrets=secrets) as hub:
        if once:
            return await _work_off(hub)
        await serve(hub, ready=_ready(declaration))
    say("stopped; what was under way goes on at the next start")
    return Exit.OK


def _ready(declaration: Declaration) -> Callable[[str], None]:
    def ready(url: str) -> None:
        """
        Say where deliveries go.
        """
        for name in declaration.connections:
            say(f"deliveries for {name}: POST {url}/in/{name}")
        say(f"penstock runs at {url} with {', '.join(declaration.pipelines)}; Ctrl-C stops it")

    return ready


async def _work_off(hub: Hub) -> int:
    """
    Work until nothing is held and nothing is due; 6 when runs still wait for a later time or a gate.
    """
    await hub.engine.start()
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


def references(declaration: Declaration) -> list[str]:
    """
    Return every reference to a secret that must lead somewhere: of several, the newest.
    """
    found = [_newest(model.key) for model in declaration.models.values() if model.key]
    if declaration.hub.ledger and is_reference(declaration.hub.ledger):
        found.append(declaration.hub.ledger)
    for connection in declaration.connections.values():
        declared = catalog.spec(connection.connector).settings.get("properties", {})
        for name, value in connection.settings.items():
            if declared.get(name, {}).get("x-secret"):
                found.append(_newest(value))
    if declaration.hub.bus is not None:
        bus, security = declaration.hub.bus, declaration.hub.bus.security
        written = [bus.kafka, bus.member, security.password if security else None]
        found += [text for text in written if text is not None and "${" in text]
    return found


def _newest(given: str | Sequence[str]) -> str:
    return given if isinstance(given, str) else given[0]


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
