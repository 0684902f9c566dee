"""
Actions: a write, what makes it safe to repeat, and how an earlier one is found again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, Self

from pydantic import Field as Key
from pydantic import model_validator

from connectors.addresses import path_of
from connectors.calling import answer
from connectors.contract import Call, WriteMode, Written
from connectors.formulas import Formula, Scope, Shape, render, truth, value
from connectors.part import EventType, Header, Identifier, Part, Path, Seconds, Words
from connectors.reading import PAGE, Listing, Walk, params_of
from penstock.errors import Rejected, UnknownOutcome
from schemas.entries import ActionClass

log = logging.getLogger(__name__)


class Request(Part):
    """
    A request with effect.
    """

    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    path: Path
    params: Mapping[str, Formula] = Key(default_factory=dict)
    json_: Shape = Key(default=None, alias="json")
    """JSON data whose texts are expressions."""


class Idempotency(Part):
    """
    What makes a write safe to repeat: exactly one way, or none of them.
    """

    header: Header | None = None
    """The header that takes the key."""
    external_id: bool = False
    """The key is part of the path or body as the record's own id."""
    property: bool = False
    """Setting the same values twice is the same as once."""
    marker: Formula | None = None
    """Text added to what we write, with `key` and `slot` in it."""
    slot_marker: Formula | None = None
    """The part of the marker that is the same for every run of one delivery to one record."""
    find: Formula | None = None
    """Which `item` of `look` is our write."""
    look: Listing | None = None
    mine: Formula | None = None
    """Which `item` of `look` we wrote; sees `acts_as`."""
    text: Formula | None = None
    """The text of an `item` of `look`, marker included."""
    lifetime: Seconds | None = None
    """How long the system remembers the key; for ever when absent."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = (self.header, self.external_id or None, self.property or None, self.marker, self.find)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("idempotency is exactly one of 'header', 'external_id', 'property', 'marker', 'find'")
        if ((self.marker or self.find) is not None) != (self.look is not None):
            raise ValueError("'look' is needed with 'marker' and 'find', and only there")
        if (self.marker is not None) != (self.text is not None):
            raise ValueError("'text' is needed with 'marker', and only there")
        return self


class ActionRule(Part):
    """
    A write.
    """

    description: Words
    needs: Identifier | None = None
    """A setting without which there is no such action."""
    takes: frozenset[Literal["text", "fields"]] = Key(min_length=1)
    modes: tuple[WriteMode, ...] = ("add",)
    sets: frozenset[str] | None = None
    steers: frozenset[str] = frozenset()
    """Fields that decide what happens next; an answer may set them only to values its schema lists."""
    emits: frozenset[EventType] = frozenset()
    touches: frozenset[str] = frozenset()
    """`{setting}` is the field that a setting names."""
    reads: Identifier | None = None
    write: Request
    edit: Request | None = None
    """What changes our earlier write, for `replace-own`; sees `found`, the item of `look`."""
    returns: Mapping[Literal["remote_id", "version", "url"], Formula] = Key(default_factory=dict)
    found: Mapping[Literal["remote_id", "version", "url"], Formula] = Key(default_factory=dict)
    """The same, from an `item` of `look`."""
    idempotency: Idempotency | None = None
    timeout: Seconds = 15.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        replaces = "replace-own" in self.modes
        if replaces != (self.edit is not None):
            raise ValueError("'edit' is needed for the mode 'replace-own', and only there")
        if replaces and (self.idempotency is None or self.idempotency.slot_marker is None):
            raise ValueError("the mode 'replace-own' needs 'idempotency.marker' and 'idempotency.slot_marker'")
        if self.sets is not None and not self.steers <= self.sets:
            raise ValueError("'steers' names fields of 'sets'")
        return self

    def touched(self, settings: Mapping[str, Any]) -> frozenset[str]:
        """
        Return the names of changed fields its echo reports, with these settings.
        """
        named = {f"{{{name}}}": value for name, value in settings.items()}
        found = {str(named.get(field, field)) for field in self.touches}
        return frozenset(field for field in found if not field.startswith("{"))

    @property
    def action_class(self) -> ActionClass:
        """
        The class the ledger knows it by.
        """
        if self.idempotency is None:
            return "blind"
        return "read-back" if self.idempotency.look is not None else "keyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """
    One action of one connection towards one record.
    """

    name: str
    rule: ActionRule
    scope: Scope
    """`settings`, `acts_as`, `record`, its parts by name as `record_parts`, and `now` with `iso` and `unix_ms`."""
    names: Mapping[str, str]
    """The parts of the record's id, for paths."""

    async def write(self, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        """
        Write *args*; in mode `replace-own` change our earlier write when there is one.
        """
        self._check(args, mode)
        scope = self._scope(call, args)
        if mode == "replace-own":
            earlier = await self._earlier(call, scope)
            if earlier is not None:
                return await self._replace(earlier, call, scope)
        return await self._send(self.rule.write, call, scope, self.names)

    async def find(self, call: Call) -> Written | None:
        """
        Return our write with `call.key`, None when there is none; raises `UnknownOutcome` when we cannot tell.
        """
        safe = self._idempotency()
        scope = self._scope(call, {})
        if safe.find is not None:
            rule = safe.find
            item = await self._look(call, scope, lambda inner: truth(rule, inner))
        else:
            assert safe.marker is not None
            item = await self._look(call, scope, _marked(safe, safe.marker, scope))
        return None if item is None else self._written(self.rule.found, {**scope, "item": item}, already=True)

    async def _earlier(self, call: Call, scope: Scope) -> Any:
        safe = self._idempotency()
        assert safe.slot_marker is not None
        return await self._look(call, scope, _marked(safe, safe.slot_marker, scope))

    async def _replace(self, earlier: Any, call: Call, scope: Scope) -> Written:
        safe = self._idempotency()
        inner = {**scope, "found": earlier, "item": earlier}
        assert safe.slot_marker is not None
        assert self.rule.edit is not None
        stored = _text(safe, inner).rpartition(str(value(safe.slot_marker, scope)))[0]
        if _same(stored, str(scope["args"]["text"] or "")):
            return self._written(self.rule.found, inner, already=True)
        found = {f"found_{name}": text for name, text in self._returned(self.rule.found, inner).items()}
        return await self._send(self.rule.edit, call, inner, {**self.names, **found})

    async def _look(self, call: Call, scope: Scope, wanted: Any) -> Any:
        safe = self._idempotency()
        assert safe.look is not None
        walk = Walk(listing=safe.look, call=call, scope=scope, names=self.names)
        async for items in walk.items():
            for item in items:
                inner = {**scope, "item": item}
                ours = safe.mine is None or truth(safe.mine, inner)
                if ours and wanted(inner):
                    return item
        if not walk.complete:
            raise UnknownOutcome(f"{self.name!r}: there is too much on {scope['record']!r} to look through it all.")
        return None

    async def _send(self, request: Request, call: Call, scope: Scope, names: Mapping[str, str]) -> Written:
        safe = self.rule.idempotency
        headers = {safe.header: call.key} if safe is not None and safe.header else None
        what = f"{request.method} {request.path}"
        response = await call.send(
            request.method,
            path_of(request.path, {**names, "key": call.key}),
            params=params_of(request.params, scope),
            headers=headers,
            json=render(request.json_, scope),
            write=True,
        )
        body = answer(response, what, write=True)
        return self._written(self.rule.returns, {**scope, "body": body}, already=False)

    def _scope(self, call: Call, args: Mapping[str, Any]) -> dict[str, Any]:
        full = {"text": args.get("text"), "fields": dict(args.get("fields") or {})}
        scope = {**self.scope, "args": full, "key": call.key, "slot": call.slot, "most": PAGE}
        safe = self.rule.idempotency
        if safe is not None and safe.marker is not None:
            scope["marker"] = str(value(safe.marker, scope))
        return scope

    def _check(self, args: Mapping[str, Any], mode: WriteMode) -> None:
        if mode not in self.rule.modes:
            raise Rejected(f"{self.name!r} has no mode {mode!r}; it has {', '.join(self.rule.modes)}.")
        if unknown := set(args) - self.rule.takes:
            raise Rejected(f"{self.name!r} does not take {', '.join(sorted(unknown))}.")
        fields = set(args.get("fields") or {})
        if self.rule.sets is not None and (unknown := fields - self.rule.sets):
            raise Rejected(f"{self.name!r} cannot set {', '.join(sorted(unknown))}.")
        if not args.get("text") and not fields:
            raise Rejected(f"{self.name!r} was given nothing to write.")

    def _idempotency(self) -> Idempotency:
        if self.rule.idempotency is None:
            raise Rejected(f"{self.name!r} leaves nothing behind by which it could be found again.")
        return self.rule.idempotency

    def _returned(self, formulas: Mapping[Any, Formula], scope: Scope) -> dict[str, str]:
        """
        Return what the formulas give. One that does not fit gives nothing: what was written stays written.
        """
        found: dict[str, str] = {}
        for name, formula in formulas.items():
            try:
                text = value(formula, scope)
            except Rejected as error:
                log.warning("action %s: %r of its answer cannot be told: %s", self.name, name, error)
            else:
                found |= {} if text is None else {name: str(text)}
        return found

    def _written(self, formulas: Mapping[Any, Formula], scope: Scope, *, already: bool) -> Written:
        found = self._returned(formulas, scope)
        return Written(
            remote_id=found.get("remote_id"), version=found.get("version"), url=found.get("url"), already=already
        )


def _text(safe: Idempotency, scope: Scope) -> str:
    assert safe.text is not None
    found = value(safe.text, scope)
    return found if isinstance(found, str) else ""


def _marked(safe: Idempotency, marker: Formula, scope: Scope) -> Callable[[Scope], bool]:
    """
    Return what tells whether an `item` has the mark of *marker*. Of several marks in a text the last one counts, which
    we wrote: those before it were quoted, by a model perhaps.
    """
    mark, other = str(value(marker, scope)), str(value(marker, {**scope, "key": "~" * 64, "slot": "~" * 64}))
    begins = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(mark, other, strict=False)))

    def marked(inner: Scope) -> bool:
        text = _text(safe, inner)
        at = text.rfind(begins) if begins else text.find(mark)
        return at >= 0 and text.startswith(mark, at)

    return marked


def _same(stored: str, text: str) -> bool:
    return stored.replace("\r\n", "\n").strip() == text.replace("\r\n", "\n").strip()
