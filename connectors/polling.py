"""
Polls in manifests: what a system does not deliver, or may not have delivered, is asked for from time to time.

A poll keeps a time and, where the system gives one, its own cursor. A system may show a change late, under an older
time than one that was read before: each reading by time therefore begins `overlap` seconds earlier, and the cursor
holds which states of records it has seen of that span. A system's own cursor that is not taken any more is replaced
by the time that was kept with it: nothing is skipped in silence.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field as Key
from pydantic import model_validator

from connectors.calling import answer
from connectors.contract import Call, Page
from connectors.formulas import Formula, Scope, Shape, needed, render, truth, value
from connectors.mapping import EventRule, events_of
from connectors.part import Part, Path, Seconds, Words
from connectors.reading import params_of
from penstock.clock import Clock, utc
from penstock.errors import NotFound, Rejected, Unavailable
from schemas.events import Event

log = logging.getLogger(__name__)

PAGES = 10_000  # of one reading
SEEN = 20_000  # states that a cursor remembers; what it forgets comes twice, and is recognised
NEWEST_SECONDS = 100_000_000_000  # a larger number is milliseconds since 1970


class PollRule(Part):
    """
    How changes are asked for. Formulas see `since`, `begun` (both with `iso`, `unix`, `unix_ms`, `ago_minutes`), `cursor`.
    """

    description: Words
    method: Literal["GET", "POST"] = "GET"
    path: Path
    params: Mapping[str, Formula] = Key(default_factory=dict)
    json_: Shape = Key(default=None, alias="json")
    records: Formula
    """The list in `body`."""
    id: Formula
    """What tells one `item` from another."""
    version: Formula
    """What is another one after each change of an `item`."""
    time: Formula
    """When an `item` changed: ISO 8601, or a number of seconds or milliseconds since 1970."""
    next: Formula | None = None
    """URL of the next page, null at the end."""
    cursor: Formula | None = None
    """The system's own position behind this page: it is kept, and the next request is made with it."""
    more: Formula | None = None
    """With `cursor`: whether another page follows now."""
    every: Seconds = 60.0
    overlap: Annotated[float, Key(ge=0, le=86400)] = 120.0
    events: tuple[EventRule, ...] = Key(min_length=1)
    """They see `item` too."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.cursor is None) != (self.more is None):
            raise ValueError("'cursor' and 'more' go together")
        if self.cursor is not None and self.next is not None:
            raise ValueError("a poll goes on by 'next' or by 'cursor', not by both")
        return self


@dataclass(slots=True, kw_only=True)
class Place:
    """
    How far a poll came.
    """

    begun: datetime
    """When it was read for the first time: what was there already is no event."""
    since: datetime
    """The newest change it knows."""
    cursor: str | None
    seen: dict[str, str]
    """States of records of the overlap, with their times."""

    @classmethod
    def read(cls, cursor: bytes) -> Place:
        """
        Return what was kept.
        """
        held = orjson.loads(cursor)
        return cls(
            begun=datetime.fromisoformat(held["begun"]),
            since=datetime.fromisoformat(held["since"]),
            cursor=held["cursor"],
            seen=held["seen"],
        )

    def kept(self, overlap: float) -> bytes:
        """
        Return what to keep; states older than the overlap are not met again.
        """
        oldest = (self.since - timedelta(seconds=overlap)).isoformat()
        self.seen = dict([(state, time) for state, time in self.seen.items() if time >= oldest][-SEEN:])
        times = {"begun": self.begun.isoformat(), "since": self.since.isoformat()}
        return orjson.dumps({**times, "cursor": self.cursor, "seen": self.seen})


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """
    One poll of one connection.
    """

    name: str
    rule: PollRule
    settings: Mapping[str, Any]
    clock: Clock

    async def read(self, cursor: bytes | None, call: Call) -> AsyncIterator[Page]:
        """
        Yield what is new since *cursor*; without one, only that it begins now.
        """
        if cursor is None:
            now = utc(self.clock.now_ms())
            yield Page(cursor=Place(begun=now, since=now, cursor=None, seen={}).kept(self.rule.overlap))
            return
        place = Place.read(cursor)
        try:
            async for page in self._pages(place, call):
                yield page
        except (Rejected, NotFound) as error:
            if place.cursor is None:
                raise
            log.warning("poll %s: its cursor is not taken any more (%s); it reads by time again", self.name, error)
            place.cursor = None
            async for page in self._pages(place, call):
                yield page

    async def _pages(self, place: Place, call: Call) -> AsyncIterator[Page]:
        rule, url = self.rule, None
        since = place.since
        for _ in range(PAGES):
            body = await self._ask(place, since, url, call)
            scope = {"body": body, "settings": self.settings, "begun": _moment(place.begun, self.clock)}
            events = self._events(scope, place)
            if rule.cursor is not None:
                place.cursor = needed(rule.cursor, scope, "cursor") if value(rule.cursor, scope) else place.cursor
            url = value(rule.next, scope) if rule.next is not None else None
            more = truth(rule.more, scope) if rule.more is not None else bool(url)
            if events or rule.cursor is not None:
                yield Page(events=tuple(events), cursor=place.kept(rule.overlap))
            if not more:
                return
        raise Unavailable(f"the poll {self.name!r} found no end after {PAGES} pages")

    async def _ask(self, place: Place, since: datetime, url: Any, call: Call) -> Any:
        rule = self.rule
        early = since - timedelta(seconds=rule.overlap)
        scope: Scope = {
            "settings": self.settings,
            "since": _moment(early, self.clock),
            "begun": _moment(place.begun, self.clock),
            "cursor": place.cursor,
        }
        what = f"{rule.method} {rule.path}"
        if isinstance(url, str) and url:
            response = await call.send(rule.method, url)
        elif rule.method == "GET":
            response = await call.send("GET", rule.path, params=params_of(rule.params, scope))
        else:
            body = render(rule.json_, scope)
            response = await call.send("POST", rule.path, params=params_of(rule.params, scope), json=body)
        return answer(response, what, write=False)

    def _events(self, scope: Scope, place: Place) -> list[Event]:
        items = value(self.rule.records, scope)
        if not isinstance(items, list):
            raise Unavailable(f"The answer to the poll {self.name!r} holds no list at {self.rule.records.text!r}.")
        found: list[Event] = []
        for item in items:
            inner = {**scope, "item": item}
            try:
                changed = moment_of(value(self.rule.time, inner))
                state = f"{needed(self.rule.id, inner, 'id')}/{needed(self.rule.version, inner, 'version')}"
                fresh = [event for rule in self.rule.events for event in events_of(rule, inner)]
            except (Rejected, ValueError) as error:
                log.error("poll %s: a record does not fit and gives no event: %s", self.name, error)  # noqa: TRY400  # a record's fault, not ours
                continue
            place.since = max(place.since, changed)
            if state not in place.seen:
                place.seen[state] = changed.isoformat()
                found += fresh
        return found


def moment_of(said: Any) -> datetime:
    """
    Return the time a system wrote; raises `ValueError`.
    """
    if isinstance(said, str) and not said.isdecimal():
        found = datetime.fromisoformat(said)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    try:
        number = float(said)
    except TypeError:
        raise ValueError(f"{said!r} is no time") from None
    return datetime.fromtimestamp(number / 1000 if abs(number) > NEWEST_SECONDS else number, UTC)


def _moment(time: datetime, clock: Clock) -> dict[str, Any]:
    """
    Return *time* in every form that systems ask for.
    """
    seconds = int(time.timestamp())
    ago = max(1, -(-(clock.now_ms() // 1000 - seconds) // 60))
    text = time.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return {"iso": text, "unix": seconds, "unix_ms": int(time.timestamp() * 1000), "ago_minutes": ago}
