"""
From a system's words to ours: signed bodies become events.

Ids are made of the change alone. Nothing here sees a header: what is not signed cannot name an event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Self

import orjson
from pydantic import Field as Key
from pydantic import model_validator

from connectors.fields import Field, take_all
from connectors.formulas import Formula, Scope, needed, truth, value
from connectors.part import EventType, Identifier, Part, Words
from penstock.errors import Rejected
from schemas.events import Event


class ReplySpec(Part):
    """
    What to answer to a handshake.
    """

    status: Annotated[int, Key(ge=200, le=299)] = 200
    content_type: str = "text/plain; charset=utf-8"
    text: Formula


class Handshake(Part):
    """
    A delivery that is about the webhook itself.
    """

    when: Formula
    reply: ReplySpec | None = None
    ignore: Words | None = None
    """Why it carries no event."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.reply is None) == (self.ignore is None):
            raise ValueError("a handshake has either 'reply' or 'ignore'")
        return self


class HashedId(Part):
    """
    An id made of a readable part and the hash of the change.
    """

    of: Formula
    once: Formula | None = None
    """When it holds, `of` alone is the id: such a change happens once to a record."""
    hash: Mapping[str, Formula] = Key(min_length=1)


MOST = 512  # characters of what is told of an event that does not fit


class LeftOut(Part):
    """
    Changes that are no events here, and why.
    """

    when: Formula
    why: Words


class EventRule(Part):
    """
    How a part of a signed body becomes an event.
    """

    types: Mapping[EventType, Words] = Key(min_length=1)
    """Every type it can give, with what it means."""
    when: Formula
    each: Formula | None = None
    """A list in the body: one event per `item`."""
    unless: LeftOut | None = None
    """Looked at where `when` holds."""
    let: Mapping[Identifier, Formula] = Key(default_factory=dict)
    """Names for what several of the formulas below need, worked out where `when` holds."""
    type: Formula
    id: Formula | HashedId
    source: Formula
    subject: Formula
    time: Formula
    actor: Formula | None = None
    partitionkey: Formula | None = None
    data: Mapping[Identifier, Field]


Odd = Callable[[Exception, EventRule, Scope], None]
"""Is told what does not fit, with the rule and what its formulas saw."""


def events_of(rule: EventRule, scope: Scope, odd: Odd | None = None) -> Iterator[Event]:
    """
    Yield the events *rule* finds in `scope["body"]`.

    One that does not fit is told to *odd*, and the others go on; without it `Rejected` is raised.
    """
    for inner in _found(rule, scope):
        if rule.unless is not None and truth(rule.unless.when, inner):
            continue
        try:
            found = [*_event(rule, {**inner, **{name: value(formula, inner) for name, formula in rule.let.items()}})]
        except (Rejected, ValueError, OverflowError) as error:
            if odd is None:
                raise
            odd(error, rule, inner)
        else:
            yield from found


def unfit(rule: EventRule, scope: Scope, *, number: str, subject: str, time: datetime) -> Event:
    """
    Return what does not fit as an event without data, of the type it would have, as far as that can be told.

    Its id is made of *number*: that of the event itself stays free for when it fits.
    """

    def told(formula: Formula, otherwise: str) -> str:
        try:
            return needed(formula, scope, "it")[:MOST]
        except (Rejected, ValueError, OverflowError):
            return otherwise

    kind = told(rule.type, "")
    return Event(
        id=f"odd/{hashlib.sha256(number.encode(errors='replace')).hexdigest()[:32]}",
        source=told(rule.source, "urn:penstock:unknown"),
        type=kind if kind in rule.types else next(iter(rule.types)),
        subject=told(rule.subject, subject)[:MOST] or "?",
        time=time,
        data={},
    )


def left_out(rule: EventRule, scope: Scope) -> str | None:
    """
    Return why *rule* makes no event of something it would make one of; None when there is no such thing.
    """
    if rule.unless is None:
        return None
    return rule.unless.why if any(truth(rule.unless.when, inner) for inner in _found(rule, scope)) else None


def _found(rule: EventRule, scope: Scope) -> Iterator[Scope]:
    if rule.each is None:
        if truth(rule.when, scope):
            yield scope
        return
    items = value(rule.each, scope)
    for item in items if isinstance(items, list) else []:
        inner = {**scope, "item": item}
        if truth(rule.when, inner):
            yield inner


def _event(rule: EventRule, scope: Scope) -> Iterator[Event]:
    kind = needed(rule.type, scope, "event type")
    if kind not in rule.types:
        return
    try:
        yield Event(
            id=_id(rule.id, scope),
            source=needed(rule.source, scope, "source"),
            type=kind,
            subject=needed(rule.subject, scope, "subject"),
            time=needed(rule.time, scope, "time"),  # type: ignore[arg-type]  # pydantic reads ISO 8601
            actor=_optional(rule.actor, scope),
            partitionkey=_optional(rule.partitionkey, scope),
            data=take_all(rule.data, scope),
        )
    except (ValueError, TypeError) as error:
        raise Rejected(f"The delivery is not a proper {kind!r}: {str(error).splitlines()[0]}") from error


def _optional(formula: Formula | None, scope: Scope) -> str | None:
    found = value(formula, scope) if formula is not None else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) and found != "" else None


def _id(rule: Formula | HashedId, scope: Scope) -> str:
    if not isinstance(rule, HashedId):
        return needed(rule, scope, "id")
    of = needed(rule.of, scope, "id")
    if rule.once is not None and truth(rule.once, scope):
        return of
    change = {name: value(formula, scope) for name, formula in rule.hash.items()}
    return f"{of}/{change_hash(change)}"


def change_hash(change: Mapping[str, Any]) -> str:
    """
    Return the hash of a change, the same for the same values in any order of keys.
    """
    return hashlib.sha256(orjson.dumps(change, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
