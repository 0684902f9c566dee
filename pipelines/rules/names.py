"""
Every name leads somewhere: connections, connectors, events, lookups, actions, models, routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.declaration import Use
from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


@rule("names/connector")
def connectors(survey: Survey) -> Iterator[Finding]:
    """
    A connection's connector is in the catalog.
    """
    known = survey.catalog.names()
    for name, connection in survey.declaration.connections.items():
        if connection.connector not in known:
            keys = ("connections", name, "connector")
            yield survey.error(
                keys, f"there is no connector {connection.connector!r}", did_you_mean(connection.connector, known)
            )


@rule("names/connection")
def connections(survey: Survey) -> Iterator[Finding]:
    """
    Triggers, sections and deliveries name connections there are.
    """
    known = survey.names("connections")
    for keys, name in _connection_uses(survey):
        if name not in known:
            yield survey.error(keys, f"there is no connection {name!r}", did_you_mean(name, known))


def _connection_uses(survey: Survey) -> Iterator[tuple[Keys, str]]:
    for keys, pipeline in survey.pipelines:
        yield (*keys, "trigger", "connection"), pipeline.trigger.connection
        for below, target in _targets(survey, keys, "sections"):
            yield below, target.partition(".")[0]
        for below, target in _targets(survey, keys, "deliver"):
            yield below, target.partition(".")[0]


def _targets(survey: Survey, keys: Keys, kind: str) -> Iterator[tuple[Keys, str]]:
    pipeline = survey.declaration.pipelines[str(keys[1])]
    if kind == "sections":
        for name, section in pipeline.context.sections.items():
            if section.fetch is not None:
                yield (*keys, "context", "sections", name, "fetch"), section.fetch
    else:
        for number, deliver in enumerate(pipeline.deliver):
            yield (*keys, "deliver", number, "to"), deliver.to


@rule("names/event")
def events(survey: Survey) -> Iterator[Finding]:
    """
    The trigger's connector sends these events.
    """
    for keys, pipeline in survey.pipelines:
        spec = survey.spec(pipeline.trigger.connection)
        for number, kind in enumerate(pipeline.trigger.events if spec else ()):
            below = (*keys, "trigger", "events", number)
            if spec and kind not in spec.events:
                yield survey.error(below, f"{spec.name!r} has no event {kind!r}", did_you_mean(kind, spec.events))
            elif kind in pipeline.trigger.events[:number]:
                yield survey.error(below, f"the event {kind!r} is here twice")


@rule("names/lookup")
def lookups(survey: Survey) -> Iterator[Finding]:
    """
    `fetch` names a lookup of its connection.
    """
    yield from _missing(survey, "sections", "lookup")


@rule("names/action")
def actions(survey: Survey) -> Iterator[Finding]:
    """
    `to` names an action of its connection.
    """
    yield from _missing(survey, "deliver", "action")


def _missing(survey: Survey, where: str, word: str) -> Iterator[Finding]:
    for keys, _ in survey.pipelines:
        for below, target in _targets(survey, keys, where):
            connection, _, name = target.partition(".")
            spec = survey.spec(connection)
            known: Iterable[str] = () if spec is None else spec.lookups if word == "lookup" else spec.actions
            if spec and name not in known:
                yield survey.error(below, f"{spec.name!r} has no {word} {name!r}", did_you_mean(name, known))


@rule("names/model")
def models(survey: Survey) -> Iterator[Finding]:
    """
    Pipelines and routes name models there are.
    """
    known = survey.names("models")
    for keys, name in _model_uses(survey):
        if name not in known:
            yield survey.error(keys, f"there is no model {name!r}", did_you_mean(name, known))


def _model_uses(survey: Survey) -> Iterator[tuple[Keys, str]]:
    for keys, pipeline in survey.pipelines:
        if pipeline.ask.model is not None:
            yield (*keys, "ask", "model"), pipeline.ask.model
    for name, route in survey.declaration.routes.items():
        for number, model in enumerate(route.try_):
            yield ("routes", name, "try", number), model


@rule("names/route")
def routes(survey: Survey) -> Iterator[Finding]:
    """
    Pipelines name routes there are.
    """
    known = survey.names("routes")
    for keys, pipeline in survey.pipelines:
        limit = pipeline.limits.at_limit
        uses = [((*keys, "ask", "route"), pipeline.ask.route)]
        uses.append(((*keys, "limits", "at_limit", "use"), limit.use if isinstance(limit, Use) else None))
        for below, name in uses:
            if name is not None and name not in known:
                yield survey.error(below, f"there is no route {name!r}", did_you_mean(name, known))
