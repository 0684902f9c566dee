"""
Heartbeat: what is usual is learned by the hour of the week; silence beyond it is told once, and over when it is.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

import ledger as ledger_room
from engine import heartbeat
from engine.alerts import Alerts, Webhook
from engine.dispatch import Dispatch
from engine.heartbeat import ALL, WEBHOOK, Heartbeat, limits_of, quiets, usual
from engine.metrics import Metrics
from ledger.beats import HOUR, SILENT, Beat
from penstock.clock import ManualClock
from penstock.errors import Unavailable
from penstock.http import Response
from pipelines.declaration import Declaration

DAY, WEEK = 24 * 3600.0, 7 * 24 * 3600.0
NAMES = {("desk", WEBHOOK), ("desk", "catch-up")}


class Street:
    """
    A ledger, a clock, and the heartbeat of a process; `hour` lets events come for an hour.
    """

    def __init__(self, ledger: Any, clock: ManualClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.heart = self.process()

    def process(self, limit: Any = "usual") -> Heartbeat:
        return Heartbeat({"desk": limit}, sources={"desk": ["catch-up"]}, ledger=self.ledger, clock=self.clock)

    async def learn(self, weeks: int, source: str = WEBHOOK) -> None:
        """
        Let 40 events come in each hour of a working day, as the ledger would have counted them.
        """
        begin = self.clock.now_ms() // HOUR
        await self.ledger.beat([Beat(connection="desk", source=source)], watched=NAMES, gap=heartbeat.GAP)
        hours = [begin + hour for hour in range(weeks * 7 * 24) if (hour // 24) % 7 < 5 and hour % 24 < 8]
        for hour in hours:
            await self.ledger.beat(
                [Beat(connection="desk", source=source, events=40, at=hour * HOUR)], watched=NAMES, gap=heartbeat.GAP
            )
        await self.clock.advance(weeks * WEEK)
        await self.ledger.beat([], watched=NAMES, gap=1e9)

    async def passes(self, seconds: float, *, every: float = 300.0, events: int = 0, source: str = WEBHOOK) -> None:
        """
        Let time pass, with so many events every so many seconds.
        """
        for _ in range(int(seconds / every)):
            await self.clock.advance(every)
            if events:
                self.heart.beat("desk", source, events)
            await self.heart.look()

    async def told(self) -> list[dict[str, Any]]:
        parcels = await self.ledger.take_parcels([SILENT], 9, hold=1e9)
        return [orjson.loads(parcel.body) for parcel in parcels]


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    clock = ManualClock()
    ledger = await ledger_room.open(None, clock=clock)
    yield Street(ledger, clock)
    await ledger.close()


async def test_silence_beyond_what_is_usual_is_told_once(street: Street) -> None:
    """
    Forty an hour at this time: after a whole hour without any somebody hears of it, and not again.
    """
    await street.learn(2)
    await street.passes(600, events=3)
    await street.passes(6300)
    assert await street.told() == []
    await street.passes(600)
    (told,) = await street.told()
    await street.passes(7200)

    assert (told["connection"], told["source"]) == ("desk", WEBHOOK)
    assert told["usual"] == "about 40 events are usual in that time"
    assert await street.told() == []


async def test_a_quiet_night_is_no_alarm(street: Street) -> None:
    """
    From the end of Friday to Monday morning nothing is usual.
    """
    await street.learn(2)
    await street.passes(4 * DAY + 8 * 3600, every=3600, events=40)
    await street.passes(2 * DAY + 17 * 3600, every=600)
    assert await street.told() == []
    await street.passes(3600)

    assert len(await street.told()) == 1


async def test_what_is_heard_again_may_fall_silent_again(street: Street, caplog: pytest.LogCaptureFixture) -> None:
    """
    An event ends the silence, which the log says, and the next one is told anew.
    """
    await street.learn(2)
    await street.passes(300, events=1)
    await street.passes(7200)
    with caplog.at_level(logging.WARNING):
        await street.passes(600, events=1)
    assert [one.message for one in caplog.records] == ["source desk/webhook is heard again"]
    await street.passes(7200)

    assert len(await street.told()) == 2


async def test_who_sends_all_of_an_hour_at_once_is_not_silent_in_between(street: Street) -> None:
    """
    An hourly export: most of each hour nothing is to be heard.
    """
    await street.learn(2)
    for _ in range(6):
        await street.passes(600, every=600, events=40)
        await street.passes(3000, every=600)

    assert await street.told() == []


async def test_a_source_that_is_gone_is_not_silent(street: Street) -> None:
    """
    The configuration has another one in its place: it is told of no more, not shown, and forgotten.
    """
    await street.learn(2)
    await street.learn(2, "old")
    await street.passes(300, events=1, source="old")
    street.heart = street.process()
    await street.passes(7200, events=3)
    shown = (await Metrics(street.ledger, street.clock, ZoneInfo("UTC")).text()).decode()

    assert await street.told() == []
    assert 'source="webhook"' in shown and 'source="old"' not in shown
    found = await quiets({"desk": "usual"}, ledger=street.ledger, clock=street.clock)
    assert [quiet.pulse.source for quiet in found] == [WEBHOOK]
    await street.passes(30 * DAY, every=DAY)
    await street.ledger.prune()
    assert [pulse.source for pulse in await street.ledger.pulses()] == [WEBHOOK]


async def test_a_short_stop_is_no_silence(street: Street) -> None:
    """
    Five minutes without a hub: silence begins when it listens again, and not with the last event.
    """
    await street.learn(2)
    await street.passes(3600, every=30, events=1)
    await street.clock.advance(300)
    street.heart = street.process()
    await street.heart.look()
    (quiet,) = await quiets({"desk": "usual"}, ledger=street.ledger, clock=street.clock)

    assert quiet.seconds == 0


@pytest.mark.parametrize("days", [0, 6])
async def test_nothing_is_usual_before_a_week(street: Street, days: int) -> None:
    """
    A source that is new, or was never heard, is no alarm.
    """
    street.heart.beat("desk", "catch-up", 0)
    await street.passes(days * DAY + 3600, every=1800, events=20)
    await street.passes(DAY - 3600, every=1800)
    found = {
        quiet.pulse.source: quiet for quiet in await quiets({"desk": "usual"}, ledger=street.ledger, clock=street.clock)
    }

    assert await street.told() == []
    assert [found[name].missed for name in (WEBHOOK, "catch-up")] == [None, None]


async def test_each_source_has_its_own_rate(street: Street) -> None:
    """
    The catch-up still finds what the webhook does not tell of any more.
    """
    await street.learn(2)
    await street.passes(1200, events=3)
    await street.passes(7200, events=3, source="catch-up")

    assert [told["source"] for told in await street.told()] == [WEBHOOK]


async def test_a_span_is_for_all_sources_together(street: Street) -> None:
    """
    Somebody says two hours, from the first day on: any source's event will do.
    """
    street.heart = street.process(7200.0)
    await street.passes(3600)
    await street.passes(3600, every=3600, events=1)
    await street.passes(5400, every=1800, events=1, source="catch-up")
    await street.passes(6900)
    assert await street.told() == []
    await street.passes(600)
    (told,) = await street.told()

    assert (told["source"], told["usual"]) == (ALL, "at most 2h of silence are allowed")


@pytest.mark.parametrize("limits", [{}, {"desk": "off"}])
async def test_who_is_off_is_not_listened_to(street: Street, limits: Any) -> None:
    """
    Nothing is counted, and nothing is written.
    """
    street.heart = Heartbeat(limits, ledger=street.ledger, clock=street.clock)
    await street.passes(3600, events=9)

    assert await street.ledger.pulses() == []


async def test_time_without_a_hub_is_no_silence(street: Street) -> None:
    """
    The hub was down all morning: it listens for a while before it tells.
    """
    await street.learn(2)
    await street.passes(300, events=1)
    await street.clock.advance(4 * 3600)
    street.heart = street.process()
    await street.passes(6600)
    assert await street.told() == []
    await street.passes(1800)

    assert len(await street.told()) == 1


async def test_two_processes_tell_once(street: Street) -> None:
    """
    What either hears counts for both.
    """
    await street.learn(2)
    other = street.process()
    await street.passes(300, events=1)
    for _ in range(12):
        await street.passes(300)
        other.beat("desk", WEBHOOK, 1)
        await other.look()
    assert await street.told() == []
    for _ in range(24):
        await street.passes(300)
        await other.look()

    assert len(await street.told()) == 1


async def test_what_could_not_be_kept_is_counted_later(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The ledger was away for a moment: no event is forgotten.
    """
    hour = street.clock.now_ms() // HOUR

    async def away(*_args: Any, **_kw: Any) -> None:
        street.heart.beat("desk", WEBHOOK, 2)  # while it was tried
        raise Unavailable("away")

    street.heart.beat("desk", WEBHOOK, 3)
    with monkeypatch.context() as patched, pytest.raises(Unavailable):
        patched.setattr(street.ledger, "beat", away)
        await street.heart.look()
    await street.heart.look()

    assert await street.ledger.beats("desk", WEBHOOK, 0) == {hour: 5}


