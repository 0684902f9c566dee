"""
Keys of the language that this version reads and checks but does not carry out yet. One table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.declaration import Declaration
from pipelines.findings import Finding
from pipelines.places import Keys, Places


@dataclass(frozen=True, slots=True)
class Later:
    """
    A key that waits for a later version.
    """

    keys: str
    """Dotted; `*` stands for any name or item."""
    meanwhile: str
    """What to do until then."""
    refused: Callable[[Any], bool] = lambda _value: True
    """Whether this written value is one that does not work yet."""


TABLE: tuple[Later, ...] = (
    Later("pipelines.*.rollout.mode", "write live, or take it out", lambda mode: mode != "live"),
)


def refusals(declaration: Declaration, places: Places) -> list[Finding]:
    """
    Return a finding for everything *declaration* asks for that this version cannot carry out.
    """
    written = declaration.model_dump(by_alias=True, exclude_unset=True)
    return [_refusal(keys, later, places) for later in TABLE for keys in _found(written, later)]


def _refusal(keys: Keys, later: Later, places: Places) -> Finding:
    name = keys[-1] if later.keys[-1] != "*" else keys[0]
    return Finding(
        place=places.key(*keys),
        message=f"{name!r} does not work in this version",
        hint=later.meanwhile,
        rule="later/key",
    )


def _found(written: Any, later: Later) -> Iterator[Keys]:
    for keys, value in _matching(written, later.keys.split("."), ()):
        if value is not None and later.refused(value):
            yield keys


def _matching(part: Any, pattern: list[str], keys: Keys) -> Iterator[tuple[Keys, Any]]:
    if not pattern:
        yield keys, part
        return
    for name, below in _items(part):
        if pattern[0] in ("*", name):
            yield from _matching(below, pattern[1:], (*keys, name))


def _items(part: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(part, Mapping):
        yield from part.items()
    elif isinstance(part, list | tuple):
        yield from enumerate(part)
