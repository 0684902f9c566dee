"""
Polls in manifests that read by time: overlap, ties, late changes, and what does not fit.
"""

from __future__ import annotations

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


async def test_the_cursor_stays_small(clock: ManualClock) -> None:
    """States older than the overlap are forgotten."""
    system, source = System(), poll(clock)
    _, cursor = await read(source, None, system)
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
    "wrong", [{"cursor": "body.x"}, {"more": "true"}, {"cursor": "body.x", "more": "true"}, {"events": []}]
)
def test_mistakes(wrong: dict[str, Any]) -> None:
    """A poll goes on in one way."""
    with pytest.raises(ValidationError):
        PollRule.model_validate({**RULE, **wrong})