async def test_people_are_told_by_log_and_webhook(street: Street, caplog: pytest.LogCaptureFixture) -> None:
    """
    Which source, since when, and what was to be expected.
    """
    await street.learn(2)
    await street.passes(300, events=1)
    await street.passes(7200)
    posted: list[Any] = []

    async def send(request: Any, **_how: Any) -> Response:
        posted.append(request)
        return Response(status=204)

    webhook = Webhook(url="https://ops.example/hook", secrets=lambda: ["s" * 32], http=SimpleNamespace(send=send))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        await Dispatch(street.ledger, street.clock, {SILENT: Alerts(street.clock, webhook).silent}).look()
    said = orjson.loads(posted[0].content)

    assert (said["type"], said["data"]["connection"]) == ("source.silent", "desk")
    assert said["data"]["text"].startswith("source desk/webhook is silent since 2026-01-19 09:05:00 UTC; about")
    assert said["data"]["text"] in [one.message for one in caplog.records]


def test_the_rate_is_the_median_of_the_same_hours() -> None:
    """
    Of four weeks at most, of those that are known, and no more than in the hours beside it; whole hours only.
    """
    week, now = 7 * 24, 1000
    counts = {now + beside - week * back: 40 for beside in (-1, 0, 1) for back in (1, 2)}
    counts |= {now - 5 * week: 900, now - 2 * week: 30, now - week: 3000}
    ago, hour = (now - 2 * week - 2) * HOUR, (now * HOUR - 1, (now + 1) * HOUR)

    assert usual(counts, ago, *hour) == 40.0
    assert usual(counts, 0, *hour) == 15.0  # quiet in two of the four weeks
    assert usual(counts, ago, now * HOUR, (now + 2) * HOUR - 1) == 0.0  # of the first something was heard
    assert usual(counts | {now + 1 - week: 0, now + 1 - 2 * week: 0}, ago, *hour) == 0.0
    assert usual(counts, (now - week + 1) * HOUR, *hour) is None


def test_a_changed_clock_is_no_silence() -> None:
    """
    An office opens at eight; after the clocks are changed that is an hour later for us, and nobody is told.
    """
    week, monday = 7 * 24, 100 * 7 * 24
    counts = {hour: 80 for hour in range(monday) if hour % week // 24 < 5 and 7 <= hour % 24 < 16}
    for day in range(5):
        opens = monday + day * 24 + 8
        missed = usual(counts, 0, (opens - 16) * HOUR, opens * HOUR + HOUR // 2)

        assert missed is not None and missed < heartbeat.MISSED
        counts |= {opens + hour: 80 for hour in range(9)}


def test_a_connection_says_otherwise() -> None:
    """
    `hub.silence` is for those that say nothing.
    """
    connections = {
        "a": {"connector": "x"},
        "b": {"connector": "x", "silence": "off"},
        "c": {"connector": "x", "silence": "2h"},
    }
    declared = {"version": 1, "connections": connections}

    assert limits_of(Declaration.model_validate(declared)) == {"a": "usual", "b": "off", "c": 7200.0}
    assert limits_of(Declaration.model_validate(declared | {"hub": {"silence": "1h"}}))["a"] == 3600.0
    assert Declaration.model_validate(declared).connections["c"].settings == {}
