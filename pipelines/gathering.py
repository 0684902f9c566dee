"""
Getting a section's data: from the event, or by a lookup that may need what earlier sections found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.errors import EdgeError, Invalid, NotFound, PenstockError
from penstock.expressions import EvaluationError, MissingField, compile_expression
from pipelines.declaration import Context, Section

Fetch = Callable[[str, str, int], Awaitable[list[dict[str, Any]]]]
"""`fetch(target, by, most)`: the declared records of `connection.lookup`, newest first."""

MOST = 50
"""Records a lookup may return where a section says neither `newest` nor `first`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """
    What a section has to print.
    """

    data: Any
    """JSON data: a record, a list of records, text; None for nothing."""
    note: str | None = None
    """Why there is nothing."""


class Gathering:
    """
    All sections of one context, each found as soon as those it needs are.
    """

    def __init__(self, context: Context, *, event: Mapping[str, Any], fetch: Fetch, many: Collection[str]) -> None:
        self._context = context
        self._event = dict(event)
        self._fetch = fetch
        self._many = many
        self._tasks: dict[str, asyncio.Task[Found]] = {}

    async def all(self) -> dict[str, Found]:
        """
        Return what each section found; raises the error of the first section that needs its data in vain.
        """
        sections = self._context.sections
        if all(section.fetch is None for section in sections.values()):
            return {name: self._in_the_event(name, section) for name, section in sections.items()}
        for name, section in sections.items():
            earlier = dict(self._tasks)
            self._tasks[name] = asyncio.create_task(self._found(name, section, earlier))
        try:
            results = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        finally:
            for task in self._tasks.values():
                task.cancel()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return {name: task.result() for name, task in self._tasks.items()}

    async def _found(self, name: str, section: Section, earlier: Mapping[str, asyncio.Task[Found]]) -> Found:
        if section.fetch is None:
            return self._in_the_event(name, section)
        try:
            return await self._looked_up(section, section.fetch, earlier)
        except (EdgeError, MissingField, EvaluationError) as error:
            return _without(error, name, section)

    def _in_the_event(self, name: str, section: Section) -> Found:
        try:
            return self._given(section)
        except (MissingField, EvaluationError) as error:
            return _without(error, name, section)

    def _given(self, section: Section) -> Found:
        if section.from_ is None:
            raise Invalid("a section needs `from` or `fetch`")
        data = compile_expression(section.from_).evaluate({"event": self._event})
        data = _bounded(data, section) if isinstance(data, list) else data
        return Found(data=data, note="the event has nothing there" if data in (None, "", [], {}) else None)

    async def _looked_up(self, section: Section, target: str, earlier: Mapping[str, asyncio.Task[Found]]) -> Found:
        by = await self._key(section, earlier)
        most = section.newest or section.first or MOST
        records = await self._fetch(target, by, most if target in self._many else 1)
        if target in self._many:
            return Found(data=records[:most], note=None if records else "the lookup found nothing")
        if not records:
            raise NotFound(f"{target} has no record {by!r}")
        return Found(data=records[0])

    async def _key(self, section: Section, earlier: Mapping[str, asyncio.Task[Found]]) -> str:
        expression = compile_expression(section.by or "event.subject")
        scope: dict[str, Any] = {"event": self._event}
        for name in expression.roots & earlier.keys():
            scope[name] = (await earlier[name]).data
        value = expression.evaluate(scope)
        if value is None or value == "":
            raise MissingField(expression.text, expression.text)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise EvaluationError(f"`by: {expression.text}` must give text or a whole number")
        return str(value)


def _bounded(items: list[Any], section: Section) -> list[Any]:
    if section.newest is not None:
        return items[: -section.newest - 1 : -1]  # events list the oldest first, lookups the newest
    return items[: section.first] if section.first is not None else items


def _without(error: PenstockError, name: str, section: Section) -> Found:
    """
    Return that an optional section has nothing, because of *error*; raise it when it must have something.
    """
    if section.optional:
        return Found(data=None, note=_reason(error, section))
    raise _placed(error, name) from error


def _reason(error: PenstockError, section: Section) -> str:
    if isinstance(error, NotFound):
        return "not found"
    if isinstance(error, MissingField):
        return f"it depends on {error.path!r}, which is not there"
    return f"{section.fetch or 'the event'} failed: {error}"


def _placed(error: PenstockError, name: str) -> PenstockError:
    """
    Return *error* with the section's name as a note; its kind tells the engine what to do.
    """
    error.add_note(f"in section {name!r}")
    return error
