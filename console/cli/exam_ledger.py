"""
What `penstock doctor` looks at in the ledger: its server, and what stands still.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import ledger
from console.cli import project, wording
from console.cli.exam import Finding
from console.cli.pausing import shown
from console.places import ledger_place
from console.references import of_ledger
from ledger.fuses import Fuse
from penstock.clock import SystemClock
from penstock.errors import PenstockError, Unreachable
from penstock.secrets import MissingSecret, Secrets
from pipelines.declaration import Declaration

if TYPE_CHECKING:
    from engine.heartbeat import Quiet


def server(declaration: Declaration, root: Path, *, offline: bool) -> Finding:
    """
    Look at the ledger's server. Only reads.
    """
    try:
        secrets, wanted = Secrets(), of_ledger(declaration)
        if offline and any(refs.newest.remote for refs in wanted):
            return Finding(
                what="ledger", state="note", says="PostgreSQL: its address is kept in a store; not asked (--offline)"
            )
        secrets.check(wanted)
        place = str(ledger_place(declaration, root, secrets))
        if offline:
            return Finding(what="ledger", state="note", says="PostgreSQL: its address is set; not asked (--offline)")
        seen = ledger.look(place)
    except MissingSecret as error:
        return Finding(what="ledger", state="bad", says=str(error), next="set it, or take hub.ledger out")
    except Unreachable as error:
        return Finding(what="ledger", state="down", says=str(error), next="start it, or mend hub.ledger")
    says = f"PostgreSQL {seen.version} at {seen.name}, {'in use' if seen.made else 'no ledger in it yet'}"
    if not seen.durable:
        return Finding(what="ledger", state="bad", says=f"{says}; fsync is off", next="set fsync = on: it loses events")
    return Finding(what="ledger", state="ok", says=says)


def kept(declaration: Declaration, root: Path, *, offline: bool) -> list[Finding]:
    """
    Look for what stands still, as far as there is a ledger to ask: paused pipelines, fuses that blew, and silent
    sources; and how the others are.
    """
    try:
        secrets = Secrets()
        if not offline:
            secrets.check(of_ledger(declaration))
        place = ledger_place(declaration, root, secrets)
        if offline and isinstance(place, str):
            return []
        return asyncio.run(_kept(declaration, place))
    except PenstockError:
        return []  # there is none yet, or somebody else says that it cannot be reached


async def _kept(declaration: Declaration, place: Path | str) -> list[Finding]:
    from engine.heartbeat import limits_of, quiets  # the engine takes a while to load

    async with project.open_ledger(place) as opened:
        lines = shown(await opened.pauses())
        found = [Finding(what="pause", state="note", says=line, next="penstock resume lets it go on") for line in lines]
        found += [_blown(fuse) for fuse in await opened.fuses()]
        return found + [_heard(one) for one in await quiets(limits_of(declaration), ledger=opened, clock=SystemClock())]


def _blown(fuse: Fuse) -> Finding:
    says = (
        f"{fuse.pipeline} wrote too often for {wording.printable(fuse.lane)!r} (limits.fuse) at "
        f"{wording.moment(fuse.since)}: {fuse.stopped} of its events ended dead, those until "
        f"{wording.moment(fuse.until)} will"
    )
    return Finding(what="fuse", state="bad", says=says, next="see who answers whom: penstock runs show; then replay")


def _heard(quiet: Quiet) -> Finding:
    """
    Say of one source when it was heard last, and whether that is long ago.
    """
    from engine.heartbeat import ALL, GAP, in_words

    pulse = quiet.pulse
    what = f"source {pulse.connection}" + ("" if pulse.source == ALL else f"/{pulse.source}")
    says = f"its last event came at {wording.moment(pulse.last_at)}" if pulse.last_at else "no event came yet"
    if SystemClock().now_ms() - pulse.watched_at > GAP * 1000:
        says += f"; no hub has listened since {wording.moment(pulse.watched_at)}"
        return Finding(what=what, state="note", says=says, next="penstock run")
    if quiet.silent:
        says = f"silent for {wording.duration(int(quiet.seconds * 1000))}: {says}, and {in_words(quiet)}"
        return Finding(what=what, state="bad", says=says, next="look at its webhook, its account and its network")
    return Finding(what=what, state="ok", says=f"{says}; {in_words(quiet)}")
