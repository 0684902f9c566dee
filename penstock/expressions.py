"""
Expressions and templates: the one language ops write, and the only place that compiles it.

    expression = compile_expression("event.data.status != 'spam'")
    expression.evaluate({"event": {"data": {"status": "new"}}})  # True

    ExpressionError   it cannot be compiled: a person made a mistake, `column` says where
    MissingField      evaluated, and a field it names is not there
    EvaluationError   evaluated, and the data does not fit or the work grew too large
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import Template as JinjaTemplate
from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context

from penstock.errors import Invalid, PenstockError
from penstock.filters import SANDBOX
from penstock.sandbox import MAX_TEXT, Absent, EvaluationError, bound, metered, plain
from penstock.shortcuts import NOTHING, Shortcut, shortcut
from penstock.syntax import Path, check_tree, outputs, reads

__all__ = [
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "MissingField",
    "Template",
    "compile_expression",
    "compile_template",
]

MAX_EXPRESSION = 2_000  # characters
MAX_TEMPLATE = 256_000  # characters
_SHOWN = 80  # characters of an expression in a message
_RESULT = "_result"
_EARLY = "unexpected 'end of template'"
_AT = re.compile(r" at (\d+)$")


class ExpressionError(Invalid):
    """
    An expression or template cannot be compiled.
    """

    def __init__(
        self,
        message: str,
        column: int = 1,
        *,
        line: int = 1,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        """What is wrong, without the place."""
        self.column = column
        """1-based, within the expression's text; 1 for a template."""
        self.line = line
        """1-based, within a template; 1 for an expression."""
        super().__init__(message, where=where, hint=hint)


