"""
The plain cases of expressions, worked out without Jinja: most of what people write is one of them.

A shortcut gives exactly what the sandbox would, or `NOTHING`: then the sandbox is asked, which also
knows what is wrong. It looks only at texts, truth values and null that are there and of bounded size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import nodes

from penstock.sandbox import MAX_TEXT

NOTHING = object()
"""What a shortcut gives when it is none."""
_ABSENT = object()
_TEXT = frozenset({str})
_COMPARED = frozenset({"eq", "ne", "in", "notin"})

Shortcut = Callable[[Mapping[str, Any]], Any]


def shortcut(node: nodes.Node) -> Shortcut | None:
    """
    Return the shortcut of an expression; None when it has none.
    """
    path = _path(node)
    if path is not None:
        return lambda scope: _present(_walked(path, scope))
    match node:
        case nodes.Const(value=str() | bool() | None as value):
            return lambda _scope: value
        case nodes.Filter(name="default", node=nodes.Node() as inner, kwargs=[]):
            return _default(inner, node.args)
        case nodes.Concat():
            return _concat(node)
        case nodes.Getitem(node=nodes.Node() as inner, arg=nodes.Slice() as part):
            return _slice(inner, part)
        case nodes.Compare(ops=[nodes.Operand(op=operator, expr=right)]) if operator in _COMPARED:
            return _compare(node.expr, operator, right)
        case nodes.And() | nodes.Or():
            return _either(node)
        case nodes.Not():
            return _negation(node.node)
        case nodes.Test(name="none", args=[], kwargs=[]):
            return _is_null(node.node)
    return None


def _path(node: nodes.Node) -> tuple[str | int, ...] | None:
    match node:
        case nodes.Name(name=name, ctx="load"):
            return (name,)
        case (
            nodes.Getattr(node=above, attr=part)
            | nodes.Getitem(node=above, arg=nodes.Const(value=str() | int() as part))
        ):
            found = _path(above)
            return None if found is None or isinstance(part, bool) else (*found, part)
    return None


def _walked(path: Sequence[str | int], scope: Mapping[str, Any]) -> Any:
    """
    Return what stands at the end of *path*, or that it is absent, or `NOTHING` when the way is no plain one.
    """
    found = scope.get(path[0], _ABSENT)  # type: ignore[arg-type]  # a path begins with a name
    for part in path[1:]:
        if type(found) is dict and type(part) is str:
            found = found.get(part, _ABSENT)
        elif type(found) is list and type(part) is int and 0 <= part < len(found):
            found = found[part]
        else:
            return _ABSENT if found is _ABSENT else NOTHING
    return found


def _present(found: Any) -> Any:
    return NOTHING if found is _ABSENT else found


def _small(found: Any) -> bool:
    """
    Say whether *found* is a text, a truth value or null that needs no measuring.
    """
    return (type(found) is str and len(found) <= MAX_TEXT) or found is None or found is True or found is False


def _default(inner: nodes.Node, args: Sequence[nodes.Expr]) -> Shortcut | None:
    path = _path(inner)
    if path is None or len(args) > 1 or not all(isinstance(arg, nodes.Const) for arg in args):
        return None
    other = args[0].value if args else ""  # type: ignore[attr-defined]  # all of them are constants
    if not _small(other):
        return None

    def run(scope: Mapping[str, Any]) -> Any:
        found = _walked(path, scope)
        return other if found is _ABSENT or found is None else found

    return run


def _operands(parts: Sequence[nodes.Node]) -> list[Shortcut] | None:
    found = [known for part in parts if (known := shortcut(part)) is not None]
    return found if len(found) == len(parts) else None


def _concat(node: nodes.Concat) -> Shortcut | None:
    parts = _operands(node.nodes)
    if parts is None:
        return None

    def run(scope: Mapping[str, Any]) -> Any:
        texts = [part(scope) for part in parts]
        if not _TEXT.issuperset(map(type, texts)):
            return NOTHING
        joined = "".join(texts)
        return joined if len(joined) <= MAX_TEXT else NOTHING

    return run


def _slice(inner: nodes.Node, part: nodes.Slice) -> Shortcut | None:
    """
    Return the shortcut of a part of a text, between written places.
    """
    known, ends = shortcut(inner), (part.start, part.stop, part.step)
    if known is None or not all(end is None or isinstance(end, nodes.Const) for end in ends):
        return None
    places = [None if end is None else end.value for end in ends]  # type: ignore[attr-defined]  # all are constants
    if any(type(place) not in (int, type(None)) for place in places) or places[2] == 0:
        return None
    between = slice(*places)

    def run(scope: Mapping[str, Any]) -> Any:
        found = known(scope)
        return found[between] if type(found) is str and len(found) <= MAX_TEXT else NOTHING

    return run


def _compare(left: nodes.Node, operator: str, right: nodes.Node) -> Shortcut | None:
    parts = _operands([left, right])
    if parts is None:
        return None
    one, other = parts
    wanted = operator in ("eq", "in")
    contains = operator in ("in", "notin")

    def run(scope: Mapping[str, Any]) -> Any:
        item, whole = one(scope), other(scope)
        if not _small(item):
            return NOTHING
        if not contains:
            return (item == whole) is wanted if _small(whole) else NOTHING
        if type(item) is not str or not _searched(whole):
            return NOTHING
        return (item in whole) is wanted

    return run


def _searched(whole: Any) -> bool:
    """
    Say whether *whole* is a text or a list of texts that may be searched.
    """
    if type(whole) is list:
        return len(whole) <= MAX_TEXT and _TEXT.issuperset(map(type, whole))
    return type(whole) is str and len(whole) <= MAX_TEXT


def _either(node: nodes.And | nodes.Or) -> Shortcut | None:
    parts = _operands([node.left, node.right])
    if parts is None:
        return None
    left, right = parts
    ends = isinstance(node, nodes.Or)

    def run(scope: Mapping[str, Any]) -> Any:
        first = left(scope)
        if not _small(first) or bool(first) is ends:
            return first if _small(first) else NOTHING
        second = right(scope)
        return second if _small(second) else NOTHING

    return run


def _negation(inner: nodes.Node) -> Shortcut | None:
    known = shortcut(inner)
    if known is None:
        return None

    def run(scope: Mapping[str, Any]) -> Any:
        found = known(scope)
        return not found if _small(found) else NOTHING

    return run


def _is_null(inner: nodes.Node) -> Shortcut | None:
    known = shortcut(inner)
    if known is None:
        return None

    def run(scope: Mapping[str, Any]) -> Any:
        found = known(scope)
        return found is None if _small(found) else NOTHING

    return run
