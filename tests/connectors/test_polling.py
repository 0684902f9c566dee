"""
Polls in manifests that read by time: overlap, ties, late changes, and what does not fit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from connectors.contract import Page
from connectors.polling import Place, Poll, PollRule, moment_of
from penstock.clock import ManualClock
from penstock.errors import NotFound, Rejected, Unavailable
from penstock.http import Response
from schemas.events import Event

RULE = {
    "description": "Things.",
    "path": "/things",
    "params": {"since": "since.iso", "page": "1"},
    "records": "body.things",
    "id": "item.id",
    "version": "item.changed",
    "time": "item.changed",
    "next": "body.next",
    "overlap": 60,
    "events": [
        {
            "types": {"thing.updated": "A thing changed."},
            "when": "item.id != 'ignored'",
            "type": "'thing.updated'",
            "id": "item.id ~ '/' ~ item.changed",
            "source": "settings.url",
            "subject": "item.id",
            "time": "item.changed",
            "data": {"name": {"description": "Name.", "value": "item.name", "optional": True}},
        }
    ],
}
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class System:
    """
    Things with times, listed from a time on, three to a page; the call that asks for them.
    """

    things: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    deadline: float = 1e9
    key: str = "k"
    slot: str = ""

    def change(self, thing: str, seconds: float, **more: Any) -> None:
        time = (NOON + timedelta(seconds=seconds)).isoformat()
        self.things.append({"id": thing, "changed": time, "name": thing, **more})

    async def send(self, method: str, url: str, **words: Any) -> Response:
        self.asked.append(f"{method} {url}")
        since, start = (words.get("params") or {}).get("since"), 0
        if since is None:
            since, start = url.rpartition("?")[2].partition("&")[0], int(url.rpartition("=")[2])
        found = [one for one in self.things if datetime.fromisoformat(one["changed"]) >= datetime.fromisoformat(since)]
        found.sort(key=lambda one: (one["changed"], one["id"]))
        following = f"/things?{since}&start={start + 3}" if len(found) > start + 3 else None
        return Response(status=200, body=orjson.dumps({"things": found[start : start + 3], "next": following}))

    def fence(self) -> None:
        """Nothing is led."""


def poll(clock: ManualClock, **changes: Any) -> Poll:
    rule = PollRule.model_validate({**RULE, **changes})
    return Poll(name="things", rule=rule, settings={"url": "https://x.example"}, clock=clock)


async def read(source: Poll, cursor: bytes | None, system: System, pages: int = 1_000) -> tuple[list[str], bytes]:
    found: list[str] = []
    reading: AsyncIterator[Page] = source.read(cursor, system)  # type: ignore[arg-type]
    async with contextlib.aclosing(reading) as some:  # type: ignore[type-var]
        async for page in some:
            found += [event.id for event in page.events]
            cursor = page.cursor or cursor
            pages -= 1
            if not pages:
                break
    assert cursor is not None
    return found, cursor


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


async def test_new_and_changed_things(clock: ManualClock) -> None:
    """Each state once, over readings and pages; two states of one second's thing are two."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    for number in range(7):
        system.change(f"t{number}", number / 10)
    system.change("t0", 0.9)
    found, cursor = await read(source, cursor, system)
    again, _ = await read(source, cursor, system)

    assert len(found) == len(set(found)) == 8
    assert again == []


async def test_a_late_change_inside_the_overlap(clock: ManualClock) -> None:
    """A change that shows under an older time is found; one older than the overlap is not."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    await clock.advance(60)
    system.change("early", 50)
    _, cursor = await read(source, cursor, system)
    system.change("late", 10)
    found, cursor = await read(source, cursor, system)
    system.change("too-late", -11)
    lost, _ = await read(source, cursor, system)

    assert [name.partition("/")[0] for name in found] == ["late"]
    assert lost == []


async def test_ties_across_the_edge_of_a_page(clock: ManualClock) -> None:
    """Fifty things of one moment, three to a page, read from the cursor of every page."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    for number in range(50):
        system.change(f"t{number:02}", 5)
    seen: set[str] = set()
    for _ in range(60):
        found, cursor = await read(source, cursor, system, pages=1)
        seen |= set(found)

    assert len(seen) == 50


