"""
What Prometheus is shown: the instruments of all processes of this run, and money and paces of the whole ledger.

Only budgets that are one for everybody are shown: one line per user would never end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.heartbeat import GAP
from ledger.beats import Pulse
from ledger.contract import Ledger
from ledger.fuses import Fuse
from ledger.limits import Purse
from ledger.pacing import Pace
from penstock.clock import Clock
from penstock.metrics import Instruments
from penstock.units import MICRO
from pipelines.spending import period_of

LATE = 600_000  # ms an alert may carry a time before the present one when it is put down
_MONEY = (
    ("spent", "Money spent in the present period."),
    ("reserved", "Money held for calls under way."),
    ("limit", "Money allowed in the present period."),
)
_PACES = (
    ("requests", "Requests a minute that a model is sent at most; less than its limit after it asked to slow down."),
    ("tokens", "Tokens a minute, likewise."),
    ("input_tokens", "Input tokens a minute, likewise."),
    ("output_tokens", "Output tokens a minute, likewise."),
)


class Metrics:
    """
    What one process shows: the money and the alerts of all processes on its ledger, and what its run counted.
    """

    def __init__(self, ledger: Ledger, clock: Clock, zone: ZoneInfo, instruments: Instruments | None = None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._zone = zone
        self._instruments = instruments or Instruments()
        self._since = clock.now_ms()
        self._seen: set[tuple[str, str, str]] = set()
        """Alerts that were counted, as far as they may come up again."""
        self._alerts: dict[tuple[str, str], int] = {}
        """How many there were under each scope and threshold."""
        self._one_at_a_time = asyncio.Lock()

    def count_from(self, since: int) -> None:
        """
        Count alerts from UTC ms *since* on, in place of the time this process began.
        """
        self._since = since

    async def text(self) -> bytes:
        """
        Return everything as Prometheus reads it.
        """
        now = self._clock.now_ms()
        day, month = (period_of(now, kind, self._zone)[0] for kind in ("day", "month"))
        async with self._one_at_a_time:
            await self._count_alerts(now)
            purses = await self._ledger.purses((day, month))
            shown = _Kept(
                dict(self._alerts),
                [("month" if each.period == month else "day", each) for each in purses],
                await self._ledger.paces(),
                await self._ledger.fuses(),
                await self._ledger.pulses(),
                now,
            )
            return await asyncio.to_thread(self._instruments.text, shown)

    async def _count_alerts(self, now: int) -> None:
        """
        Count what is new, each under its budget's name.
        """
        given = await self._ledger.alerts(self._since)
        for scope, _period, threshold in given - self._seen:
            key = scope.partition("/")[0], threshold
            self._alerts[key] = self._alerts.get(key, 0) + 1
        self._seen, self._since = given, max(self._since, now - LATE)


class _Kept:
    """
    What the ledger said, at one moment.
    """

    def __init__(
        self,
        alerts: Mapping[tuple[str, str], int],
        purses: list[tuple[str, Purse]],
        paces: list[Pace],
        fuses: list[Fuse],
        pulses: list[Pulse],
        now: int,
    ) -> None:
        self._alerts = alerts
        self._purses = purses
        self._paces = paces
        self._fuses = Counter(fuse.pipeline for fuse in fuses)
        self._pulses = pulses
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """
        Yield it as Prometheus' library has it.
        """
        alerts = CounterMetricFamily("penstock_budget_alerts", "Budget alerts given.", labels=["scope", "threshold"])
        for (scope, threshold), count in sorted(self._alerts.items()):
            alerts.add_metric([scope, threshold], count)
        yield alerts
        for name, text in _MONEY:
            money = GaugeMetricFamily(f"penstock_budget_{name}_usd", text, labels=["scope", "period"])
            for kind, purse in self._purses:
                money.add_metric([purse.scope, kind], getattr(purse, name) / MICRO)
            yield money
        yield from self._of_paces()
        blown = GaugeMetricFamily("penstock_fuses_blown", "Records at which a fuse holds now.", labels=["pipeline"])
        for pipeline, count in sorted(self._fuses.items()):
            blown.add_metric([pipeline], count)
        yield blown
        yield from self._of_sources()

    def _of_sources(self) -> Iterator[Metric]:
        labels = ["connection", "source"]
        silent = GaugeMetricFamily("penstock_source_silent", "Whether a source is silent for too long.", labels=labels)
        quiet = GaugeMetricFamily("penstock_source_quiet_seconds", "Time without an event of a source.", labels=labels)
        listened = [pulse for pulse in self._pulses if self._now - pulse.watched_at <= GAP * 1000]
        for pulse in listened:  # a source that is gone, or that nobody wants to hear of, is not silent
            name = [pulse.connection, pulse.source]
            silent.add_metric(name, int(pulse.silent_at is not None))
            quiet.add_metric(name, max(0, self._now - pulse.quiet_from) / 1000)
        yield from (silent, quiet)

    def _of_paces(self) -> Iterator[Metric]:
        for name, text in _PACES:
            most = GaugeMetricFamily(f"penstock_pace_{name}_per_minute", text, labels=["pace"])
            for pace in self._paces:
                if count := getattr(pace.quota, name):
                    most.add_metric([pace.name], count * pace.cut)
            yield most
        paused = GaugeMetricFamily(
            "penstock_pace_paused_seconds", "For how long a model is sent nothing, as it asked.", labels=["pace"]
        )
        for pace in self._paces:
            paused.add_metric([pace.name], max(0, pace.paused_until - self._now) / 1000)
        yield paused
