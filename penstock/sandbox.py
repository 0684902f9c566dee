"""
The one Jinja environment of the house: JSON in, text or JSON out, nothing else within reach.

Three walls, each enough for most attacks: the syntax tree is allow-listed before it is compiled, the
compiled code reaches data only through `getitem` here (a mapping yields its keys, a list its items,
anything else nothing), and every step is charged to a meter, so that neither loops nor text can grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, cast

import orjson
from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from penstock.errors import PenstockError

MAX_STEPS = 200_000
"""Work one evaluation may do; a step is about a microsecond."""
MAX_TEXT = 1_000_000
"""Characters of any text, and items of any list, made on the way or at the end."""
MAX_INTEGER = 2**63 - 1
_CHARACTERS_PER_STEP = 64
_NODES_PER_STEP = 8  # of what is only looked through
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_LOOP_FIELDS = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})
_JSON = (str, int, float, bool, type(None), dict, list)


class EvaluationError(PenstockError):
    """
    An expression or template cannot be worked out with this data.
    """


class Absent(Exception):
    """
    A name or field that is not there was used.
    """

    def __init__(self, parent: Any, name: str) -> None:
        super().__init__(name)
        self.parent = parent
        self.name = name


class Meter:
    """
    What one evaluation may still do.
    """

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def charge(self, steps: int) -> None:
        """
        Take *steps*; raises `EvaluationError` when they are used up.
        """
        self.left -= steps
        if self.left < 0:
            raise EvaluationError(f"it takes more than {MAX_STEPS} steps: loop over less data")

    def value(self, value: Any) -> Any:
        """
        Charge for the size of *value* and return it; refuse what is not JSON or has grown too large.
        """
        kind = type(value)
        if kind is str or kind is dict or kind is list:  # nearly always; no call on the way
            size = len(value)
            if size > MAX_TEXT:
                raise EvaluationError(f"it makes a value of more than {MAX_TEXT} characters or items")
            self.left -= 1 + size // _CHARACTERS_PER_STEP
            if self.left < 0:
                self.charge(0)
            return value
        self.charge(1)
        if kind in _JSON:
            return _finite(value)
        if isinstance(value, Undefined | LoopContext):
            return value
        raise EvaluationError(f"only JSON data may be used here, not {type(value).__name__!r}")

    def deep(self, value: Any) -> Any:
        """
        Charge for everything inside *value*, counted as often as it occurs, and return it; refuse what is not JSON.

        A list may hold itself many times over at no cost; printing or comparing it would not be free.
        """
        todo, seen = [value], 0
        while todo:
            item = todo.pop()
            seen += 1
            if type(item) is dict:
                todo += item.values()
            elif type(item) is list:
                todo += item
            elif type(item) is str:
                seen += len(item) // _CHARACTERS_PER_STEP
            elif type(item) not in _JSON:
                _refused(item)
            if len(todo) + seen > self.left * _NODES_PER_STEP:
                self.charge(self.left + 1)
        self.charge(seen // _NODES_PER_STEP)
        return value


_PLAINLY_SMALL = 1_000  # characters of a text that needs no measuring


def plain(value: Any) -> Any:
    """
    Return *value*, refused when it is not JSON or is too large, as any result is.
    """
    if value is None or value is True or value is False or (type(value) is str and len(value) <= _PLAINLY_SMALL):
        return value
    meter = Meter()
    return meter.deep(meter.value(value))


def _finite(value: Any) -> Any:
    if type(value) is int and abs(value) > MAX_INTEGER:
        raise EvaluationError("it makes a whole number of more than 64 bits")
    if type(value) is float and not math.isfinite(value):
        raise EvaluationError("it makes a number that is not finite")
    return value


_METER: ContextVar[Meter] = ContextVar("penstock_meter")


class metered:  # noqa: N801  # reads as the context manager it is
    """
    Measure everything evaluated inside.
    """

    __slots__ = ("_meter", "_token")
    _token: Token[Meter]

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._meter = Meter(steps)

    def __enter__(self) -> Meter:
        self._token = _METER.set(self._meter)
        return self._meter

    def __exit__(self, *_: object) -> None:
        _METER.reset(self._token)


def text(value: Any) -> str:
    """
    Return how a value is printed: null as nothing, the rest as JSON would, text without quotes.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises
    return "" if value is None else tojson(value)


class Missing(StrictUndefined):
    """
    What stands for a name or field that is not there; raises `Absent` when it is used.
    """

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = None,
        name: str | None = None,
    ) -> None:
        def absent(_message: str | None = None) -> Absent:
            return Absent(obj, name or hint or "")

        super().__init__(hint, obj, name, cast("type[TemplateRuntimeError]", absent))


def tojson(value: Any) -> str:
    """
    Return *value* as compact JSON, characters unescaped.
    """
    try:
        _METER.get().deep(value)
        return orjson.dumps(value, default=_refused, option=_STRICT).decode()
    except TypeError as exc:
        if isinstance(exc.__cause__, Absent):
            raise exc.__cause__ from None
        raise EvaluationError(f"only JSON data may be used here: {exc}") from None


def _refused(value: Any) -> str:
    if isinstance(value, Missing):
        return str(value)  # raises Absent
    raise EvaluationError(f"only JSON data may be used here, not {type(value).__name__!r}")


