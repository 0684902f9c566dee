"""
The part of the book that knows of facts beside the runs; `ledger.facts.Facts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger import locks, outbox, retention, topics
from ledger.connection import Connection
from ledger.facts import Loss, TopicEntry
from ledger.queries import queries
from ledger.store import Store
from penstock.clock import Clock

_SECOND = 1000  # ms


class FactsBook:
    """
    Keeps positions, topics and configurations, and forgets what is old.
    """

    store: Store
    clock: Clock
    _keep: float

    async def positions(self, pipeline: str, topic: str) -> dict[int, int]:
        named = {"pipeline": pipeline, "topic": topic}
        rows = await self.store.read(lambda connection: connection.execute(queries["positions"], named).fetchall())
        return {int(row["part"]): int(row["next_off"]) for row in rows}

    async def keep_positions(self, pipeline: str, topic: str, positions: Mapping[int, int]) -> None:
        now = self.clock.now_ms()
        rows = [
            {"pipeline": pipeline, "topic": topic, "part": part, "next_off": offset, "now": now}
            for part, offset in sorted(positions.items())
        ]

        def keep(connection: Connection) -> None:
            for row in rows:
                connection.execute(queries["keep_position"], row)

        await self.store.write(keep, locks.ALONE)

    async def note_lost(self, pipeline: str, topic: str, partition: int, lost: int) -> None:
        named = {"pipeline": pipeline, "topic": topic, "part": partition, "lost": lost, "now": self.clock.now_ms()}
        await self.store.write(lambda connection: connection.execute(queries["note_lost"], named), locks.ALONE)

    async def losses(self, since: int) -> list[Loss]:
        return await self.store.read(lambda connection: topics.losses(connection, since))

    async def topic(self, topic: str) -> TopicEntry | None:
        return await self.store.read(lambda connection: topics.find(connection, topic))

    async def keep_topic(self, topic: str, entry: TopicEntry) -> None:
        now = self.clock.now_ms()
        await self.store.write(lambda connection: topics.keep(connection, topic, entry, now), locks.ALONE)

    async def remember_config(self, config_hash: str, body: str) -> None:
        named = {"config_hash": config_hash, "body": body, "now": self.clock.now_ms()}
        await self.store.write(lambda connection: connection.execute(queries["remember_config"], named), locks.ALONE)

    async def horizon(self) -> int:
        return await self.store.read(retention.horizon)

    async def prune(self, now: int | None = None) -> int:
        at = self.clock.now_ms() if now is None else now
        details, identities = (int(at - seconds * _SECOND) for seconds in (self._keep, retention.IDENTITIES))
        pruned = 0
        while found := await self.store.write(lambda connection: retention.prune(connection, details), locks.ALONE):
            pruned += found
        await self.store.write(lambda connection: retention.forget(connection, identities), locks.ALONE)
        await self.store.write(lambda connection: outbox.forget(connection, details), locks.ALONE)
        await self.store.write(lambda connection: retention.forget_limits(connection, details), locks.ALONE)
        await self.store.write(lambda connection: retention.forget_questions(connection, at), locks.ALONE)
        await self.store.write(lambda connection: retention.forget_beats(connection, at), locks.ALONE)
        return pruned
