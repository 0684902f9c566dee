"""
Which keys there are, and where: the declaration's own schema, as its mistakes need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pipelines.declaration import Declaration
from pipelines.places import Keys


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    return Declaration.model_json_schema(by_alias=True)


def known_keys(keys: Keys) -> tuple[str, ...]:
    """
    Return the keys the mapping at *keys* may have; none when its keys are free names.
    """
    part = _at(keys)
    return tuple(part.get("properties", {})) if part else ()


def homes(key: str) -> list[str]:
    """
    Return the names of the mappings that have a key called *key*, e.g. `['ask']`.
    """
    return sorted({owner for owner, name in _owned() if name == key})


def all_keys() -> set[str]:
    """
    Return every key of the language.
    """
    return {name for owner, name in _owned() if owner}


def _at(keys: Keys) -> Mapping[str, Any] | None:
    part: Mapping[str, Any] | None = _plain(_schema())
    for key in keys:
        if part is None:
            return None
        part = _below(part, key)
    return part


def _below(part: Mapping[str, Any], key: str | int) -> Mapping[str, Any] | None:
    if isinstance(key, int):
        return _plain(part.get("items"))
    if key in part.get("properties", {}):
        return _plain(part["properties"][key])
    free = part.get("additionalProperties") or next(iter(part.get("patternProperties", {}).values()), None)
    return _plain(free) if isinstance(free, Mapping) else None


def _plain(part: Any) -> Mapping[str, Any] | None:
    """
    Return *part* with its reference followed; of alternatives, the one that has keys.
    """
    if not isinstance(part, Mapping):
        return None
    if "$ref" in part:
        return _plain(_schema()["$defs"][part["$ref"].rpartition("/")[2]])
    several = [_plain(each) for each in part.get("anyOf", ())]
    return next((each for each in several if each and ("properties" in each or "items" in each)), part)


@lru_cache(maxsize=1)
def _owned() -> tuple[tuple[str, str], ...]:
    return tuple(_owners((), _plain(_schema()), 0))


def _owners(keys: Keys, part: Mapping[str, Any] | None, depth: int) -> Iterator[tuple[str, str]]:
    if part is None or depth > 8:  # levels; the language is not deeper
        return
    for name, below in part.get("properties", {}).items():
        yield str(keys[-1]) if keys else "", name
        yield from _owners((*keys, name), _plain(below), depth + 1)
    for free in (part.get("items"), part.get("additionalProperties"), *part.get("patternProperties", {}).values()):
        if isinstance(free, Mapping):
            yield from _owners(keys, _plain(free), depth + 1)
