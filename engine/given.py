"""
An event as a person gives it: in line, in a file, or by the name of a connector's sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import orjson
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from connectors.contract import Connector, Received
from penstock.errors import Invalid, Rejected
from schemas.events import Event

EVENT_TIME = "2026-01-05T09:00:00Z"  # of an event that does not say when
EVENT_SOURCE = "https://example.com"  # of an event that does not say where
FILE_MOST = 5 * 1024 * 1024  # bytes


@runtime_checkable
class Translator(Protocol):
    """
    A connector that reads a delivery whose sender is known already.
    """

    def translate(self, body: bytes) -> Received:
        """
        Return what *body* means. Raises `Rejected`.
        """
        ...


def event_from(given: str | Mapping[str, Any], *, folder: Path, connector: Connector, types: frozenset[str]) -> Event:
    """
    Return the event *given* stands for; names of files are read from *folder*.

    An event in line may leave out everything but `data`; `type` is then the only one of *types*.
    Raises `Invalid`.
    """
    if isinstance(given, Mapping):
        return _completed(given, "given", types)
    path = folder / given
    if path.is_file():
        return _from_file(path, connector, types)
    sample = next((sample for sample in connector.samples if sample.name == given), None)
    if sample is None:
        names = ", ".join(sample.name for sample in connector.samples) or "none"
        raise Invalid(
            f"{given!r} is neither a file in {str(folder)!r} nor a sample", hint=f"samples of {connector.name}: {names}"
        )
    return _first(connector, sample.body, f"sample {given!r}")


def _from_file(path: Path, connector: Connector, types: frozenset[str]) -> Event:
    found = read_data(path)
    if not isinstance(found, Mapping):
        raise Invalid("an event is a mapping", where=str(path))
    if "data" in found:
        return _completed(found, str(path), types)
    return _first(connector, path.read_bytes(), str(path))


def read_data(path: Path) -> Any:
    """
    Return the JSON or YAML data in a file. Raises `Invalid`.
    """
    try:
        if path.stat().st_size > FILE_MOST:
            raise Invalid("is larger than 5 MB", where=str(path))
        text = path.read_text("utf-8")
        return orjson.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
    except (OSError, ValueError, YAMLError) as error:
        raise Invalid(f"cannot be read: {error}", where=str(path)) from None


def _completed(given: Mapping[str, Any], where: str, types: frozenset[str]) -> Event:
    """
    Return an event of what was written, and of defaults for the rest.
    """
    words = dict(given)
    if "type" not in words and len(types) == 1:
        (words["type"],) = types
    words.setdefault("source", EVENT_SOURCE)
    words.setdefault("time", EVENT_TIME)
    data = words.get("data")
    identity = data.get("id") if isinstance(data, Mapping) else None
    words["subject"] = str(words.get("subject", identity or "1"))
    if "id" not in words:
        digest = hashlib.sha256(repr(sorted(words.items(), key=lambda item: item[0])).encode()).hexdigest()
        words["id"] = f"given-{digest[:12]}"
    try:
        return Event.model_validate(words)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise Invalid(f"{place}: {first['msg']}", where=where, hint="an event has type, subject and data") from None


def _first(connector: Connector, body: bytes, where: str) -> Event:
    """
    Return the first event of a raw delivery, read without its signature: it comes from a person.
    """
    if not isinstance(connector, Translator):
        raise Invalid(f"{connector.name} has no raw deliveries; give the event itself", where=where)
    try:
        events = connector.translate(body).events
    except Rejected as error:
        raise Invalid(str(error), where=where, hint="an event has type, subject and data") from None
    if not events:
        raise Invalid(f"{connector.name} makes no event of it", where=where)
    return events[0]
