"""
Heartbeat: each source knows what it usually sends, and people hear of it when it does not.

What is usual is learned by the hour of the week, so that nights and Sundays are no alarm: the median of the same hour
in the weeks before, and no more than in the hours beside it, as clocks are changed and people are not on time. Only
hours of which nothing at all was heard count: an hourly export is silent for most of each. A source is silent when so
many events are missing that chance is no reason. How long a connection may be silent can be said instead; then all of
its sources count together.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ledger.beats import HOUR, LEARNED, WEEKS, Beat, Pulse
from ledger.contract import Ledger
from penstock.clock import Clock, utc
from penstock.units import span
from pipelines.declaration import Declaration

log = logging.getLogger(__name__)

WEBHOOK = "webhook"
"""The source of what a system delivers."""
ALL = "*"
"""All sources of a connection together."""
LOOK_EVERY = 30.0  # seconds
GAP = 600.0  # seconds in which no hub listened, after which silence begins anew
DOWN = 3 * LOOK_EVERY  # seconds of the same for one that begins to listen: hubs that ran had looked meanwhile
MISSED = 20.0  # events that are usual in the time of an alarm
_WEEK = 7 * 24  # hours

Limit = Literal["usual", "off"] | float
"""How long a connection may be silent: as usual, for ever, or so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """
    How quiet a source is.
    """

    pulse: Pulse
    seconds: float
    """For how long somebody has listened in vain."""
    missed: float | None
    """How many events are usual in that time; None when that is not known yet, or does not matter."""
    limit: Limit

    @property
    def silent(self) -> bool:
        """
        Whether that is an alarm.
        """
        if isinstance(self.limit, float):
            return self.seconds >= self.limit
        return self.missed is not None and self.missed >= MISSED

    @property
    def told(self) -> dict[str, Any]:
        """
        What people are told of it, as JSON data.
        """
        return {"quiet_from": self.pulse.quiet_from, "last_at": self.pulse.last_at, "usual": in_words(self)}


