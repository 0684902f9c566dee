"""
Beats: what sources send by the hour, and since when somebody listens in vain.
"""

from __future__ import annotations

import orjson

from ledger.beats import HOUR, SILENT, Beat

NAMES = {("desk", "webhook"), ("desk", "catch-up")}


def heard(events, at, source="webhook"):
    return Beat(connection="desk", source=source, events=events, at=at)


async def test_events_are_counted_by_the_hour(book, site):
    """Each source has its own hours; the counts of several processes come together."""
    now = site.clock.now_ms()
    await book.beat([heard(3, now), heard(1, now, "catch-up")], watched=NAMES, gap=600)
    await book.beat([heard(2, now + 1000)], watched=NAMES, gap=600)
    await site.clock.advance(3600)
    await book.beat([heard(5, now + HOUR)], watched=NAMES, gap=600)
    hour = now // HOUR

    assert await book.beats("desk", "webhook", 0) == {hour: 5, hour + 1: 5}
    assert await book.beats("desk", "webhook", hour + 1) == {hour + 1: 5}
    assert await book.beats("desk", "catch-up", 0) == {hour: 1}


async def test_a_pulse_says_since_when_it_is_quiet(book, site):
    """Since its last event; one that was read without any is known, and quiet since then."""
    begin = site.clock.now_ms()
    await book.beat([heard(1, begin), heard(0, 0, "catch-up")], watched=NAMES, gap=600)
    await site.clock.advance(60)
    await book.beat([heard(2, begin + 50_000), heard(0, 0, "catch-up")], watched=NAMES, gap=600)
    await book.beat([heard(1, begin + 40_000)], watched=NAMES, gap=600)  # another process, a little late
    catch_up, webhook = await book.pulses()

    assert (catch_up.source, catch_up.last_at, catch_up.quiet_from) == ("catch-up", None, begin)
    assert (webhook.last_at, webhook.quiet_from, webhook.first_at) == (begin + 50_000, begin + 50_000, begin)
    assert webhook.watched_at == catch_up.watched_at == begin + 60_000


async def test_time_in_which_nobody_listened_is_no_silence(book, site):
    """The hub was down for a day: what is quiet begins to be so now."""
    begin = site.clock.now_ms()
    await book.beat([heard(1, begin)], watched=NAMES, gap=600)
    await site.clock.advance(86_400)
    await book.beat([], watched=NAMES, gap=600)
    (pulse,) = await book.pulses()

    assert (pulse.last_at, pulse.quiet_from) == (begin, begin + 86_400_000)


async def test_people_are_told_once_until_it_is_heard_again(book, site):
    """By whichever process sees it first; an event in between makes it no silence."""
    begin = site.clock.now_ms()
    await book.beat([heard(1, begin)], watched=NAMES, gap=600)
    (old,) = await book.pulses()
    await book.beat([heard(1, begin + 1)], watched=NAMES, gap=600)
    (pulse,) = await book.pulses()
    told = [await book.fall_silent(one, {"usual": "9"}) for one in (old, pulse, pulse)]
    (parcel,) = await book.take_parcels([SILENT], 9, hold=1.0)
    (silent,) = await book.pulses()
    await site.clock.advance(5)
    await book.beat([heard(1, begin + 5_000)], watched=NAMES, gap=600)
    (again,) = await book.pulses()

    assert told == [False, True, False]
    assert orjson.loads(parcel.body) == {"usual": "9", "connection": "desk", "source": "webhook", "at": begin}
    assert (silent.silent_at, again.silent_at) == (begin, None)
    assert await book.fall_silent(again, {})


async def test_only_what_is_watched_is_listened_to(book, site):
    """A source another hub had, or this one before, is as it was left."""
    begin = site.clock.now_ms()
    await book.beat([heard(1, begin), heard(1, begin, "gone")], watched=NAMES, gap=600)
    await site.clock.advance(60)
    await book.beat([], watched=NAMES, gap=600)
    watched = {pulse.source: pulse.watched_at - begin for pulse in await book.pulses()}

    assert watched == {"webhook": 60_000, "gone": 0}


async def test_what_nobody_learns_from_is_forgotten(book, site):
    """After four weeks, whatever the details are kept for."""
    now = site.clock.now_ms()
    await book.beat([heard(1, now)], watched=NAMES, gap=600)
    await site.clock.advance(27 * 86_400)
    await book.prune()
    assert await book.beats("desk", "webhook", 0) != {}
    await site.clock.advance(2 * 86_400)
    await book.prune()

    assert await book.beats("desk", "webhook", 0) == {}
    assert await book.pulses() == []