async def test_what_does_not_fit_stops_nothing(clock: ManualClock) -> None:
    """A record without a time, or with a wrong field, gives no event; the others go on."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    system.change("wrong", 1, name=5)
    system.change("ignored", 2)
    system.change("right", 3)
    found, _ = await read(source, cursor, system)

    assert [name.partition("/")[0] for name in found] == ["right"]


async def test_one_odd_part_costs_no_other(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """Each rule and each part of a record is tried by itself; what does not fit is told once, with its record."""
    notes = {
        **RULE["events"][0],  # type: ignore[index]
        "each": "record.notes",
        "when": "item.at != ''",
        "id": "record.id ~ '/' ~ item.at",
        "subject": "record.id",
        "time": "record.changed",
        "data": {"name": {"description": "Name.", "value": "item.name"}},
    }
    system, source = System(), poll(clock, events=[notes, *RULE["events"]])  # type: ignore[misc]
    _, cursor = await read(source, None, system)
    system.change("a", 1, notes=[{"at": "n1", "name": "x"}, {"at": "n2", "name": 5}, {"at": "n3", "name": "z"}])
    found, cursor = await read(source, cursor, system)
    await read(source, cursor, system)

    assert ["a/n1", "a/n3"] == found[:2]
    assert 3 == len(found)
    assert ["'a'"] == [entry.getMessage().split()[6] for entry in caplog.records if "does not fit" in entry.message]


async def test_what_does_not_fit_is_refused_where_people_see_it(clock: ManualClock) -> None:
    """It travels as an event without data, of its own type and record, and under an id of its own; and once."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    system.change("wrong", 1, name=5)
    system.change("right", 2)
    refused: list[tuple[Event, str]] = []
    first = cursor
    for _ in range(2):
        async for page in source.read(cursor, system):  # type: ignore[arg-type]
            refused += page.refused
            cursor = page.cursor or cursor

    ((event, why),) = refused
    system.change("another", 0, name=7)
    again = [one async for page in source.read(first, system) for one, _ in page.refused]  # type: ignore[arg-type]
    assert event.id in {one.id for one in again}, "after a crash the same page gives the same dead letter"
    assert len({one.id for one in again}) == 2
    assert (event.type, event.subject, event.data) == ("thing.updated", "wrong", {})
    assert event.id.startswith("odd/")
    assert "the poll 'things' gave what is none" in why


