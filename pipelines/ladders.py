"""
Whom a pipeline asks: its one model, its route, and another route at its limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ai import Ladder, Shadow
from penstock.errors import Invalid
from penstock.expressions import MissingField, compile_expression
from pipelines.declaration import Declaration, Pipeline, Route, Use


def ladder_of(declaration: Declaration, pipeline: Pipeline) -> Ladder:
    """
    Return the models *pipeline* asks; raises `Invalid` when it names none.
    """
    ask = pipeline.ask
    if ask.route is not None:
        return _shadowed(_climbing(declaration.routes[ask.route]), ask.route, declaration.routes[ask.route])
    if ask.model is None:
        raise Invalid("a pipeline names no model", hint="give it `ask.model` or `ask.route`")
    return Ladder(models=(ask.model,))


def instead_of(declaration: Declaration, pipeline: Pipeline) -> tuple[Ladder, ...]:
    """
    Return the ladders that are tried in turn at the limits of *pipeline*: the route, and what is left of it.
    """
    limit = pipeline.limits.at_limit
    return tuple(_climbing(declaration.routes[limit.use]).rungs) if isinstance(limit, Use) else ()


def _shadowed(ladder: Ladder, name: str, route: Route) -> Ladder:
    """
    Return *ladder* with its shadow. The routes of limits have none: no money is left for comparing there.
    """
    if not route.shadow or len(route.try_) < 2:
        return ladder
    return replace(ladder, shadow=Shadow(route=name, share=route.shadow, scores=scores_of(route)))


def scores_of(route: Route) -> frozenset[tuple[str, ...]]:
    """
    Return the fields of the answer that `escalate_when` reads: those that are numbers say how sure it is.
    """
    if route.escalate_when is None:
        return frozenset()
    return frozenset(path[1:] for path in compile_expression(route.escalate_when).paths if path[0] == "output")


def _climbing(route: Route) -> Ladder:
    if route.escalate_when is None:
        return Ladder(models=route.try_)
    wanted = compile_expression(route.escalate_when)

    def unsure(output: Mapping[str, Any]) -> bool:
        try:
            return bool(wanted.evaluate({"output": output}))
        except MissingField:
            return True  # an answer that leaves it out is not a sure one

    return Ladder(models=route.try_, unsure=unsure)
