"""
What expressions and templates may be made of, and what they read and print.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import TemplateSyntaxError, nodes

from penstock.filters import FILTERS, TESTS

Path = tuple[str, ...]

MAX_DEPTH = 64
MAX_NODES = 20_000

_EXPRESSIONS: tuple[type[nodes.Node], ...] = (
    nodes.Name, nodes.Const, nodes.List, nodes.Dict, nodes.Pair, nodes.Tuple, nodes.Keyword,
    nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Test, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat,
)  # fmt: skip
_STATEMENTS: tuple[type[nodes.Node], ...] = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Block, nodes.If, nodes.For, nodes.Assign,
)  # fmt: skip
_WORDS: dict[type[nodes.Node], str] = {
    nodes.Call: "calls are not allowed: use a filter, as in `name | length`",
    nodes.Pow: "'**' is not allowed",
    nodes.Include: "'include' is not allowed: a template stands alone",
    nodes.Import: "'import' is not allowed: a template stands alone",
    nodes.FromImport: "'import' is not allowed: a template stands alone",
    nodes.Extends: "'extends' is not allowed: a template stands alone",
    nodes.Macro: "macros are not allowed",
}


def check_tree(tree: nodes.Node, *, expression: bool) -> None:
    """
    Refuse every construct that is not allow-listed; raises `TemplateSyntaxError` with its place.
    """
    allowed = _EXPRESSIONS if expression else (*_EXPRESSIONS, *_STATEMENTS)
    for seen, (node, depth) in enumerate(_walk(tree)):
        if depth > MAX_DEPTH or seen > MAX_NODES:
            raise TemplateSyntaxError("it is nested too deeply or too long", node.lineno)
        if type(node) not in allowed:
            known = _WORDS.get(type(node))
            raise TemplateSyntaxError(known or f"{type(node).__name__.lower()!r} is not allowed", node.lineno)
        _check_node(node, expression=expression)


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    todo = [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        yield node, depth
        todo += [(child, depth + 1) for child in node.iter_child_nodes()]


def _check_node(node: nodes.Node, *, expression: bool) -> None:
    if isinstance(node, nodes.Name):
        if node.name.startswith("_"):
            raise TemplateSyntaxError(f"the name {node.name!r} begins with an underscore", node.lineno)
        if node.name in ("self", "super", "varargs", "kwargs", "caller") or (expression and node.name == "loop"):
            raise TemplateSyntaxError(f"the name {node.name!r} is not known here", node.lineno)
    if isinstance(node, nodes.Filter):
        _check_known(node, FILTERS, "filter")
    if isinstance(node, nodes.Test):
        _check_known(node, TESTS, "test")
    if isinstance(node, nodes.Filter | nodes.Test) and (node.dyn_args is not None or node.dyn_kwargs is not None):
        raise TemplateSyntaxError("'*' and '**' arguments are not allowed", node.lineno)
    if isinstance(node, nodes.For) and node.recursive:
        raise TemplateSyntaxError("recursive loops are not allowed", node.lineno)
    if isinstance(node, nodes.Tuple) and node.ctx == "load":
        raise TemplateSyntaxError("write lists as [a, b]", node.lineno)


def _check_known(node: nodes.Filter | nodes.Test, known: object, kind: str) -> None:
    names = sorted(known)  # type: ignore[call-overload]
    if node.name not in names:
        raise TemplateSyntaxError(
            f"there is no {kind} {node.name!r}; there are {', '.join(names)}",
            node.lineno,
        )


def reads(tree: nodes.Node) -> frozenset[Path]:
    """
    Return the paths *tree* reads from outside, each as far as it is written out.
    """
    local = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"} | {"loop"}
    return frozenset(path for path in _paths(tree) if path[0] not in local)


def _paths(node: nodes.Node) -> Iterator[Path]:
    path = chain(node)
    if path is not None:
        yield path
        return
    for child in node.iter_child_nodes():
        yield from _paths(child)


def chain(node: nodes.Node) -> Path | None:
    """
    Return the path that *node* is, when it is nothing else.
    """
    if isinstance(node, nodes.Name):
        return (node.name,) if node.ctx == "load" else None
    if isinstance(node, nodes.Getattr):
        above = chain(node.node)
        return (*above, node.attr) if above else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
        above = chain(node.node)
        return (*above, node.arg.value) if above else None
    return None


def outputs(tree: nodes.Node) -> tuple[tuple[str, ...], frozenset[str]]:
    """
    Return the names printed whole, in order, and the names printed in any other way.
    """
    whole: list[str] = []
    other: set[str] = set()
    outside = {path[0] for path in reads(tree)}
    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            if isinstance(node, nodes.Name):
                whole.append(node.name)
            else:
                other |= {path[0] for path in _paths(node)}
    return tuple(name for name in whole if name in outside), frozenset(other & outside)