class Sandbox(ImmutableSandboxedEnvironment):
    """
    Jinja without globals, calls, attributes of objects, or unbounded work.
    """

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    intercepted_unops = frozenset({"+", "-"})

    def __init__(
        self,
        filters: Mapping[str, Callable[..., Any]],
        tests: Mapping[str, Callable[..., Any]],
        lenient: frozenset[str],
    ) -> None:
        super().__init__(
            undefined=Missing,
            autoescape=False,
            optimized=False,  # the optimiser would work out constants while compiling, unmetered
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=0,
            finalize=_printed,
        )
        self.globals.clear()
        self.filters = {name: _bounded(filter_, strict=name not in lenient) for name, filter_ in filters.items()}
        self.filters |= {"_each": _each, "_weighed": _weighed, "_concat": _concat}
        self.tests = dict(tests)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """
        Return a field of a mapping; nothing has attributes here.
        """
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """
        Return a mapping's field or a list's item, or an undefined that remembers where it was looked for.
        """
        _METER.get().charge(1)
        if isinstance(obj, Undefined):
            return obj
        if type(obj) is dict and type(argument) is str and argument in obj:
            return _METER.get().value(obj[argument])
        if type(obj) in (list, str) and type(argument) is int and -len(obj) <= argument < len(obj):
            return _METER.get().value(obj[argument])
        if type(obj) is LoopContext and argument in _LOOP_FIELDS:
            return getattr(obj, argument)
        return Missing(obj=obj, name=str(argument))

    def call(self, *_args: Any, **_kwargs: Any) -> Any:
        raise EvaluationError("nothing can be called here")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002  # Jinja's signature
        """
        Calculate with numbers; add texts and lists.
        """
        for side in (left, right):
            if isinstance(side, Undefined):
                str(side)  # raises
        numbers = all(type(side) in (int, float) for side in (left, right))
        joins = operator == "+" and type(left) is type(right) and type(left) in (str, list)
        if operator == "**" or not (numbers or joins):
            raise EvaluationError(f"{operator!r} cannot take {_kind(left)} and {_kind(right)}")
        try:
            return _METER.get().value(self.binop_table[operator](left, right))
        except ZeroDivisionError:
            raise EvaluationError("it divides by zero") from None
        except OverflowError:
            raise EvaluationError("it makes a number that is too large") from None

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:  # noqa: ARG002  # Jinja's signature
        """
        Negate numbers only.
        """
        if isinstance(arg, Undefined):
            str(arg)  # raises
        if type(arg) not in (int, float):
            raise EvaluationError(f"{operator!r} cannot take {_kind(arg)}")
        return self.unop_table[operator](arg)


def _kind(value: Any) -> str:
    names = {
        str: "text",
        bool: "true or false",
        dict: "a mapping",
        list: "a list",
        type(None): "null",
    }
    return names.get(type(value), "a number")


@pass_context
def _printed(_context: Context, value: Any) -> str:
    return text(_METER.get().value(value))


def _bounded(filter_: Callable[..., Any], *, strict: bool) -> Callable[..., Any]:
    @pass_context
    def run(_context: Context, *args: Any, **kwargs: Any) -> Any:
        meter = _METER.get()
        for value in (*args, *kwargs.values()):
            meter.value(value)
            if strict or not isinstance(value, Undefined):
                meter.deep(value)
        return meter.value(filter_(*args, **kwargs))

    return run


@pass_context
def _each(_context: Context, items: Any, weight: int) -> list[Any]:
    if isinstance(items, Undefined):
        str(items)  # raises
    if type(items) not in (list, dict):
        raise EvaluationError(f"a loop needs a list or a mapping, not {_kind(items)}")
    _METER.get().charge(len(items) * weight)
    return [_METER.get().value(item) for item in items]


@pass_context
def _weighed(_context: Context, value: Any) -> Any:
    return _METER.get().deep(_METER.get().value(value))


@pass_context
def _concat(_context: Context, *parts: Any) -> str:
    return str(_METER.get().value("".join([text(_METER.get().value(part)) for part in parts])))


def bound(tree: nodes.Node) -> None:
    """
    Rewrite *tree* so that loops, comparisons, slices and `~` are charged too.
    """
    for node in list(tree.find_all((nodes.For, nodes.Compare, nodes.Operand))):
        if isinstance(node, nodes.For):
            weight = sum(1 for child in node.body for _ in child.find_all(nodes.Node)) + 2
            node.iter = _filter(node.iter, "_each", nodes.Const(weight))
        elif isinstance(node, nodes.Compare | nodes.Operand):
            node.expr = _filter(node.expr, "_weighed")
    _replace(tree)


def _replace(node: nodes.Node) -> None:
    for name, value in list(node.iter_fields()):
        if isinstance(value, list):
            setattr(
                node,
                name,
                [_replaced(item) if isinstance(item, nodes.Node) else item for item in value],
            )
        elif isinstance(value, nodes.Node):
            setattr(node, name, _replaced(value))


def _replaced(node: nodes.Node) -> nodes.Node:
    _replace(node)
    if isinstance(node, nodes.Concat):
        return _filter(node.nodes[0], "_concat", *node.nodes[1:])
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _filter(node, "_weighed")
    return node


def _filter(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, list(args), [], None, None, lineno=node.lineno)
