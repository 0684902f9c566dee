"""
Expressions in manifests: compiled when the manifest is read, evaluated without surprises.

A *formula* is a bare expression. A *shape* is JSON data whose texts are formulas; rendering it gives
JSON data again, so no value can ever break out of its place. `{$each: FORMULA, $item: SHAPE}` in a shape is
a list: the shape once for each `item` of what the formula gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from penstock.errors import Rejected
from penstock.expressions import EvaluationError, Expression, ExpressionError, MissingField, compile_expression

Scope = Mapping[str, Any]
_LEFT_OUT = object()
_EACH, _ITEM = "$each", "$item"


def compiled(text: Any) -> Expression:
    """
    Compile *text*; raises `ValueError` with the column.
    """
    if isinstance(text, Expression):
        return text
    if not isinstance(text, str):
        raise ValueError(f"an expression is text, not {text!r} (put it in quotes)")  # noqa: TRY004  # pydantic's way
    try:
        return compile_expression(text)
    except ExpressionError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise ValueError(f"{error.message}, at column {error.column} of {text!r}{hint}") from None


def compiled_shape(data: Any) -> Any:
    """
    Return *data* with every text in it compiled.
    """
    if isinstance(data, Mapping):
        if (_EACH in data or _ITEM in data) and set(data) != {_EACH, _ITEM}:
            raise ValueError(f"a list in a shape is written {{{_EACH}: EXPRESSION, {_ITEM}: SHAPE}}")
        return {name: compiled_shape(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [compiled_shape(value) for value in data]
    return compiled(data) if isinstance(data, str) else data


Formula = Annotated[Expression, BeforeValidator(compiled)]
Shape = Annotated[Any, BeforeValidator(compiled_shape)]


def value(formula: Expression, scope: Scope) -> Any:
    """
    Return what *formula* is with *scope*; None when a field it names is not there.
    """
    try:
        return formula.evaluate(scope)
    except MissingField:
        return None
    except EvaluationError as error:
        raise Rejected(f"The data does not fit: {error}") from error


def truth(formula: Expression, scope: Scope) -> bool:
    """
    Return whether *formula* holds; a field that is not there makes it false.
    """
    try:
        return bool(formula.evaluate(scope))
    except (MissingField, EvaluationError):
        return False


def needed(formula: Expression, scope: Scope, what: str) -> str:
    """
    Return the text of *formula*; raises `Rejected` when there is none.
    """
    found = value(formula, scope)
    if found is None or found == "" or isinstance(found, dict | list | bool):
        raise Rejected(f"There is no {what} in it: {formula.text!r} gives nothing")
    return str(found)


def render(shape: Any, scope: Scope) -> Any:
    """
    Return *shape* with every formula in it evaluated; what names a field that is not there is left out.
    """
    found = _rendered(shape, scope)
    return None if found is _LEFT_OUT else found


def _rendered(shape: Any, scope: Scope) -> Any:
    if isinstance(shape, Expression):
        try:
            return shape.evaluate(scope)
        except MissingField:
            return _LEFT_OUT
        except EvaluationError as error:
            raise Rejected(f"The data does not fit: {error}") from error
    if isinstance(shape, dict) and _EACH in shape:
        return _each(shape, scope)
    if isinstance(shape, dict):
        parts = {name: _rendered(part, scope) for name, part in shape.items()}
        return {name: part for name, part in parts.items() if part is not _LEFT_OUT}
    if isinstance(shape, list):
        return [part for item in shape if (part := _rendered(item, scope)) is not _LEFT_OUT]
    return shape


def _each(shape: Mapping[str, Any], scope: Scope) -> Any:
    items = _rendered(shape[_EACH], scope)
    if items is _LEFT_OUT or items is None:
        return _LEFT_OUT
    if not isinstance(items, list):
        raise Rejected(f"The data does not fit: {shape[_EACH].text!r} is no list")
    rendered = [_rendered(shape[_ITEM], {**scope, "item": item}) for item in items]
    return [part for part in rendered if part is not _LEFT_OUT]
