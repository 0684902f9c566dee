"""
Ledgers of earlier versions: migrated once, to what a new one is, while workers of both versions go on.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger import Cap, Claim, Ledger, NewRun, dialect, file, migrations
from ledger.connection import Connection
from penstock.clock import SystemClock
from penstock.errors import Unreachable

FIRST = Path(__file__).with_name("schemas") / "1.sql"
ADDED = """-- oldest: 2
ALTER TABLE runs ADD COLUMN colour TEXT NOT NULL DEFAULT 'grey';
CREATE TABLE colours (colour TEXT PRIMARY KEY, seen INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX runs_colour ON runs (colour);
"""
CAP = Cap(scope="hub", period="-", limit=10_000)
Make = Callable[..., NewRun]


async def opened(place: Path | str) -> Ledger:
    return await ledger.open(place, clock=SystemClock())


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """
    A place without a ledger.
    """
    return request.getfixturevalue("dsn") if request.param == "postgres" else tmp_path / "ledger.db"


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """
    What makes this process one of a version with a further migration, for ledgers that are opened from then on.
    """

    def become(text: str = ADDED) -> None:
        folder = tmp_path / "migrations"
        folder.mkdir(exist_ok=True)
        for known in migrations.FOLDER.glob("*.sql"):
            (folder / known.name).write_text(known.read_text())
        (folder / f"{migrations.latest() + 1:03}-colours.sql").write_text(text)
        monkeypatch.setattr(migrations, "FOLDER", folder)

    return become


def first(place: Path | str) -> None:
    """
    Make a ledger as the first version did.
    """
    if isinstance(place, Path):
        connection: Any = sqlite3.connect(place)
        for statement in migrations.statements(FIRST):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO meta VALUES ('schema', 1), ('secret', ?), ('counter', 7), ('horizon', 0)", (b"s" * 32,)
        )
    else:
        import psycopg

        connection = psycopg.connect(place)
        for statement in migrations.statements(FIRST):
            connection.execute(dialect.defined(statement))
        connection.execute("CREATE SEQUENCE counter START 8")
        connection.execute(
            "INSERT INTO meta VALUES ('schema', 1, NULL), ('horizon', 0, NULL), ('secret', NULL, %s)", (b"s" * 32,)
        )
    text = "INSERT INTO outbox (id, kind, body, created_at) VALUES ({0}, 'alert', {0}, 5)"
    connection.execute(text.format("?" if isinstance(place, Path) else "%s"), (b"i" * 16, b"i" * 16))
    nobody = "INSERT INTO workers VALUES ({0}, '', '', '', 0, 0, 'dead')"
    connection.execute(nobody.format("?" if isinstance(place, Path) else "%s"), (file.NOBODY,))
    connection.commit()
    connection.close()


def shape(connection: Connection) -> set[tuple[Any, ...]]:
    """
    Return every column and every index there is.
    """
    if isinstance(connection, sqlite3.Connection):
        tables = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            (table, *tuple(row)[1:]) for table in tables for row in connection.execute(f"PRAGMA table_xinfo({table})")
        }
        indexes = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return columns | {(name, " ".join(sql.split())) for name, sql in indexes}
    columns = connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = current_schema()"
    )
    indexes = connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()")
    space = connection.execute("SELECT current_schema()").fetchone()[0]
    return {tuple(row) for row in columns} | {(row[0], row[1].replace(space, "")) for row in indexes}


@pytest.mark.parametrize("kind", ["file", "postgres"])
async def test_a_migrated_ledger_is_equal_to_a_new_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """
    The same tables, columns, defaults and indexes; what was in it is there, and its secret.
    """
    places: list[Any] = [tmp_path / "old.db", tmp_path / "new.db"]
    if kind == "postgres":
        dsn = request.getfixturevalue("dsn")
        places = [_space(dsn), _space(dsn)]
    first(places[0])
    shapes = []
    for place in places:
        book = await opened(place)
        shapes.append(await book.store.read(shape))
        parcels = await book.take_parcels(["alert"], 9, hold=1.0)
        assert len(parcels) == (place == places[0])
        assert (book.secret == b"s" * 32) == (place == places[0])
        await book.close()

    assert shapes[0] == shapes[1]


def _space(dsn: str) -> str:
    import psycopg

    name = f"m_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    head, _, _ = dsn.partition("?")
    return f"{head}?options=-csearch_path%3D{name}"


async def test_an_old_and_a_new_worker_work_on_one_ledger(
    place: Path | str, newer: Callable[..., None], make: Make, cost: Callable[..., Any]
) -> None:
    """
    R23: a newer version migrates while an older one is at work; both go on, and nothing is paid twice.
    """
    old = await opened(place)
    claim = await old.claim(make("under way", lane="under way"))
    assert isinstance(claim, Claim)
    async with old.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
        async with step.call(amount=100, caps=[CAP]) as call:
            newer()
            new = await opened(place)
            await call.settle(cost(call.call, 40))
        await step.done({"answer": 1})
    await asyncio.gather(*(_pay(book, make(f"{n}", lane=f"{n}"), cost) for n in range(20) for book in (old, new)))
    await old.finish(claim, "delivered")

    assert await new.spent(CAP.scope, CAP.period) == (40 + 20 * 40, 0)
    assert await new.counts() == {("p", "delivered"): 21}
    assert await new.store.read(migrations.facts) == (migrations.latest(), 2)
    colours = await new.store.read(lambda c: {row[0] for row in c.execute("SELECT colour FROM runs").fetchall()})
    assert colours == {"grey"}
    for book in (old, new):
        await book.close()


async def _pay(book: Ledger, run: NewRun, cost: Callable[..., Any]) -> None:
    claim = await book.claim(run)
    if isinstance(claim, Claim):
        async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            async with step.call(amount=100, caps=[CAP]) as call:
                await call.settle(cost(call.call, 40))
            await step.done({})
        await book.finish(claim, "delivered")


async def test_workers_that_start_at_once_migrate_once(place: Path | str, newer: Callable[..., None]) -> None:
    """
    Each opens, whoever came first; adding a column a second time would have failed.
    """
    await (await opened(place)).close()
    newer()
    books = await asyncio.gather(*(asyncio.to_thread(lambda: asyncio.run(_look(place))) for _ in range(4)))

    assert books == [(migrations.latest(), 2)] * 4


async def _look(place: Path | str) -> tuple[int, int]:
    book = await opened(place)
    found = await book.store.read(migrations.facts)
    await book.close()
    return found


async def test_an_old_version_opens_what_a_newer_one_migrated(
    place: Path | str, newer: Callable[..., None], monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    """
    As long as the newer one says that it may; else it is refused, with what to do.
    """
    folder = migrations.FOLDER
    newer()
    await (await opened(place)).close()
    monkeypatch.setattr(migrations, "FOLDER", folder)
    book = await opened(place)
    assert isinstance(await book.claim(make()), Claim)
    await book.close()
    newer(ADDED.replace("oldest: 2", "oldest: 3").replace("colour", "color"))
    needed = migrations.latest()
    (migrations.FOLDER / f"{needed + 1:03}-more.sql").write_text(
        f"-- oldest: {needed}\nCREATE TABLE more (one INTEGER PRIMARY KEY) STRICT;\n"
    )
    await (await opened(place)).close()
    monkeypatch.setattr(migrations, "FOLDER", folder)
    with pytest.raises(Unreachable, match=rf"needs code of schema {needed} .* use the newer penstock"):
        await opened(place)


async def test_a_migration_that_lost_a_deadlock_is_tried_again(dsn: str, newer: Callable[..., None]) -> None:
    """
    The server cancels the one who notices first, here the migration: the other's transaction goes on.
    """
    import psycopg

    await (await opened(dsn)).close()
    newer("-- oldest: 2\nALTER TABLE runs ADD COLUMN colour TEXT;\nALTER TABLE steps ADD COLUMN colour TEXT;\n")
    before = _deadlocks(dsn)
    with psycopg.connect(dsn) as other:
        other.execute("SET LOCAL deadlock_timeout = '1h'")
        other.execute("SELECT 1 FROM steps")
        starting = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(_look(dsn))))
        async with asyncio.timeout(30):
            while not _waits(dsn):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(other.execute, "SELECT 1 FROM runs")

    assert await starting == (migrations.latest(), 2)
    async with asyncio.timeout(30):
        while _deadlocks(dsn) == before:  # servers count with a delay
            await asyncio.sleep(0.1)


def _waits(dsn: str) -> bool:
    return bool(_one(dsn, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'steps'::regclass"))


def _deadlocks(dsn: str) -> int:
    return _one(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")


def _one(dsn: str, question: str) -> int:
    import psycopg

    with psycopg.connect(dsn, autocommit=True) as connection:
        return int(connection.execute(question).fetchone()[0])


async def test_a_reader_migrates_nothing(place: Path | str, newer: Callable[..., None]) -> None:
    """
    It says that a worker must start once.
    """
    await (await opened(place)).close()
    newer()
    with pytest.raises(Unreachable, match="start `penstock run` of this version once"):
        await ledger.open(place, clock=SystemClock(), read_only=True)


def test_every_migration_says_who_can_still_work() -> None:
    """
    Numbers have no gaps, and `oldest` never lies behind the migration.
    """
    numbers = sorted({int(each.name[:3]) for each in migrations.FOLDER.iterdir()})
    assert numbers == list(range(2, migrations.latest() + 1))
    assert all(migrations.oldest(number) <= number for number in numbers)
