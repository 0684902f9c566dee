"""
What `penstock doctor` looks at when the ledger is on a server.
"""

from __future__ import annotations

from pathlib import Path

import ledger
from console.app import ledger_place
from console.cli.exam import Finding
from penstock.errors import Unreachable
from penstock.secrets import MissingSecret, Secrets
from pipelines.declaration import Declaration


def server(declaration: Declaration, root: Path, *, offline: bool) -> Finding:
    """
    Look at the ledger's server. Only reads.
    """
    try:
        place = str(ledger_place(declaration, root, Secrets()))
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
