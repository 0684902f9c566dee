"""
What stands around a rehearsed pipeline: connectors whose lookups and actions are only played.
"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from connectors import catalog
from connectors.contract import Action, Call, Connector, Delivery, Lookup, Record, WriteMode, Written
from penstock.errors import Invalid, NotFound, PenstockError, Unavailable
from pipelines.testing import Performed
from schemas.events import Event

EVENT_TIME = "2026-01-05T09:00:00Z"  # of an event in line that says nothing else
EVENT_SOURCE = "https://rehearsal.example"


class Played:
    """
    A connector in everything but its lookups and actions.
    """

    def __init__(self, real: Connector, connection: str, answers: Mapping[str, Any], performed: list[Performed]) -> None:
        self._real = real
        self.lookups: Mapping[str, Lookup] = {
            name: _played_lookup(f"{connection}.{name}", lookup, answers) for name, lookup in real.lookups.items()
        }
        self.actions: Mapping[str, Action] = {
            name: _played_action(f"{connection}.{name}", action, performed) for name, action in real.actions.items()
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _played_lookup(target: str, lookup: Lookup, answers: Mapping[str, Any]) -> Lookup:
    async def fetch(by: str, call: Call, most: int) -> list[Record]:
        del call
        return records(target, answers.get(target), by)[:most]

    return dataclasses.replace(lookup, fetch=fetch, ttl=0)


def records(target: str, answer: Any, by: str) -> list[Record]:
    """
    Return what a lookup gives when a case says *answer*. Raises `NotFound`, `Unavailable`.
    """
    if answer is None:
        raise NotFound(f"nothing is given for {target} of {by!r}; write it under `lookups`")
    if answer == {"not_found": True}:
        raise NotFound(f"{target} has no {by!r}")
    if answer == {"unavailable": True}:
        raise Unavailable(f"{target} cannot be reached")
    return [dict(answer)] if isinstance(answer, Mapping) else [dict(item) for item in answer]


def _played_action(target: str, action: Action, performed: list[Performed]) -> Action:
    async def write(record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        del mode, call
        performed.append(
            Performed(to=target, record=record, text=args.get("text"), fields=dict(args.get("fields") or {}))
        )
        return Written(remote_id=f"rehearsed-{len(performed)}")

    async def find(record: str, mode: WriteMode, call: Call) -> Written | None:
        del record, mode, call
        return None

    return dataclasses.replace(action, write=write, find=None if action.find is None else find)
