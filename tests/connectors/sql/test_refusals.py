"""
What a database's refusals mean, and how a connection to it is kept alive.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.sql import client
from penstock import errors
from penstock.secrets import Secret, SecretRef, SecretRefs, Secrets
from tests.connectors.sql.test_sql import LOOKUPS, Shop, connect, server, shop

__all__ = ["server", "shop"]  # fixtures
WRONG = {
    "column": "SELECT nmae AS id FROM customers",
    "table": "SELECT id FROM custmoers",
    "grammar": "SELECT id FROM customers WHERE",
}


@pytest.mark.parametrize("by", ["7\0", "\0"])
async def test_a_nul_is_no_outage(shop: Shop, by: str) -> None:
    """What no text of a database can hold is refused before it is asked for."""
    for name in ("customer", "orders"):
        with pytest.raises(errors.Rejected, match="NUL"):
            await shop.look(name, by)


async def test_a_query_that_is_wrong_is_no_outage(shop: Shop) -> None:
    """Whatever the driver calls it: the database works, the query does not."""
    lookups = {name: {"query": query, "fields": {"id": "string"}} for name, query in WRONG.items()}
    connector = connect(shop.url, lookups=lookups)
    wrong = Shop(shop.url, shop.engine, connector)
    for name in WRONG:
        with pytest.raises(errors.Rejected):
            await wrong.look(name, "7")
    await connector.close()


async def test_a_locked_table_is_an_outage(shop: Shop) -> None:
    """It can be read later."""
    locks = {"sqlite": "BEGIN EXCLUSIVE", "postgresql": "LOCK TABLE customers"}[shop.engine.dialect.name]
    with shop.engine.connect() as holder:
        holder.execute(sa.text(locks))
        if shop.engine.dialect.name == "postgresql":
            impatient = {
                **LOOKUPS["customer"],
                "query": "SELECT * FROM customers, set_config('lock_timeout', '50', true)",
            }
        else:
            impatient = LOOKUPS["customer"]
        connector = connect(shop.url, lookups={"customer": impatient})
        with pytest.raises(errors.Unavailable):
            await Shop(shop.url, shop.engine, connector).look("customer", "7", timeout=1.0)
        holder.rollback()
    await connector.close()


async def test_a_password_that_was_changed_where_it_is_kept(server: str) -> None:
    """After a refusal it is read anew: the next one works without a restart."""
    known = [server.replace("penstock@", "nobody:old@")]

    class Store(Secrets):
        def all(self, refs: SecretRef | SecretRefs) -> tuple[Secret, ...]:
            return (Secret(known[-1]),)

        async def renew(self, refs: SecretRefs) -> None:
            known.append(server)

    connector = connect("", secrets=Store({}))
    database = connector._database
    with pytest.raises(errors.AuthFailed):
        await database.ping(database._clock.monotonic() + 5.0)
    await database.ping(database._clock.monotonic() + 5.0)
    await connector.close()


def test_a_connection_without_an_other_end_is_noticed(server: str) -> None:
    """A network that drops packets without a word ends a connection after a minute, not after hours."""
    engine = client._engine(sa.make_url(server.replace("postgresql://", "postgresql+psycopg://")))
    with engine.connect() as connection:
        told = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    engine.dispose()

    assert {name: int(told[name]) for name in client.ALIVE} == client.ALIVE


@pytest.mark.parametrize(
    ("name", "mariadb", "limit"),
    [
        ("mysql", False, "max_execution_time = 2500"),
        ("mysql", True, "max_statement_time = 2.500"),
        ("mariadb", True, "max_statement_time = 2.500"),
    ],
)
def test_how_databases_limit_a_statement(name: str, mariadb: bool, limit: str) -> None:
    """MySQL in milliseconds, MariaDB in seconds and under another name."""
    said: list[str] = []
    connection: Any = SimpleNamespace(
        dialect=SimpleNamespace(name=name, is_mariadb=mariadb),
        execute=lambda statement: said.append(str(statement)),
        commit=lambda: None,
        rollback=lambda: None,
    )
    with client._reading(connection, 2.5):
        pass

    assert said[-1] == f"SET SESSION {limit}"
