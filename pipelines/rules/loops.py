"""
No pipeline wakes itself, alone or in a circle with others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from connectors.specs import ActionSpec
from pipelines.declaration import Deliver, Pipeline
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.survey import Survey

Edge = tuple[int, str]
"""A delivery's number, and the pipeline it wakes."""


@rule("loops/changed")
def changed(survey: Survey) -> Iterator[Finding]:
    """
    A pipeline writes no field whose change starts it.
    """
    for keys, pipeline in survey.pipelines:
        listened = set(pipeline.trigger.changed or ())
        for number, deliver in enumerate(pipeline.deliver):
            action = survey.action(deliver.to)
            if action is None or not _same_system(survey, deliver.to, pipeline):
                continue
            if keys[-1] in (pipeline.trigger.follows or ()):
                continue  # its depth ends it
            for name in sorted(listened & _written(deliver, action)):
                below = (
                    (*keys, "deliver", number, "set", name)
                    if name in (deliver.set or {})
                    else (*keys, "deliver", number, "to")
                )
                message = f"it writes {name!r}, and its trigger listens to {name!r} in 'changed': it would wake itself"
                yield survey.error_at_key(below, message, "take the field out of one of them")


@rule("loops/self")
def alone(survey: Survey) -> Iterator[Finding]:
    """
    A write does not cause an event its own pipeline runs on, unless the connector recognises own writes.
    """
    for name, edges in _edges(survey).items():
        for number, woken in edges:
            if woken == name and survey.declaration.pipelines[name].trigger.changed is None:
                keys = ("pipelines", name, "deliver", number, "to")
                deliver = survey.declaration.pipelines[name].deliver[number]
                yield survey.error(keys, f"{_causes(survey, deliver, name)}: it would wake itself", _GUARD)


@rule("loops/circle")
def circles(survey: Survey) -> Iterator[Finding]:
    """
    Pipelines do not wake each other in a circle.
    """
    edges = _edges(survey)
    for name in sorted(edges):
        for number, woken in edges[name]:
            way = _way_back(edges, woken, name) if woken != name else None
            if way is not None and name == min([name, *way]):
                keys = ("pipelines", name, "deliver", number, "to")
                circle = " -> ".join([name, *way, name])
                deliver = survey.declaration.pipelines[name].deliver[number]
                yield survey.error(keys, f"{_causes(survey, deliver, woken)}, and so on in a circle: {circle}", _GUARD)


_GUARD = "listen to other events, or to `changed` fields it does not write"


def _causes(survey: Survey, deliver: Deliver, woken: str) -> str:
    action = survey.action(deliver.to)
    caused = sorted(action.emits & set(survey.declaration.pipelines[woken].trigger.events)) if action else []
    return f"{deliver.to!r} causes {', '.join(map(repr, caused))}, which {woken!r} runs on"


def _edges(survey: Survey) -> dict[str, list[Edge]]:
    pipelines = survey.declaration.pipelines
    return {
        name: [
            (number, other)
            for number, deliver in enumerate(pipeline.deliver)
            for other, listening in pipelines.items()
            if name not in (listening.trigger.follows or ()) and _wakes(survey, deliver, listening)
        ]
        for name, pipeline in pipelines.items()
    }


def _wakes(survey: Survey, deliver: Deliver, listening: Pipeline) -> bool:
    spec = survey.spec(listening.trigger.connection)
    return spec is not None and not spec.guarded and causes(survey, deliver, listening)


def causes(survey: Survey, deliver: Deliver, listening: Pipeline) -> bool:
    """
    Tell whether a write causes an event that *listening* runs on, whoever recognises it.
    """
    action = survey.action(deliver.to)
    if action is None or not _same_system(survey, deliver.to, listening):
        return False
    if not action.emits & set(listening.trigger.events):
        return False
    return listening.trigger.changed is None or bool(_written(deliver, action) & set(listening.trigger.changed))


def _written(deliver: Deliver, action: ActionSpec) -> set[str]:
    return set(deliver.set or ()) | set(action.touches)


def _same_system(survey: Survey, target: str, listening: Pipeline) -> bool:
    """
    Tell whether a write to *target* can come back to *listening*: one connection, or two to the same account.
    """
    name, other = target.partition(".")[0], listening.trigger.connection
    one, two = survey.connection(name), survey.connection(other)
    if name == other or one is None or two is None:
        return name == other
    return one.connector == two.connector and _account(survey, name) == _account(survey, other)


def _account(survey: Survey, connection: str) -> dict[str, object]:
    spec, found = survey.spec(connection), survey.connection(connection)
    fields = spec.settings.get("properties", {}) if spec else {}
    settings = found.settings if found else {}
    return {name: value for name, value in settings.items() if not fields.get(name, {}).get("x-secret")}


def _way_back(edges: Mapping[str, list[Edge]], start: str, goal: str) -> list[str] | None:
    """
    Return the shortest way from *start* to *goal*, without *goal*.
    """
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for _, woken in edges[way[-1]]:
            if woken == goal:
                return way
            if woken not in seen:
                seen.add(woken)
                ways.append([*way, woken])
    return None
