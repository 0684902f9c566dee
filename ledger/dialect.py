"""
SQLite's words in PostgreSQL's: statements and tables are written once, with few differences by name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ledger.migrations import statements
from ledger.queries import queries, read

_FOLDER = Path(__file__).with_name("sql") / "postgres"
_COMMENT = re.compile(r"--[^\n]*")
_NAMED = re.compile(r"(?<!:):(\w+)")
_TABLES = (
    (re.compile(r"\) STRICT(, WITHOUT ROWID)?$"), ")"),
    (re.compile(r"\bvalue ANY NOT NULL"), "value BIGINT, bytes BYTEA"),
    (re.compile(r"\bBLOB\b"), "BYTEA"),
    (re.compile(r"\bINTEGER\b"), "BIGINT"),
)
_DIFFERENT = read(_FOLDER / "differences.sql")
_BY_TEXT = {queries[name]: text for name, text in _DIFFERENT.items() if name in queries}


@lru_cache(maxsize=1024)
def spoken(statement: str) -> str:
    """
    Return a statement as psycopg takes it.
    """
    text = _COMMENT.sub("", _BY_TEXT.get(statement, statement)).strip()
    return _NAMED.sub(r"%(\1)s", text.replace("%", "%%")).replace("?", "%s")


def only(name: str) -> str:
    """
    Return a statement that SQLite has no need of.
    """
    return _DIFFERENT[name]


def tables() -> list[str]:
    """
    Return the statements that make the tables.
    """
    made = [defined(statement) for statement in statements(Path(__file__).with_name("schema.sql"))]
    return [*made, "CREATE SEQUENCE counter"]


def defined(statement: str) -> str:
    """
    Return a statement that makes or changes a table.
    """
    for pattern, words in _TABLES:
        statement = pattern.sub(words, statement)
    return statement
