"""
Polls in manifests: what a system does not deliver, or may not have delivered, is asked for from time to time.

A poll keeps a time and, where the system gives one, its own cursor. A system may show a change late, under an older
time than one that was read before: each reading by time therefore begins `overlap` seconds earlier, and the cursor
holds which states of records it has seen of that span. A system's own cursor that is not taken any more is replaced
by the time that was kept with it: nothing is skipped in silence.

Records are asked for in the order of their times, the oldest first. Where pages go by `token`, each page begins at the
newest time that was seen, and a token is used only within what cannot be told apart by time: a record that changes
while we read moves to the end and pushes others over the edge of a page, and no request finds more than a system's
limit. Where they come in another order, the time that is kept stays where it was until the end of the reading: one
that breaks off begins anew, and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field as Key
from pydantic import model_validator

from connectors.addresses import links
from connectors.budget import Budget, BudgetRule
from connectors.calling import answer
from connectors.contract import Call, Page
from connectors.formulas import Formula, Scope, Shape, needed, render, truth, value
from connectors.mapping import EventRule, events_of, unfit
from connectors.ordering import Order
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
    How changes are asked for. Formulas see `since`, `begun` (both with `iso`, `unix`, `unix_ms`, `ago_minutes`),
    `cursor`, `token` and `settings`.
    """

    description: Words
    when: Formula | None = None
    """Sees `settings`: whether this connection is polled at all."""
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
    """URL of the next page, null at the end; sees `links`, the targets of the Link header by their `rel`."""
    token: Formula | None = None
    """What the next page of the same request is asked for with, null at the end. It is not kept."""
    cursor: Formula | None = None
    """The system's own position behind this page: it is kept, and the next request is made with it."""
    more: Formula | None = None
    """With `cursor`: whether another page follows now."""
    whole: Formula | None = None
    """Whether all that belongs to an `item` came with it; that something is missing is told in the log."""
    every: Seconds = 60.0
    budget: BudgetRule | None = None
    """
    What its requests are limited to apart from all others: they do not make others wait. One with the name of
    another poll's is that one.
    """
    overlap: Annotated[float, Key(ge=0, le=86400)] = 120.0
    events: tuple[EventRule, ...] = Key(min_length=1)
    """They see `item`, with `each` the record it is of as `record`, and `known`: older changes of a record were read."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.cursor is None) != (self.more is None):
            raise ValueError("'cursor' and 'more' go together")
        if sum(way is not None for way in (self.cursor, self.next, self.token)) > 1:
            raise ValueError("a poll goes on by one of 'next', 'token' and 'cursor'")
        return self

    def wanted(self, settings: Mapping[str, Any]) -> bool:
        """
        Return whether a connection with *settings* is polled.
        """
        return self.when is None or truth(self.when, {"settings": settings})


Refusal = tuple[Event, str]
"""An event without data in place of what cannot be one, and why."""


@dataclass(slots=True, kw_only=True)
class Place:
    """
    How far a poll came.
    """

    begun: datetime
    """When it was read for the first time: what was there already is no event."""
    since: datetime
    """The newest change it knows."""
    known: datetime
    """The newest change at the end of the last reading that came to its end: every change until then was met."""
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
            known=datetime.fromisoformat(held["known"]),
            cursor=held["cursor"],
            seen=held["seen"],
        )

    def kept(self, overlap: float) -> bytes:
        """
        Return what to keep; states older than the overlap are not met again.
        """
        oldest = (self.since - timedelta(seconds=overlap)).isoformat()
        self.seen = dict([(state, time) for state, time in self.seen.items() if time >= oldest][-SEEN:])
        times = {"begun": self.begun, "since": self.since, "known": self.known}
        said = {name: time.isoformat() for name, time in times.items()}
        return orjson.dumps({**said, "cursor": self.cursor, "seen": self.seen})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """
    One request of a reading.
    """

    since: datetime
    token: Any = None
    url: str | None = None
    anew: bool = False
    """Whether it begins at a time again, and not behind the page before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """
    One poll of one connection.
    """

    name: str
    rule: PollRule
    settings: Mapping[str, Any]
    clock: Clock
    budget: Budget | None = None

    async def read(self, cursor: bytes | None, call: Call) -> AsyncIterator[Page]:
        """
        Yield what is new since *cursor*; without one, only that it begins now.
        """
        if cursor is None:
            now = utc(self.clock.now_ms())
            yield Page(cursor=Place(begun=now, since=now, known=now, cursor=None, seen={}).kept(self.rule.overlap))
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
        rule = self.rule
        turn: Turn | None = Turn(since=place.since - timedelta(seconds=rule.overlap))
        kept = place.kept(rule.overlap)
        order = Order(slack=timedelta(seconds=rule.overlap))
        began = newest = place.since
        for _ in range(PAGES):
            assert turn is not None
            body, links = await self._ask(place, turn, call)
            scope = {**self._scope(place, turn), "body": body, "links": links}
            events, refused, times = await self._events(scope, place)
            order.take(times)
            newest = max([newest, *times])
            if rule.cursor is not None and value(rule.cursor, scope):
                place.cursor = needed(rule.cursor, scope, "cursor")
            turn = self._next(turn, max(times) if times and order.holds else None, place, scope)
            place.since = newest if order.holds or turn is None else began
            if turn is None:
                place.known = place.since
            elif turn.anew:
                order.anew()
            now = place.kept(rule.overlap)
            if events or refused or now != kept:
                kept = now
                yield Page(events=tuple(events), refused=tuple(refused), cursor=kept)
            if turn is None:
                return
        raise Unavailable(f"the poll {self.name!r} found no end after {PAGES} pages")

    def _next(self, turn: Turn, reached: datetime | None, place: Place, scope: Scope) -> Turn | None:
        """
        Return what is asked for after *turn*, all until *reached* being met; None at the end.
        """
        rule = self.rule
        if rule.more is not None:
            return turn if truth(rule.more, scope) else None
        if rule.next is not None:
            url = value(rule.next, scope)
            return Turn(since=turn.since, url=url) if isinstance(url, str) and url else None
        token = value(rule.token, scope) if rule.token is not None else None
        if token is None or token == "":
            return None
        later = Turn(since=max(turn.since, reached or turn.since), anew=True)
        ahead = self._words(place, later) != self._words(place, Turn(since=turn.since))
        return later if ahead else Turn(since=turn.since, token=token)

    async def _ask(self, place: Place, turn: Turn, call: Call) -> tuple[Any, dict[str, str]]:
        rule = self.rule
        more: dict[str, Any] = {} if self.budget is None else {"budget": self.budget}
        if turn.url is not None:
            response = await call.send(rule.method, turn.url, **more)
        else:
            params, body = self._words(place, turn)
            if rule.method == "POST":
                more["json"] = body
            response = await call.send(rule.method, rule.path, params=params, **more)
        found = answer(response, f"{rule.method} {rule.path}", write=False)
        named = any("links" in way.roots for way in (rule.next, rule.token, rule.cursor, rule.more) if way is not None)
        return found, links(response.headers.get("link", "")) if named else {}

    def _words(self, place: Place, turn: Turn) -> tuple[dict[str, Any], Any]:
        scope = self._scope(place, turn)
        return params_of(self.rule.params, scope), render(self.rule.json_, scope)

    def _scope(self, place: Place, turn: Turn) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "since": spoken(turn.since, self.clock),
            "begun": spoken(place.begun, self.clock),
            "known": spoken(place.known - timedelta(seconds=self.rule.overlap), self.clock),
            "cursor": place.cursor,
            **({} if turn.token is None else {"token": turn.token}),  # what names it is left out without one
        }

    async def _events(self, scope: Scope, place: Place) -> tuple[list[Event], list[Refusal], list[datetime]]:
        """
        Return the events of a page, what of it can be none, and the times of its records. Others have their turn
        after each record.
        """
        items = value(self.rule.records, scope)
        if not isinstance(items, list):
            raise Unavailable(f"The answer to the poll {self.name!r} holds no list at {self.rule.records.text!r}.")
        now = utc(self.clock.now_ms())
        found: list[Event] = []
        refused: list[Refusal] = []
        times: list[datetime] = []
        for item in items:
            inner = {**scope, "item": item, "record": item}
            try:
                changed = moment_of(value(self.rule.time, inner))
                record = needed(self.rule.id, inner, "id")
                state = f"{record}/{needed(self.rule.version, inner, 'version')}"
            except (Rejected, ValueError, OverflowError) as error:
                log.error("poll %s: a record does not fit and gives no event: %s", self.name, error)  # noqa: TRY400  # a record's fault, not ours
                continue
            times.append(min(changed, now))  # a time to come would pass over what changes until then
            if state not in place.seen:
                place.seen[state] = changed.isoformat()
                found += self._events_of(record, state, inner, refused)
                await asyncio.sleep(0)
        return found, refused, times

    def _events_of(self, record: str, state: str, scope: Scope, refused: list[Refusal]) -> list[Event]:
        """
        Return the events of one record; each that does not fit is *refused*, and costs none of the others.
        """
        before = len(refused)

        def odd(error: Exception, rule: EventRule, seen: Scope) -> None:
            log.error("poll %s: an event of record %r does not fit and is not made: %s", self.name, record, error)
            number = f"{self.name}/{state}/{len(refused) - before}"  # the same in every page that holds the record
            event = unfit(rule, seen, number=number, subject=record, time=utc(self.clock.now_ms()))
            refused.append((event, f"the poll {self.name!r} gave what is none: {error}"))

        if self.rule.whole is not None and not truth(self.rule.whole, scope):
            log.warning("poll %s: the system shows a part of record %r only", self.name, record)
        return [event for rule in self.rule.events for event in events_of(rule, scope, odd)]


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


def spoken(time: datetime, clock: Clock) -> dict[str, Any]:
    """
    Return *time* in every form that systems ask for.
    """
    seconds = int(time.timestamp())
    ago = max(1, -(-(clock.now_ms() // 1000 - seconds) // 60))
    text = time.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    return {"iso": text, "unix": seconds, "unix_ms": int(time.timestamp() * 1000), "ago_minutes": ago}
