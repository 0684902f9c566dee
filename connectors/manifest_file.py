"""
Manifests as files: read strictly, and every mistake told with its place.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from connectors.manifest import Manifest
from penstock.errors import Invalid

MOST = 256 * 1024  # bytes of a manifest
_DEEPEST = 40  # levels
_PLAIN = "tag:yaml.org,2002:"

Place = tuple[int, int]
Keys = tuple[Any, ...]


def read_manifest(path: Path) -> Manifest:
    """
    Return the manifest in *path*; raises `Invalid` with file, line and column of its first mistake.
    """
    places: dict[Keys, Place] = {}
    name = f"{path.parent.name}/{path.name}"
    data = _plain(_composed(path, name), (), places, name)
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key is also a missing one
        where, message, hint = _explained(first, places)
        raise Invalid(message, where=f"{name}:{where[0]}:{where[1]}", hint=hint) from None


def _composed(path: Path, name: str) -> Node:
    try:
        text = path.read_bytes()
        if len(text) > MOST:
            raise Invalid(f"a manifest has at most {MOST} bytes", where=name)
        node = YAML(typ="safe", pure=True).compose(text.decode())
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=name) from None
    except RecursionError:
        raise Invalid("is nested too deeply", where=name) from None
    except UnicodeDecodeError:
        raise Invalid("is not UTF-8", where=name) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise Invalid(f"is not YAML: {error.problem}", where=where) from None
    except YAMLError as error:
        raise Invalid(f"is not YAML: {str(error).splitlines()[0]}", where=name) from None
    if not isinstance(node, MappingNode):
        raise Invalid("a manifest is a mapping, and begins with `name:`", where=f"{name}:1:1")
    return node


def _plain(node: Node, keys: Keys, places: dict[Keys, Place], name: str) -> Any:
    """
    Return the node as JSON data and note where each value stands.
    """
    place = (node.start_mark.line + 1, node.start_mark.column + 1)
    if places.setdefault(keys, place) != place or len(keys) > _DEEPEST:
        raise Invalid("is nested too deeply", where=f"{name}:{place[0]}:{place[1]}")
    if node.anchor:
        raise Invalid("anchors and aliases are not allowed", where=f"{name}:{place[0]}:{place[1]}")
    if isinstance(node, MappingNode):
        return _mapping(node, keys, places, name)
    if isinstance(node, SequenceNode):
        return [_plain(part, (*keys, number), places, name) for number, part in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(node, f"{name}:{place[0]}:{place[1]}")


def _mapping(node: MappingNode, keys: Keys, places: dict[Keys, Place], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in node.value:
        where = f"{name}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, ScalarNode):
            raise Invalid("a key is text", where=where)
        if key.value in found:
            raise Invalid(f"the key {key.value!r} is there twice", where=where)
        found[key.value] = _plain(part, (*keys, key.value), places, name)
        places[(*keys, key.value, "")] = (key.start_mark.line + 1, key.start_mark.column + 1)
    return found


def _scalar(node: ScalarNode, where: str) -> Any:
    kind = str(node.tag).removeprefix(_PLAIN)
    try:
        if kind == "int":
            return int(node.value.replace("_", ""), 0)
        if kind == "float":
            return float(node.value)
    except ValueError:
        return node.value
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "null":
        return None
    if kind in ("str", "timestamp"):
        return node.value
    raise Invalid(f"the tag {node.tag!r} is not allowed", where=where)


def _explained(error: Any, places: dict[Keys, Place]) -> tuple[Place, str, str | None]:
    keys: Keys = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        place = _place((*keys, ""), places)
        return place, f"there is no key {keys[-1]!r} here", _similar(keys)
    if error["type"] == "missing":
        return _place(keys[:-1], places), f"the key {keys[-1]!r} is missing", None
    message = error["msg"].removeprefix("Value error, ")
    return _place(keys, places), message[:1].lower() + message[1:], None


def _place(keys: Keys, places: dict[Keys, Place]) -> Place:
    """
    Return where the value at *keys* stands, or the nearest one around it.
    """
    while keys and keys not in places:
        keys = (*keys[:-2], "") if keys[-1] == "" and keys[:-1] not in places else keys[:-1]
    return places.get(keys, (1, 1))


def _similar(keys: Keys) -> str | None:
    known: list[str] = []
    if len(keys) == 1:
        known = [field.alias or name for name, field in Manifest.model_fields.items()]
    close = difflib.get_close_matches(str(keys[-1]), known, 1)
    return f"did you mean {close[0]!r}?" if close else None