class MissingField(PenstockError):
    """
    A field an expression or template names is not there.
    """

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path!r} is not there, in {_short(text)!r} (name another field, or add `| default(…)`)")
        self.path = path
        """Dotted, as written."""
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """
    A compiled expression.
    """

    text: str
    roots: frozenset[str]
    """Names it starts from, e.g. `event`."""
    paths: frozenset[Path]
    """Fields it reads, each as far as it is written out: `("event", "data", "status")`."""
    _template: JinjaTemplate
    _shortcut: Shortcut | None
    """How it is worked out without Jinja, where that can be done."""

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """
        Return its JSON value; raises `MissingField` or `EvaluationError`.
        """
        if self._shortcut is not None and (found := self._shortcut(scope)) is not NOTHING:
            try:
                return plain(found)
            except EvaluationError as error:
                raise _translated(error, self.text, self.paths, scope) from None
        used = {name: scope[name] for name in self.roots if name in scope}
        try:
            return self._evaluated(used)
        except _RAISED as error:
            raise _translated(error, self.text, self.paths, scope) from None

    def _evaluated(self, used: dict[str, Any]) -> Any:
        context = Context(SANDBOX, used, None, {})
        with metered() as meter:
            for value in used.values():
                meter.value(value)
            for _ in self._template.root_render_func(context):
                pass
            return meter.deep(meter.value(context.vars[_RESULT]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """
    A compiled template: text with blocks.
    """

    name: str
    blocks: tuple[str, ...]
    """Names of its blocks, in written order."""
    _trees: Mapping[str | None, nodes.Node]
    _paths: Mapping[str | None, frozenset[Path]]
    _template: JinjaTemplate

    def roots(self, block: str | None = None) -> frozenset[str]:
        """
        Return every name from outside that *block* (by default the whole template) uses.
        """
        return frozenset(path[0] for path in self.paths(block))

    def paths(self, block: str | None = None) -> frozenset[Path]:
        """
        Return the fields it reads, each as far as it is written out.
        """
        return self._paths[block]

    def attributes(self, block: str | None = None) -> frozenset[Path]:
        """
        Return the paths that reach into a name, e.g. `("ticket", "subject")`.
        """
        return frozenset(path for path in self.paths(block) if len(path) > 1)

    def placed(self, block: str | None = None) -> tuple[str, ...]:
        """
        Return the names printed whole as `{{ name }}`, in written order, repeated ones too.
        """
        return outputs(self._tree(block))[0]

    def altered(self, block: str | None = None) -> frozenset[str]:
        """
        Return the names printed through a filter, an operator or a part of them.
        """
        return outputs(self._tree(block))[1]

    def line_of(self, name: str, block: str | None = None) -> int:
        """
        Return the line that first uses *name*; 1 when none does.
        """
        lines = [node.lineno for node in self._tree(block).find_all(nodes.Name) if node.name == name]
        return min(lines, default=1)

    def render(self, scope: Mapping[str, Any]) -> str:
        """
        Return the whole template with *scope*; raises `MissingField` or `EvaluationError`.
        """
        return self._rendered(None, scope)

    def render_block(self, block: str, scope: Mapping[str, Any]) -> str:
        """
        Return one block with *scope*; raises `MissingField` or `EvaluationError`.
        """
        return self._rendered(block, scope)

    def _tree(self, block: str | None) -> nodes.Node:
        return self._trees[block]

    def _rendered(self, block: str | None, scope: Mapping[str, Any]) -> str:
        paths = self.paths(block)
        used = {path[0]: scope[path[0]] for path in paths if path[0] in scope}
        run: Callable[..., Iterator[str]] = self._template.blocks[block] if block else self._template.root_render_func
        try:
            with metered() as meter:
                for value in used.values():
                    meter.value(value)
                return _limited(run(self._template.new_context(used)))
        except _RAISED as error:
            raise _translated(error, self.name, paths, scope) from None


def _limited(pieces: Iterator[str]) -> str:
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_TEXT:
            raise EvaluationError(f"it prints more than {MAX_TEXT} characters")
    return "".join(kept)


_RAISED = (Absent, EvaluationError, TypeError, ValueError, LookupError, RecursionError, ArithmeticError)
"""What the sandbox raises."""


def _translated(error: Exception, text: str, paths: frozenset[Path], scope: Mapping[str, Any]) -> PenstockError:
    """
    Return what the sandbox raised as one of this module's errors.
    """
    if isinstance(error, Absent):
        return MissingField(_where(error, paths, scope), text)
    if isinstance(error, EvaluationError):
        return EvaluationError(f"{_short(text)!r}: {error}")
    return EvaluationError(f"{_short(text)!r} does not fit the data: {error}")


def _where(absent: Absent, paths: frozenset[Path], scope: Mapping[str, Any]) -> str:
    for path in sorted(paths):
        value: Any = scope
        for place, part in enumerate(path):
            if part == absent.name and (value is absent.parent or (place == 0 and part not in scope)):
                return ".".join(path[: place + 1])
            if not isinstance(value, Mapping) or part not in value:
                break
            value = value[part]
    return absent.name


@lru_cache(maxsize=2048)
def compile_expression(text: str) -> Expression:
    """
    Compile a bare expression; raises `ExpressionError`.
    """
    if not text.strip():
        raise ExpressionError("it is empty")
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"it is longer than {MAX_EXPRESSION} characters")
    with _compiling(text, template=None):
        tree = _parsed(text)
        check_tree(tree, expression=True)
        paths = reads(tree)
        quick = shortcut(tree)
        body = nodes.Template([nodes.Assign(nodes.Name(_RESULT, "store"), tree, lineno=1)], lineno=1)
        bound(body)
        compiled = _linked(body)
    return Expression(
        text=text,
        roots=frozenset(path[0] for path in paths),
        paths=paths,
        _template=compiled,
        _shortcut=quick,
    )


def _parsed(text: str) -> nodes.Expr:
    parser = Parser(SANDBOX, text, state="variable")
    lexer = SANDBOX.lexer
    parser.stream = TokenStream(lexer.wrap(_columns(text), None, None), None, None)
    tree = parser.parse_expression()
    if not parser.stream.eos:
        token = parser.stream.current
        raise TemplateSyntaxError(f"unexpected {token.value!r} after the end of the expression", token.lineno)
    return tree


def _columns(text: str) -> Iterator[tuple[int, str, str]]:
    column = 1
    for _, kind, value in SANDBOX.lexer.tokeniter(text, None, state="variable"):
        yield column, kind, value  # where Jinja counts lines we count columns
        column += len(value)


@lru_cache(maxsize=256)
def compile_template(source: str, name: str) -> Template:
    """
    Compile a template; *name* is its path, for messages. Raises `ExpressionError`.
    """
    if len(source) > MAX_TEMPLATE:
        raise ExpressionError(f"it is longer than {MAX_TEMPLATE} characters", where=f"{name}:1")
    with _compiling(source, template=name):
        tree = SANDBOX.parse(source)
        check_tree(tree, expression=False)
        blocks: dict[str | None, nodes.Node] = {block.name: block for block in tree.find_all(nodes.Block)}
        bounded = SANDBOX.parse(source)
        bound(bounded)
        compiled = _linked(bounded)
    return Template(
        name=name,
        blocks=tuple(name for name in blocks if name),
        _trees={None: tree, **blocks},
        _paths={name: reads(part) for name, part in ((None, tree), *blocks.items())},
        _template=compiled,
    )


def _linked(tree: nodes.Template) -> JinjaTemplate:
    return SANDBOX.from_string(tree)


@contextmanager
def _compiling(text: str, *, template: str | None) -> Iterator[None]:
    """
    Turn what parsing and compiling raise into `ExpressionError`.
    """
    try:
        yield
    except TemplateSyntaxError as error:
        place = error.lineno if template else _column(error, text)
        raise _refused(_worded(error.message or "it cannot be read"), text, place, template) from None
    except (RecursionError, MemoryError, SyntaxError, ValueError):
        raise _refused("it is nested too deeply, or holds a number that is too long", text, 1, template) from None


def _column(error: TemplateSyntaxError, text: str) -> int:
    message = error.message or ""
    if _EARLY in message:
        return len(text) + 1
    at = _AT.search(message)
    return min(int(at[1]) + 1 if at else error.lineno, len(text) + 1)


def _refused(message: str, text: str, place: int, template: str | None) -> ExpressionError:
    if template is not None:
        return ExpressionError(message, line=place, where=f"{template}:{place}")
    hint = "write it bare, without {{ }}" if "{{" in text or "{%" in text else None
    hint = "compare with ==" if message.startswith("unexpected '='") else hint
    return ExpressionError(message, place, hint=hint)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _worded(message: str) -> str:
    message = _AT.sub("", message).replace(_EARLY, "it ends too early")
    return message[:1].lower() + message[1:].rstrip(".")
