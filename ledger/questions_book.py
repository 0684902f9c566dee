"""
The part of the book that people ask; `ledger.questions.Questions`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ledger import pairs, reading, summing
from ledger.costs import ClimbSum, CostQuery, CostSum, SavingSum
from ledger.pairing import Pair
from ledger.questions import RunQuery
from ledger.store import Store
from schemas.entries import Run, RunDetail


class QuestionsBook:
    """
    Answers what people ask.
    """

    store: Store

    async def runs(self, query: RunQuery) -> list[Run]:
        return await self.store.read(lambda connection: reading.runs(connection, query))

    async def detail(self, run: str) -> RunDetail | None:
        return await self.store.read(lambda connection: reading.detail(connection, run))

    async def spent(self, scope: str, period: str) -> tuple[int, int]:
        return await self.store.read(lambda connection: reading.spent(connection, scope, period))

    async def counts(self, pipelines: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        return await self.store.read(lambda connection: reading.counts(connection, pipelines))

    async def costs(self, query: CostQuery) -> list[CostSum]:
        return await self.store.read(lambda connection: summing.costs(connection, query))

    async def savings(self, query: CostQuery) -> list[SavingSum]:
        return await self.store.read(lambda connection: summing.savings(connection, query))

    async def climbs(self, query: CostQuery) -> list[ClimbSum]:
        return await self.store.read(lambda connection: summing.climbs(connection, query))

    async def pairs(self, query: CostQuery) -> list[Pair]:
        return await self.store.read(lambda connection: pairs.pairs(connection, query))

    async def shadow_cost(self, query: CostQuery) -> int:
        return await self.store.read(lambda connection: pairs.shadow_cost(connection, query))

    async def configs(self, hashes: Collection[str]) -> dict[str, str]:
        return await self.store.read(lambda connection: summing.configs(connection, hashes))
