"""
Any JSON Schema, filled from what a text says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ai.output import resolve
from ai.providers import guesses, numbers
from ai.providers.extract import Source
from ai.providers.patterns import example

DEEP = 4  # levels below which optional properties are left out
DEEPEST = 24  # levels at which a schema that must contain itself is given up
_PADDING = " -"
_MERGED_LISTS = ("required",)
_FORMATS = {
    "date": "1970-01-01", "date-time": "1970-01-01T00:00:00Z", "time": "00:00:00Z", "duration": "P0D",
    "email": "nobody@example.invalid", "idn-email": "nobody@example.invalid", "hostname": "example.invalid",
    "idn-hostname": "example.invalid", "ipv4": "192.0.2.1", "ipv6": "::", "uri": "about:blank", "iri": "about:blank",
    "uri-reference": "#", "iri-reference": "#", "uuid": "00000000-0000-0000-0000-000000000000", "regex": ".",
    "json-pointer": "/x", "relative-json-pointer": "0", "uri-template": "x",
}  # fmt: skip
Schema = Mapping[str, Any]


class Impossible(Exception):
    """
    This part of a schema cannot be filled.
    """


class Nothing(Exception):
    """
    The text says nothing for this value, and it may be left out.
    """


def fill(schema: Schema, source: Source) -> Any:
    """
    Return data for *schema* from *source*; raises `Impossible`.
    """
    return _Filler(schema, source).value(schema, "", 0)


class _Filler:
    def __init__(self, root: Schema, source: Source) -> None:
        self._root = root
        self._source = source

    def value(self, schema: Any, name: str, depth: int, *, optional: bool = False) -> Any:
        part = self._plain(schema, depth)
        if "const" in part:
            return part["const"]
        if "enum" in part:
            return self._chosen(part, name, optional=optional)
        if variants := part.get("anyOf") or part.get("oneOf"):
            return self._first(_simplest_first(variants) if depth >= DEEP else _null_last(variants), part, name, depth)
        kinds = _kinds(part)
        for kind in kinds:
            try:
                return self._typed(kind, part, name, depth, optional=optional or kinds[-1] == "null")
            except (Impossible, Nothing):
                if kind == kinds[-1]:
                    raise
        raise Impossible(name)

    def _plain(self, schema: Any, depth: int) -> dict[str, Any]:
        """
        Return *schema* with its references followed and what it combines merged.
        """
        if schema is False or depth > DEEPEST:
            raise Impossible("nothing fits a schema that is false, or endless")
        part = dict(schema) if isinstance(schema, Mapping) else {}
        for _ in range(DEEPEST):
            if not isinstance(part.get("$ref"), str):
                break
            part = _merged(resolve(part.pop("$ref"), self._root), part)
        for extra in part.pop("allOf", ()):
            part = _merged(part, self._plain(extra, depth + 1))
        return part

    def _first(self, variants: Iterable[Any], part: Schema, name: str, depth: int) -> Any:
        outer = {key: value for key, value in part.items() if key not in ("anyOf", "oneOf")}
        for variant in variants:
            try:
                return self.value(_merged(outer, self._plain(variant, depth + 1)), name, depth + 1, optional=True)
            except (Impossible, Nothing):
                continue
        for variant in variants:
            try:
                return self.value(_merged(outer, self._plain(variant, depth + 1)), name, depth + 1)
            except (Impossible, Nothing):
                continue
        raise Impossible(name)

    def _chosen(self, part: Schema, name: str, *, optional: bool) -> Any:
        kinds = _kinds(part) if "type" in part else None
        offered = [value for value in part["enum"] if kinds is None or any(_is(value, kind) for kind in kinds)]
        if not offered:
            raise Impossible(name)
        chosen = guesses.choice(offered, name, self._source)
        if chosen is None and None not in offered:
            if optional:
                raise Nothing(name)
            return guesses.mildest(offered)
        return chosen

    def _typed(self, kind: str, part: Schema, name: str, depth: int, *, optional: bool) -> Any:
        if kind == "object":
            return self._object(part, depth)
        if kind == "array":
            return self._array(part, name, depth)
        if kind == "string":
            return self._string(part, name, optional=optional)
        if kind == "boolean":
            return guesses.truth(name, self._source)
        if kind == "null":
            return None
        wish = guesses.number(name, self._source, part)
        if wish is None and optional:
            raise Nothing(name)
        found = numbers.nearest(wish or 0, part, whole=kind == "integer")
        if found is None:
            raise Impossible(name)
        return found

    def _object(self, part: Schema, depth: int) -> dict[str, Any]:
        required, known = list(part.get("required", ())), part.get("properties", {})
        filled: dict[str, Any] = {}
        for name in [*known, *(name for name in required if name not in known)]:
            if name not in required and depth >= DEEP:
                continue
            try:
                schema = known.get(name, part.get("additionalProperties", True))
                filled[name] = self.value(schema, name, depth + 1, optional=name not in required)
            except (Impossible, Nothing):
                if name in required:
                    raise Impossible(name) from None
        for name in [name for name in known if name not in filled and len(filled) < part.get("minProperties", 0)]:
            filled[name] = self.value(known[name], name, depth + 1)
        for name in [name for name in reversed(filled) if name not in required]:
            if len(filled) > part.get("maxProperties", len(filled)):
                del filled[name]
        return self._enough(filled, part, depth)

    def _enough(self, filled: dict[str, Any], part: Schema, depth: int) -> dict[str, Any]:
        others = part.get("additionalProperties", True)
        for number in range(part.get("minProperties", 0) - len(filled)):
            filled[f"extra_{number}"] = self.value(others, "", depth + 1)
        return filled

    def _array(self, part: Schema, name: str, depth: int) -> list[Any]:
        least, most = part.get("minItems", 0), part.get("maxItems", 1_000)
        prefix = [self.value(schema, name, depth + 1) for schema in part.get("prefixItems", ())][:most]
        items = part.get("items", True)
        if items is False:
            return prefix
        plain = self._plain(items, depth + 1)
        found = [*prefix, *(value for value in self._candidates(plain, name, depth) if value is not None)]
        found = _distinct(found) if part.get("uniqueItems") else found
        wanted = max(least, min(most, 5))
        more = self._more(plain, name, depth) if len(found) < least else iter(())
        for value in more:
            if len(found) >= least:
                break
            if not (part.get("uniqueItems") and value in found):
                found.append(value)
        if len(found) < least:
            raise Impossible(name)
        return found[:wanted]

    def _candidates(self, items: Schema, name: str, depth: int) -> list[Any]:
        if "enum" in items:
            return guesses.choices(items["enum"], self._source)
        if _kinds(items)[0] == "string" and "const" not in items and "anyOf" not in items:
            return [text for text in guesses.texts(name, self._source) if _keeps(text, items)]
        return [] if depth >= DEEP or "properties" not in items else [self.value(items, name, depth + 1)]

    def _more(self, items: Schema, name: str, depth: int) -> Iterator[Any]:
        first = self.value(items, name, depth + 1)
        if "enum" in items or "const" in items:
            yield from [*items.get("enum", ()), *[first] * 64]
            return
        for number in range(64):
            yield from (value for value in _variations(first, number, items) if _fits(value, items))

    def _string(self, part: Schema, name: str, *, optional: bool) -> str:
        for text in guesses.strings(name, part, self._source):
            if text and _keeps(fitted := guesses.fit(text, part.get("maxLength")), part):
                return fitted
        if optional:
            raise Nothing(name)
        for text in _fallbacks(part):
            if _keeps(text, part):
                return text
        raise Impossible(name)


def _fallbacks(part: Schema) -> Iterator[str]:
    least = part.get("minLength", 0)
    if "format" in part:
        yield _FORMATS.get(part["format"], "")
    if "pattern" in part:
        yield from (text for extra in range(max(least, 8) + 1) if (text := example(part["pattern"], extra)) is not None)
    yield "not stated" + _PADDING[1] * max(least - len("not stated"), 0)
    yield _PADDING[1] * least


def _keeps(text: str, part: Schema) -> bool:
    import jsonschema_rs  # only the offline provider pays for it here

    rules = {key: part[key] for key in ("minLength", "maxLength", "pattern", "format") if key in part}
    return jsonschema_rs.is_valid(rules, text, validate_formats=True)


def _fits(value: Any, items: Schema) -> bool:
    if "enum" in items or "const" in items:
        return value in items.get("enum", [items.get("const")])
    if isinstance(value, str):
        return _keeps(value, items)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return numbers.nearest(value, items, whole=isinstance(value, int)) == value
    return True


def _variations(value: Any, number: int, schema: Schema) -> Iterator[Any]:
    """
    Yield values like *value* but different, so that an array of distinct items can be filled.
    """
    if isinstance(value, bool):
        yield bool(number % 2)
    elif isinstance(value, int | float):
        step = schema.get("multipleOf", 1)
        yield from (value + number * step, value - number * step)
    elif isinstance(value, str):
        yield from (value, f"{value} {number}", f"{value[:-1]}{chr(97 + number % 26)}", chr(97 + number % 26))
        if (made := example(schema["pattern"], number) if "pattern" in schema else None) is not None:
            yield made
    elif isinstance(value, dict) and value:
        yield value
        for name, inner in schema.get("properties", {}).items():
            if name in value and isinstance(inner, Mapping) and "$ref" not in inner and "anyOf" not in inner:
                others = _variations(value[name], number, inner)
                yield from ({**value, name: other} for other in others if _fits(other, inner))
    else:
        yield value


def _kinds(part: Schema) -> list[str]:
    kinds = part.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if isinstance(kinds, list) and kinds:
        return sorted(kinds, key=lambda kind: kind == "null")
    hints = {"object": ("properties", "required"), "array": ("items", "minItems"), "number": ("minimum", "maximum")}
    return [next((kind for kind, names in hints.items() if any(name in part for name in names)), "string")]


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    types = {"string": str, "boolean": bool, "null": type(None), "object": dict, "array": list}
    return isinstance(value, types[kind])


def _merged(one: Any, other: Any) -> dict[str, Any]:
    if one is False or other is False:
        raise Impossible("nothing fits a schema that is false")
    left, right = dict(one) if isinstance(one, Mapping) else {}, dict(other) if isinstance(other, Mapping) else {}
    both = left | right
    for name in _MERGED_LISTS:
        if name in left and name in right:
            both[name] = list(dict.fromkeys([*left[name], *right[name]]))
    if "properties" in left and "properties" in right:
        both["properties"] = left["properties"] | right["properties"]
    for name, pick in (("minimum", max), ("maximum", min), ("minLength", max), ("maxLength", min)):
        if name in left and name in right:
            both[name] = pick(left[name], right[name])
    return both


def _null_last(variants: list[Any]) -> list[Any]:
    return sorted(variants, key=lambda part: isinstance(part, Mapping) and part.get("type") == "null")


def _simplest_first(variants: list[Any]) -> list[Any]:
    return sorted(
        variants, key=lambda part: len(str(part)) if isinstance(part, Mapping) and "$ref" not in part else 9999
    )


def _distinct(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]