async def test_what_comes_in_part_is_told(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """A system that shows a part of a record only loses nothing in silence."""
    system, source = System(), poll(clock, whole="item.total == 1")
    _, cursor = await read(source, None, system)
    system.change("whole", 1, total=1)
    system.change("part", 2, total=2)
    found, _ = await read(source, cursor, system)

    assert 2 == len(found)
    assert ["poll things: the system shows a part of record 'part' only"] == [one.message for one in caplog.records]


async def test_a_page_leaves_others_their_turn(clock: ManualClock) -> None:
    """Between two records others go on; a state that was met already is not worked out again."""
    system, source = System(), poll(clock, next=None)
    _, cursor = await read(source, None, system)
    turns: list[int] = []

    async def others() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    for number in range(3):
        system.change(f"t{number}", number)
    going = asyncio.create_task(others())
    found, cursor = await read(source, cursor, system)
    between = len(turns)
    again, _ = await read(source, cursor, system)
    going.cancel()

    assert (3, 0) == (len(found), len(again))
    assert 3 <= between
    assert len(turns) - between < 3


async def test_the_cursor_stays_small(clock: ManualClock) -> None:
    """States older than the overlap are forgotten."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    await clock.advance(3600)
    for number in range(300):
        system.change(f"t{number}", number * 10)
    _, cursor = await read(source, cursor, system)

    assert len(Place.read(cursor).seen) <= 7


async def test_an_answer_that_is_none(clock: ManualClock) -> None:
    """A body without the list is `Unavailable`: nothing is passed."""
    system, source = System(), poll(clock, records="body.nothing")
    _, cursor = await read(source, None, system)
    with pytest.raises(Unavailable):
        await read(source, cursor, system)


async def test_a_time_to_come(clock: ManualClock) -> None:
    """A record that claims to be of next year does not pass over what changes until then."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    system.change("wrong", 365 * 86400)
    _, cursor = await read(source, cursor, system)
    await clock.advance(300)
    system.change("right", 290)
    found, _ = await read(source, cursor, system)

    assert "right" in [name.partition("/")[0] for name in found]


async def test_what_gives_no_event_moves_the_cursor(clock: ManualClock) -> None:
    """A system full of changes nobody wants is not read anew from the beginning every time."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    await clock.advance(600)
    system.change("ignored", 500)
    found, after = await read(source, cursor, system)

    assert found == []
    assert Place.read(after).since == NOON + timedelta(seconds=500)


async def test_a_poll_that_is_not_wanted() -> None:
    """`when` sees the settings."""
    rule = PollRule.model_validate({**RULE, "when": "settings.catch_up != 'off'"})

    assert [True, False] == [rule.wanted({"catch_up": word}) for word in ("on", "off")]


# ---- by token: pages of a request that cannot be told apart by time -----------------------------


class Numbered(System):
    """
    Three to a page; a token is the number of the first, as systems count that have only an offset.
    """

    most = 9
    """Results one request can have in all."""

    async def send(self, method: str, url: str, **words: Any) -> Response:
        params = words["params"]
        self.asked.append(f"{params['since']} {params.get('after', 0)}")
        start = int(params.get("after", 0))
        if start >= self.most:
            raise Rejected("400: too many")
        since = datetime.fromisoformat(params["since"])
        found = [one for one in self.things if datetime.fromisoformat(one["changed"]) >= since]
        found.sort(key=lambda one: (one["changed"], one["id"]))
        after = str(start + 3) if len(found) > start + 3 else None
        return Response(status=200, body=orjson.dumps({"things": found[start : start + 3], "after": after}))


BY_TOKEN = {"next": None, "token": "body.after", "params": {"since": "since.iso", "after": "token"}}


async def test_pages_by_token(clock: ManualClock) -> None:
    """A hundred changes behind a system that shows nine per request, each once."""
    system, source = Numbered(), poll(clock, **BY_TOKEN)
    _, cursor = await read(source, None, system)
    await clock.advance(3600)
    for number in range(100):
        system.change(f"t{number:03}", number * 10)
    found, cursor = await read(source, cursor, system)
    again, _ = await read(source, cursor, system)

    assert len(found) == len(set(found)) == 100
    assert again == []


async def test_a_late_change_behind_pages_that_were_seen(clock: ManualClock) -> None:
    """The overlap is read as pages too, up to its end."""
    system, source = Numbered(), poll(clock, **BY_TOKEN)
    _, cursor = await read(source, None, system)
    await clock.advance(60)
    for number in range(8):
        system.change(f"t{number}", 2 * number)
    _, cursor = await read(source, cursor, system)
    system.change("late", 11)
    found, _ = await read(source, cursor, system)

    assert [name.partition("/")[0] for name in found] == ["late"]


async def test_ties_by_token(clock: ManualClock) -> None:
    """What is of one moment is paged through by token, as time cannot tell it apart."""
    system, source = Numbered(), poll(clock, **BY_TOKEN)
    _, cursor = await read(source, None, system)
    await clock.advance(60)
    for number in range(8):
        system.change(f"t{number}", 5)
    system.change("last", 30)
    found, _ = await read(source, cursor, system)

    assert len(found) == len(set(found)) == 9


async def test_a_record_that_moves_while_we_read(clock: ManualClock) -> None:
    """One that changes between two pages pushes another over their edge: it is found all the same."""
    system, source = Numbered(), poll(clock, **BY_TOKEN, overlap=0)
    _, cursor = await read(source, None, system)
    await clock.advance(3600)
    for number in range(6):
        system.change(f"t{number}", number * 100)
    send = system.send

    async def moving(method: str, url: str, **words: Any) -> Response:
        response = await send(method, url, **words)
        if len(system.asked) == 1:
            system.things[0]["changed"] = (NOON + timedelta(seconds=900)).isoformat()
        return response

    system.send = moving  # type: ignore[method-assign]
    found, _ = await read(source, cursor, system)

    assert {name.partition("/")[0] for name in found} == {f"t{number}" for number in range(6)}


async def test_more_of_one_moment_than_a_system_shows(clock: ManualClock) -> None:
    """It cannot be read, and the reading says so instead of passing over it."""
    system, source = Numbered(), poll(clock, **BY_TOKEN)
    _, cursor = await read(source, None, system)
    await clock.advance(60)
    for number in range(20):
        system.change(f"t{number:02}", 5)
    with pytest.raises(Rejected):
        await read(source, cursor, system)


# ---- in another order ------------------------------------------------------------------------------


def backwards(system: System, *, by: str, page: int) -> list[Exception]:
    """Let *system* list its newest things first; return what to raise at later pages, one for each."""
    breaks: list[Exception] = []

    async def send(method: str, url: str, **words: Any) -> Response:
        params = words.get("params") or {}
        since, start = params.get("since"), int(params.get("after", 0))
        if since is None:
            since, start = url.rpartition("?")[2].partition("&")[0], int(url.rpartition("=")[2])
        if start and breaks:
            raise breaks.pop()
        found = [
            one for one in system.things if datetime.fromisoformat(one["changed"]) >= datetime.fromisoformat(since)
        ]
        found.sort(key=lambda one: one["changed"], reverse=True)
        following = (f"/things?{since}&start=" if by == "next" else "") + str(start + page)
        more = {by: following if len(found) > start + page else None}
        return Response(status=200, body=orjson.dumps({"things": found[start : start + page], **more}))

    system.send = send  # type: ignore[method-assign]
    return breaks


@pytest.mark.parametrize("page", [1, 3])
@pytest.mark.parametrize("by", ["next", "after"])
async def test_the_newest_come_first(clock: ManualClock, by: str, page: int) -> None:
    """A reading that breaks off begins anew where it began: the pages it did not reach are not passed over."""
    system, source = System(), poll(clock, **(BY_TOKEN if by == "after" else {}))
    breaks = backwards(system, by=by, page=page)
    _, cursor = await read(source, None, system)
    await clock.advance(36_000)
    for number in range(10):
        system.change(f"t{number}", number * 1000)
    breaks += [Unavailable("502"), Unavailable("502")]
    met: set[str] = set()
    for _ in range(3):
        reading: Any = source.read(cursor, system)  # type: ignore[arg-type]
        with contextlib.suppress(Unavailable):
            async for one in reading:
                met |= {event.subject for event in one.events}
                cursor = one.cursor or cursor
    again, _ = await read(source, cursor, system)

    assert {f"t{number}" for number in range(10)} == met
    assert [] == again


async def test_nearly_in_order(clock: ManualClock) -> None:
    """Some seconds of disorder change nothing: each page still begins where the last one ended."""
    system, source = Numbered(), poll(clock, **BY_TOKEN)
    _, cursor = await read(source, None, system)
    await clock.advance(3600)
    for number in range(60):
        system.change(f"t{number:03}", number * 10)
    send = system.send

    async def swapped(method: str, url: str, **words: Any) -> Response:
        found = (await send(method, url, **words)).json()
        found["things"][:2] = found["things"][1::-1]
        return Response(status=200, body=orjson.dumps(found))

    system.send = swapped  # type: ignore[method-assign]
    found, _ = await read(source, cursor, system)

    assert 60 == len(found) == len(set(found))


async def test_several_events_of_one_record(clock: ManualClock) -> None:
    """`each` gives them; the record they are of stays at hand."""
    rule = {
        **RULE["events"][0],  # type: ignore[index]
        "each": "record.notes",
        "when": "item.at != 'old'",
        "id": "record.id ~ '/' ~ item.at",
        "subject": "record.id",
        "time": "record.changed",
        "data": {"name": {"description": "Name.", "value": "record.name"}},
    }
    system, source = System(), poll(clock, events=[rule])
    _, cursor = await read(source, None, system)
    system.change("a", 1, notes=[{"at": "old"}, {"at": "n1"}, {"at": "n2"}])
    found, _ = await read(source, cursor, system)

    assert found == ["a/n1", "a/n2"]


async def test_older_changes_of_a_record_that_is_met_late(clock: ManualClock) -> None:
    """
    A record that changed twice shows only under its last time: its first change is not lost by a reading that broke
    off in between; once a reading came to its end, only what is within the overlap is told again.
    """
    rule = {
        **RULE["events"][0],  # type: ignore[index]
        "each": "record.notes",
        "when": "(item | unix_ms) >= known.unix_ms",
        "id": "record.id ~ '/' ~ item",
        "subject": "record.id",
        "time": "item",
        "data": {},
    }
    system, source = System(), poll(clock, events=[rule], overlap=10)
    _, cursor = await read(source, None, system)
    await clock.advance(7200)
    early, late = [(NOON + timedelta(seconds=seconds)).isoformat() for seconds in (30, 3000)]
    for number in range(3):
        system.change(f"t{number}", 1000 + number, notes=[])
    system.change("twice", 3000, notes=[early, late])
    _, cursor = await read(source, cursor, system, pages=1)
    found, cursor = await read(source, cursor, system)
    last = (NOON + timedelta(seconds=4000)).isoformat()
    system.things[-1] |= {"changed": last, "notes": [early, late, last]}
    after, _ = await read(source, cursor, system)

    assert found == [f"twice/{early}", f"twice/{late}"]
    assert after == [f"twice/{late}", f"twice/{last}"]


async def test_links_nobody_asked_for(clock: ManualClock) -> None:
    """A Link header is not looked at where pages do not go by it, however long it is."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
    send = system.send

    async def linked(method: str, url: str, **words: Any) -> Response:
        found = await send(method, url, **words)
        return Response(status=200, headers={"link": "<>;" * 100_000}, body=found.body)

    system.send = linked  # type: ignore[method-assign]
    system.change("a", 1)
    found, _ = await read(source, cursor, system)

    assert 1 == len(found)


async def test_links_in_the_header(clock: ManualClock) -> None:
    """A next page may stand in the Link header."""
    system, source = System(), poll(clock, next="links.next")
    _, cursor = await read(source, None, system)
    send = system.send

    async def linked(method: str, url: str, **words: Any) -> Response:
        response = await send(method, url, **words)
        body = orjson.loads(response.body)
        headers = {"link": f'<{body["next"]}>; rel="next"'} if body["next"] else {}
        return Response(status=200, headers=headers, body=response.body)

    system.send = linked  # type: ignore[method-assign]
    for number in range(8):
        system.change(f"t{number}", 0.1 * number)
    found, _ = await read(source, cursor, system)

    assert len(found) == 8


@pytest.mark.parametrize("error", [Rejected("400"), NotFound("410")])
async def test_a_lost_position(clock: ManualClock, error: Exception) -> None:
    """The system's own cursor is replaced by the time; without one the error is told."""
    system = System()
    by_cursor = {"cursor": "body.things[-1].id", "more": "body.next is not none", "next": None}
    source = poll(clock, **by_cursor)
    _, cursor = await read(source, None, system)
    system.change("a", 1)
    _, cursor = await read(source, cursor, system)
    assert Place.read(cursor).cursor == "a"
    system.change("b", 2)
    send, trouble = system.send, [error]

    async def refusing(method: str, url: str, **words: Any) -> Response:
        if trouble:
            raise trouble.pop()
        return await send(method, url, **words)

    system.send = refusing  # type: ignore[method-assign]
    found, cursor = await read(source, cursor, system)
    trouble.append(error)
    plain = Place.read(cursor)
    plain.cursor = None
    with pytest.raises(type(error)):
        await read(source, plain.kept(60), system)

    assert [name.partition("/")[0] for name in found] == ["b"]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("2026-01-05T12:00:00Z", 0),
        ("2026-01-05T13:00:00+01:00", 0),
        (1767614400, 0),
        ("1767614400", 0),
        (1767614401500, 1.5),
    ],
)
def test_times(said: Any, seconds: float) -> None:
    """Text with and without a zone, seconds and milliseconds."""
    assert moment_of(said) == NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize("said", [None, "soon", {}])
def test_what_is_no_time(said: Any) -> None:
    """It is a `ValueError`."""
    with pytest.raises(ValueError, match=r"."):
        moment_of(said)


@pytest.mark.parametrize(
    "wrong",
    [{"cursor": "body.x"}, {"more": "true"}, {"cursor": "body.x", "more": "true"}, {"token": "body.x"}, {"events": []}],
)
def test_mistakes(wrong: dict[str, Any]) -> None:
    """A poll goes on in one way."""
    with pytest.raises(ValidationError):
        PollRule.model_validate({**RULE, **wrong})
