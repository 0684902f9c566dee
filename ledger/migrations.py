"""
How a ledger made by an older version becomes one of this version, while workers of both go on.

A file `sql/migrations/NNN-name.sql` leads from schema NNN - 1 to NNN, in SQLite's words; what only one
database needs stands in `NNN-name.sqlite.sql` or `NNN-name.postgres.sql` behind it. Migrations only add:
tables, columns with defaults, indexes. Each says which code can still work on the result: code of schema N
works on a ledger of schema N or newer whose `oldest` is at most N.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from ledger.connection import Connection
from penstock.errors import Unreachable

FOLDER = Path(__file__).parent / "sql" / "migrations"
Kind = Literal["sqlite", "postgres"]
_OLDEST = re.compile(r"^-- oldest: (\d+)$", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_KEEP = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def latest() -> int:
    """
    Return the schema this version makes.
    """
    return max(_numbers())


def oldest(schema: int) -> int:
    """
    Return the oldest code, by its schema, that can work on a ledger of *schema*.
    """
    (found,) = {found for file in _files(schema) for found in _OLDEST.findall(file.read_text())}
    return int(found)


def migrate(connection: Connection, kind: Kind, spoken: Callable[[str], str] = str) -> None:
    """
    Bring an older ledger to this version's schema, in the caller's transaction, which nobody else may be in.

    *spoken* translates a statement for the database.
    """
    found, _ = facts(connection)
    for number in range(found + 1, latest() + 1):
        for file in _files(number):
            if file.suffixes[:-1] in ([], [f".{kind}"]):
                for statement in statements(file):
                    connection.execute(spoken(statement))
        keep_facts(connection, number)


def keep_facts(connection: Connection, schema: int) -> None:
    """
    Note that the ledger is of *schema*, and who can still work on it.
    """
    connection.execute(_KEEP, ("schema", schema))
    connection.execute(_KEEP, ("oldest", oldest(schema)))


def facts(connection: Connection) -> tuple[int, int]:
    """
    Return the ledger's schema, and the oldest code that can work on it.
    """
    rows = connection.execute("SELECT name, value FROM meta WHERE name IN ('schema', 'oldest')").fetchall()
    found = {str(row["name"]): int(row["value"]) for row in rows}
    return found["schema"], found.get("oldest", found["schema"])


def check(connection: Connection, name: str) -> None:
    """
    Raise `Unreachable` unless this version can use the ledger *name* as it is.
    """
    found, needed = facts(connection)
    if needed > latest():
        raise Unreachable(
            f"the ledger {name} has schema {found}, which needs code of schema {needed} and not {latest()}: "
            "use the newer penstock that changed it"
        )
    if found < latest():
        raise Unreachable(
            f"the ledger {name} has schema {found}, not {latest()}: start `penstock run` of this version once"
        )


def statements(file: Path) -> Iterator[str]:
    """
    Yield the statements of a file.
    """
    for part in _COMMENT.sub("", file.read_text()).split(";\n"):
        if part.strip():
            yield part.strip()


def _numbers() -> set[int]:
    return {int(file.name[:3]) for file in FOLDER.glob("[0-9][0-9][0-9]-*.sql")}


def _files(number: int) -> list[Path]:
    return sorted(FOLDER.glob(f"{number:03}-*.sql"), key=lambda file: (len(file.suffixes), file.name))