class Heartbeat:
    """
    Listens to the sources of one process; its ledger knows what all of them heard.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit],
        *,
        sources: Mapping[str, Collection[str]] = MappingProxyType({}),
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        """
        Listen within *limits*; *sources* are the polls and streams there are, by connection.
        """
        self._limits = {name: limit for name, limit in limits.items() if limit != "off"}
        self._watched = {
            (name, source)
            for name, limit in self._limits.items()
            for source in ([ALL] if isinstance(limit, float) else [WEBHOOK, *sources.get(name, ())])
        }
        self._gap = DOWN
        self._ledger = ledger
        self._clock = clock
        self._heard: dict[tuple[str, str], Beat] = {}
        self._silent: set[tuple[str, str]] = set()

    def beat(self, connection: str, source: str, events: int) -> None:
        """
        Note that so many events came from *source*; with none, that it was read.
        """
        limit = self._limits.get(connection)
        if limit is None:
            return
        for name in (source, ALL) if isinstance(limit, float) else (source,):
            before = self._heard.get((connection, name))
            at = self._clock.now_ms() if events else before.at if before else 0
            events_ = events + (before.events if before else 0)
            self._heard[connection, name] = Beat(connection=connection, source=name, events=events_, at=at)

    async def look(self) -> None:
        """
        Keep what was heard since the last look, and tell of who is silent.
        """
        await self.keep()
        for quiet in await quiets(self._limits, ledger=self._ledger, clock=self._clock) if self._limits else ():
            if (quiet.pulse.connection, quiet.pulse.source) in self._watched:
                await self._judge(quiet)

    async def keep(self) -> None:
        """
        Keep what was heard since the last look.
        """
        if not self._limits:
            return
        heard, self._heard = self._heard, {}
        named = [Beat(connection=name, source=ALL) for name, limit in self._limits.items() if isinstance(limit, float)]
        try:
            await self._ledger.beat([*named, *heard.values()], watched=self._watched, gap=self._gap)
        except Exception:
            for one in heard.values():
                self._take_back(one)
            raise
        self._gap = GAP

    def _take_back(self, beat: Beat) -> None:
        """
        Take back what could not be kept.
        """
        later = self._heard.get((beat.connection, beat.source))
        events, at = (beat.events, beat.at) if later is None else (beat.events + later.events, max(beat.at, later.at))
        kept = Beat(connection=beat.connection, source=beat.source, events=events, at=at)
        self._heard[beat.connection, beat.source] = kept

    async def _judge(self, quiet: Quiet) -> None:
        pulse = quiet.pulse
        name = (pulse.connection, pulse.source)
        if pulse.silent_at is not None:
            self._silent.add(name)
        elif quiet.silent:
            await self._ledger.fall_silent(pulse, quiet.told)
            self._silent.add(name)
        elif name in self._silent:
            self._silent.discard(name)
            log.warning("source %s/%s is heard again", *name)


async def quiets(limits: Mapping[str, Limit], *, ledger: Ledger, clock: Clock) -> list[Quiet]:
    """
    Return how quiet every source is that is to be listened to; one that no hub has any more is not.
    """
    now, found = clock.now_ms(), []
    pulses = await ledger.pulses()
    lately = max((pulse.watched_at for pulse in pulses), default=0) - GAP * 1000
    for pulse in pulses:
        limit = limits.get(pulse.connection, "off")
        if limit == "off" or (pulse.source == ALL) != isinstance(limit, float) or pulse.watched_at < lately:
            continue
        missed = None
        if limit == "usual" and pulse.last_at is not None:
            kept = now // HOUR - LEARNED
            counts = await ledger.beats(pulse.connection, pulse.source, kept)
            missed = usual(counts, max(pulse.first_at, kept * HOUR), pulse.quiet_from, now)
        found.append(Quiet(pulse=pulse, seconds=max(0, now - pulse.quiet_from) / 1000, missed=missed, limit=limit))
    return found


def usual(counts: Mapping[int, int], first_at: int, since: int, until: int) -> float | None:
    """
    Return how many events are usual in the whole hours from UTC ms *since* to *until*, by *counts* of hours since the
    epoch.

    None when the source has not been known for a week; *first_at* is since when it is.
    """
    first, last = first_at // HOUR, until // HOUR
    if _rate(counts, first, last) is None:
        return None
    rates = [_rate(counts, first, hour) for hour in range(since // HOUR + 1, last)]
    return float(sum(rate for rate in rates if rate is not None))


def _rate(counts: Mapping[int, int], first: int, hour: int) -> float | None:
    """
    Return what is to be expected of an hour; None when it is not known yet.
    """
    usual_, before, after = (_median(counts, first, each) for each in (hour, hour - 1, hour + 1))
    return None if usual_ is None else min(each for each in (usual_, before, after) if each is not None)


def _median(counts: Mapping[int, int], first: int, hour: int) -> float | None:
    weeks = [hour - _WEEK * back for back in range(1, WEEKS + 1)]
    known = [counts.get(week, 0) for week in weeks if week > first]  # the first hour was not a whole one
    return float(statistics.median(known)) if known else None


def in_words(quiet: Quiet) -> str:
    """
    Return what is expected of a source as part of a sentence.
    """
    if isinstance(quiet.limit, float):
        return f"at most {span(quiet.limit)} of silence are allowed"
    if quiet.missed is None:
        return "what is usual is not known yet"
    return f"about {quiet.missed:.0f} events are usual in that time"


def told_in_words(alert: Mapping[str, Any]) -> str:
    """
    Return an alert as one sentence.
    """
    name = alert["connection"] if alert["source"] == ALL else f"{alert['connection']}/{alert['source']}"
    return f"source {name} is silent since {utc(alert['quiet_from']):%Y-%m-%d %H:%M:%S} UTC; {alert['usual']}"


def limits_of(declaration: Declaration) -> dict[str, Limit]:
    """
    Return how long each connection may be silent.
    """
    return {name: each.silence or declaration.hub.silence for name, each in declaration.connections.items()}
