"""
Lookups: one read, or the pages of a list, cut down to declared fields.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from connectors.addresses import links, path_of
from connectors.calling import answer
from connectors.contract import Call, Record
from connectors.fields import Field, take_all
from connectors.formulas import Formula, Scope, truth, value
from connectors.part import Identifier, Part, Path, Seconds, Words
from penstock.errors import NotFound, Rejected, Unavailable
from penstock.http import Response

PAGE = 100  # records asked for per page


class Pages(Part):
    """
    How an answer leads to the next one.
    """

    by: Literal["link", "link-backwards", "next"]
    """`link`: the Link header; `link-backwards`: from its last page back; `next`: the expression `next`."""
    next: Formula | None = None
    """URL of the next page, null at the end."""
    most: Annotated[int, Key(ge=1, le=100)] = 10

    @model_validator(mode="after")
    def _has_next(self) -> Self:
        if (self.by == "next") != (self.next is not None):
            raise ValueError("'next' is needed with `by: next`, and only there")
        return self


class Listing(Part):
    """
    A read that gives several records.
    """

    get: Path
    params: Mapping[str, Formula] = Key(default_factory=dict)
    records: Formula
    """The list in `body`."""
    keep: Formula | None = None
    """Which `item` counts."""
    newest: Formula | None = None
    """What of an `item` orders them, newest first."""
    pages: Pages | None = None


class LookupRule(Part):
    """
    A read that returns declared fields.
    """

    description: Words
    get: Path
    params: Mapping[str, Formula] = Key(default_factory=dict)
    record: Formula | None = None
    records: Formula | None = None
    keep: Formula | None = None
    newest: Formula | None = None
    pages: Pages | None = None
    fields: Mapping[Identifier, Field] = Key(min_length=1)
    version: Identifier | None = None
    """The field that is another one after every change of the record."""
    ttl: Annotated[float, Key(ge=0)] = 0.0
    timeout: Seconds = 10.0

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.version is not None and self.version not in self.fields:
            raise ValueError("'version' names one of the fields")
        if (self.record is None) == (self.records is None):
            raise ValueError("a lookup has either 'record' or 'records'")
        if self.record is not None and (self.pages or self.keep or self.newest):
            raise ValueError("'pages', 'keep' and 'newest' belong to 'records'")
        return self

    @property
    def listing(self) -> Listing | None:
        """
        The listing of a lookup with many records.
        """
        if self.records is None:
            return None
        parts = {name: getattr(self, name) for name in ("get", "params", "records", "keep", "newest", "pages")}
        return Listing.model_construct(**parts)


@dataclass(slots=True, kw_only=True)
class Walk:
    """
    A way through the pages of a listing.
    """

    listing: Listing
    call: Call
    scope: Scope
    names: Mapping[str, str]
    complete: bool = False
    """True once the last page was seen."""

    async def items(self) -> AsyncIterator[list[Any]]:
        """
        Yield the items of each page that count.
        """
        async for body in self._bodies():
            found = value(self.listing.records, {**self.scope, "body": body})
            if not isinstance(found, list):
                raise Unavailable(f"The answer holds no list at {self.listing.records.text!r}.")
            keep = self.listing.keep
            yield [item for item in found if keep is None or truth(keep, {**self.scope, "item": item})]

    async def _bodies(self) -> AsyncIterator[Any]:
        pages = self.listing.pages
        first = await self._get(path_of(self.listing.get, self.names), self._params())
        response, url = first, self._next(first, backwards=False)
        backwards = pages is not None and pages.by == "link-backwards"
        if backwards and url:
            response = await self._get(url)
            url = self._next(response, backwards=True)
        for _ in range((pages.most if pages else 1) - 1):
            if url is None:
                break
            yield _body(response)
            response = await self._get(url)
            url = self._next(response, backwards=backwards)
        self.complete = url is None
        yield _body(response)

    def _next(self, response: Response, *, backwards: bool) -> str | None:
        pages = self.listing.pages
        if pages is None:
            return None
        if pages.next is not None:
            found = value(pages.next, {**self.scope, "body": _body(response)})
            return found if isinstance(found, str) and found else None
        known = links(response.headers.get("link", ""))
        if pages.by == "link":
            return known.get("next")
        return known.get("prev" if backwards else "last")

    async def _get(self, url: str, params: Mapping[str, Any] | None = None) -> Response:
        return await self.call.send("GET", url, params=params)

    def _params(self) -> dict[str, Any]:
        return params_of(self.listing.params, self.scope)


async def fetch(rule: LookupRule, call: Call, scope: Scope, names: Mapping[str, str]) -> list[Record]:
    """
    Return the records of a lookup, at most `scope["most"]`; raises `NotFound`.
    """
    listing = rule.listing
    if listing is None:
        assert rule.record is not None
        response = await call.send("GET", path_of(rule.get, names), params=params_of(rule.params, scope))
        inner = {**scope, "body": _body(response)}
        item = value(rule.record, inner)
        if item is None:
            raise NotFound(f"The answer holds no record at {rule.record.text!r}.")
        return [_taken(rule.fields, {**inner, "item": item})]
    found: list[Any] = []
    ordered = listing.newest is None or (listing.pages is not None and listing.pages.by != "link")
    walk = Walk(listing=listing, call=call, scope=scope, names=names)
    async for items in walk.items():
        found += items
        if ordered and len(found) >= scope["most"]:
            break
    if (newest := listing.newest) is not None:
        found.sort(key=lambda item: str(value(newest, {**scope, "item": item})), reverse=True)
    return [_taken(rule.fields, {**scope, "item": item}) for item in found[: scope["most"]]]


def _taken(fields: Mapping[str, Field], scope: Scope) -> Record:
    try:
        return take_all(fields, scope)
    except Rejected as error:
        raise Unavailable(f"The system's answer does not fit: {error}") from error


def _body(response: Response) -> Any:
    return answer(response, "GET", write=False)


def params_of(params: Mapping[str, Formula], scope: Scope) -> dict[str, Any]:
    """
    Return query parameters; those that are null are left out.
    """
    found = {name: value(formula, scope) for name, formula in params.items()}
    return {name: text for name, text in found.items() if text is not None}
