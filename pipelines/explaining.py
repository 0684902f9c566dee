"""
From what pydantic says about a declaration to findings: one per mistake, with its place and its cure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from pipelines.findings import Finding
from pipelines.places import Keys, Places
from pipelines.shape import all_keys, homes, known_keys
from pipelines.suggestions import closest

_PATTERNS = {
    r"^[a-z][a-z0-9-]{0,62}$": "lower-case letters, digits and '-', a letter first",
    r"^[a-z][a-z0-9_]{0,62}$": "lower-case letters, digits and '_', a letter first",
    r"^[a-z][a-z0-9-]*\.[a-z][a-z0-9_]*$": "a connection, a dot and a name, for example 'helpdesk.organization'",
    r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_-]*$": "an object, a dot and what happened to it, for example 'ticket.created'",
    r"^(v1|preview|latest|20\d\d-\d\d-\d\d(-preview)?)$": "'v1', 'preview' or a date, for example '2024-10-21'",
    r"^[a-z][a-z0-9.:-]{0,99}$": "the id of a project, for example 'acme-support-4711'",
    r"^[a-z][a-z0-9-]{0,30}$": "a region's own name, for example 'eu-central-1'",
}
_WORDS = {
    "on": "trigger", "source": "connection", "type": "connector", "kind": "connector", "if": "when", "filter": "where",
    "limit": "newest", "max": "tokens", "keep": "tokens", "budget": "tokens", "max_tokens": "max_output",
    "prompt": "template", "schema": "output", "action": "to", "target": "to", "text": "template", "fields": "set",
    "api_key": "key", "base_url": "url", "shrink": "cut", "retries": "retry", "steps": "ask", "llm": "ask",
}  # fmt: skip
"""What other products call it."""


class Explainer:
    """
    Knows what was written and where, and turns errors into findings.
    """

    def __init__(self, data: Mapping[str, Any], places: Places, reported: Collection[Keys]) -> None:
        self._data, self._places = data, places
        self._reported = set(reported)

    def findings(self, errors: Sequence[ErrorDetails]) -> list[Finding]:
        """
        Return one finding per mistake.
        """
        located = [(self._keys(error), error) for error in errors]
        located = self._one_branch([(keys, error) for keys, error in located if not self._is_reported(keys)])
        unknown = [keys for keys, error in located if error["type"] == "extra_forbidden"]
        slips = {(*keys[:-1], near) for keys in unknown if (near := self._slip(keys))}
        missing = [keys for keys, error in located if error["type"] == "missing" and keys not in slips]
        others = [(keys, error) for keys, error in located if error["type"] != "missing"]
        return [self._finding(keys, error) for keys, error in others] + self._missing(missing)

    def _keys(self, error: ErrorDetails) -> Keys:
        """
        Return the error's place in the data, without the labels pydantic puts in between.
        """
        kept: list[str | int] = []
        part: Any = self._data
        for key in error["loc"]:
            below = _child(part, key)
            if below is not _NONE:
                kept.append(key)
                part = below
            elif key is error["loc"][-1] and error["type"] == "missing":
                kept.append(key)
        return tuple(kept)

    def _is_reported(self, keys: Keys) -> bool:
        return any(keys[: len(done)] == done for done in self._reported if done)

    def _one_branch(self, located: Sequence[tuple[Keys, ErrorDetails]]) -> list[tuple[Keys, ErrorDetails]]:
        """
        Of the branches of a union keep the one that was meant.
        """
        texts = {keys for keys, error in located if error["type"] == "literal_error"}
        around = {keys[:length] for keys, _ in located for length in range(len(keys))}
        kept = []
        for keys, error in located:
            written = self._value(keys)
            if error["type"] == "too_short" and keys in around:
                continue  # it is short because its items are wrong
            if keys in texts and error["type"] != "literal_error" and not isinstance(written, Mapping):
                continue
            if error["type"] == "literal_error" and isinstance(written, Mapping):
                continue
            kept.append((keys, error))
        return kept

    def _value(self, keys: Keys) -> Any:
        part: Any = self._data
        for key in keys:
            part = _child(part, key)
        return part

    def _slip(self, keys: Keys) -> str | None:
        """
        Return the key that was meant by the unknown one at *keys*.
        """
        name, known = str(keys[-1]), known_keys(keys[:-1])
        written = self._value(keys[:-1])
        free = [key for key in known if key not in written]
        if _WORDS.get(name) in free and name not in _elsewhere(keys):
            return _WORDS[name]
        return closest(name, free)

    def _finding(self, keys: Keys, error: ErrorDetails) -> Finding:
        kind = error["type"]
        if kind == "extra_forbidden":
            return self._unknown(keys)
        if keys and "[key]" in error["loc"]:
            known = _PATTERNS.get(str(error.get("ctx", {}).get("pattern")), "a name")
            message = f"the name {_short(keys[-1])} is not allowed"
            return Finding(
                place=self._places.key(*keys), message=message, hint=f"a name is {known}", rule="values/name"
            )
        message, hint = _worded(_named(keys), error)
        rule = "units/amount" if kind == "value_error" else "values/type"
        return Finding(place=self._places.value(*keys), message=message, hint=hint, rule=rule)

    def _unknown(self, keys: Keys) -> Finding:
        name = str(keys[-1])
        place, message = self._places.key(*keys), f"unknown key {_short(name)}{_inside(keys[:-1])}"
        elsewhere = _elsewhere(keys)
        slip = self._slip(keys)
        if elsewhere and slip is None:
            hint = f"{name!r} belongs under {' or '.join(repr(owner) for owner in elsewhere)}"
            return Finding(place=place, message=message, hint=hint, rule="keys/misplaced")
        hint = f"did you mean {slip!r}?" if slip else _far_slip(name) or f"there are {', '.join(known_keys(keys[:-1]))}"
        return Finding(place=place, message=message, hint=hint, rule="keys/unknown")

    def _missing(self, missing: Sequence[Keys]) -> list[Finding]:
        found = []
        for owner in dict.fromkeys(keys[:-1] for keys in missing):
            names = [repr(keys[-1]) for keys in missing if keys[:-1] == owner]
            listed = f"keys {', '.join(names[:-1])} and {names[-1]} are" if len(names) > 1 else f"key {names[0]} is"
            hint = "begin with `version: 1`" if not owner else None
            message = f"the {listed} missing{_inside(owner)}"
            found.append(Finding(place=self._places.key(*owner), message=message, hint=hint, rule="keys/missing"))
        return found


_NONE = object()


def _child(part: Any, key: str | int) -> Any:
    if isinstance(part, Mapping) and key in part:
        return part[key]
    if isinstance(part, list) and isinstance(key, int) and 0 <= key < len(part):
        return part[key]
    return _NONE


def _elsewhere(keys: Keys) -> list[str]:
    around = {str(key) for key in keys[:-1]}
    return [owner for owner in homes(str(keys[-1])) if owner and owner not in around]


def _far_slip(name: str) -> str | None:
    near = closest(name, all_keys())
    return f"did you mean {near!r}, under {' or '.join(map(repr, filter(None, homes(near))))}?" if near else None


def _inside(keys: Keys) -> str:
    names = [key for key in keys if isinstance(key, str)]
    return f" in {_short(names[-1])}" if names else ""


def _named(keys: Keys) -> str:
    names = [key for key in keys if isinstance(key, str)]
    name = repr(names[-1]) if names else "it"
    return f"an item of {name}" if keys and isinstance(keys[-1], int) else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…'"  # characters


def _worded(name: str, error: ErrorDetails) -> tuple[str, str | None]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        message, _, hint = str(context.get("error", error["msg"])).partition(": ")
        return message, hint or None
    if kind == "literal_error":
        allowed = [word.strip("' ") for word in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        if str(value) in allowed:
            return f"{name} is a number, not {_short(value)}", "write it without quotes"
        near = closest(str(value), allowed)
        listed = f"one of {', '.join(allowed)}" if len(allowed) > 1 else f"write {allowed[0]}"
        return f"{name} cannot be {_short(value)}", f"did you mean {near!r}?" if near else listed
    if kind == "string_pattern_mismatch":
        return f"{name} cannot be {_short(value)}", f"it is {_PATTERNS.get(str(context.get('pattern')), 'a name')}"
    return _typed(name, kind, value, context) or (_lower(error["msg"]), None)


def _typed(name: str, kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str | None] | None:
    for part, words, hint in _KINDS:
        if part in kind:
            return f"{name} is {words}, not {_short(value)}", hint
    limits = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if kind in limits:
        key, words = limits[kind]
        return f"{name} is {words} {context.get(key)}, not {_short(value)}", None
    if kind == "string_too_long":
        return f"{name} is longer than {context.get('max_length')} characters", None
    if kind in ("too_short", "string_too_short"):
        return f"{name} is empty", "write at least one"
    return None


_KINDS: tuple[tuple[str, str, str | None], ...] = (
    ("string_type", "text", "put it in quotes"),
    ("tuple_type", "a list", "write [one, two], or one line with '- ' for each"),
    ("bool", "true or false", None),
    ("int", "a whole number", None),
    ("float", "a number", None),
    ("model_type", "a mapping of keys", None),
    ("mapping_type", "a mapping of keys", None),
    ("dict_type", "a mapping of keys", None),
    ("model_attributes", "a mapping of keys", None),
)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
