"""
What stands around a rehearsed pipeline: connectors whose lookups and actions are only played.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from connectors.contract import Action, Call, Connector, Lookup, Record, WriteMode, Written
from penstock.errors import Invalid, NotFound, Unavailable
from pipelines.testing import Case, Performed

if TYPE_CHECKING:
    from schemas.events import Event


class Played:
    """
    A connector in everything but its lookups and actions.
    """

    def __init__(self, real: Connector, connection: str, case: Case, event: Event, performed: list[Performed]) -> None:
        self._real = real
        self.lookups: Mapping[str, Lookup] = {
            name: _played_lookup(f"{connection}.{name}", lookup, case, event) for name, lookup in real.lookups.items()
        }
        self.actions: Mapping[str, Action] = {
            name: _played_action(f"{connection}.{name}", action, performed) for name, action in real.actions.items()
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _played_lookup(target: str, lookup: Lookup, case: Case, event: Event) -> Lookup:
    answer = case.words.lookups.get(target)

    async def fetch(by: str, call: Call, most: int) -> list[Record]:
        del call
        if answer is None and by == event.subject and not lookup.many:
            return [{name: event.data.get(name) for name in lookup.fields}]  # the record as the event tells it
        return _declared(records(target, answer, by), lookup, target, case)[:most]

    return dataclasses.replace(lookup, fetch=fetch, ttl=0)


def records(target: str, answer: Any, by: str) -> list[Record]:
    """
    Return what a lookup gives when somebody says *answer*. Raises `NotFound`, `Unavailable`.
    """
    if answer is None:
        raise NotFound(f"nothing is given for {target} of {by!r}; write it under lookups")
    if answer == {"not_found": True}:
        raise NotFound(f"{target} has no {by!r}")
    if answer == {"unavailable": True}:
        raise Unavailable(f"{target} cannot be reached")
    found = [answer] if isinstance(answer, Mapping) else answer
    if not isinstance(found, list | tuple) or not all(isinstance(item, Mapping) for item in found):
        raise Invalid(f"{target} needs a record, a list of records, or {{not_found: true}}", where="lookups")
    return [dict(item) for item in found]


def _declared(found: list[Record], lookup: Lookup, target: str, case: Case) -> list[Record]:
    """
    Refuse fields that the real lookup would never give: a test must not lie.
    """
    for name in (name for record in found for name in record if name not in lookup.fields):
        close = difflib.get_close_matches(name, lookup.fields, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it gives {', '.join(lookup.fields)}"
        raise Invalid(f"{target} gives no field {name!r}", where=f"{case.file}:{case.line}", hint=hint)
    return [{name: record.get(name) for name in lookup.fields} for record in found]


def _played_action(target: str, action: Action, performed: list[Performed]) -> Action:
    async def write(record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        del mode, call
        fields = dict(args.get("fields") or {})
        performed.append(Performed(to=target, record=record, text=args.get("text"), fields=fields))
        return Written(remote_id=f"rehearsed-{len(performed)}")

    async def find(record: str, mode: WriteMode, call: Call) -> Written | None:
        del record, mode, call
        return None

    return dataclasses.replace(action, write=write, find=None if action.find is None else find)
