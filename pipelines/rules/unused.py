"""
Notes on what is written and never used.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.declaration import Use
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.survey import Survey


@rule("unused/pipelines")
def pipelines(survey: Survey) -> Iterator[Finding]:
    """
    A hub without pipelines does nothing.
    """
    if survey.complete and not survey.declaration.pipelines:
        yield survey.note((), "there are no pipelines, so nothing will run", "write one under `pipelines`")


@rule("unused/connection")
def connections(survey: Survey) -> Iterator[Finding]:
    """
    Every connection is used.
    """
    used: set[str] = set()
    for _, pipeline in survey.pipelines:
        targets = [deliver.to for deliver in pipeline.deliver]
        targets += [section.fetch for section in pipeline.context.sections.values() if section.fetch]
        used |= {pipeline.trigger.connection, *(target.partition(".")[0] for target in targets)}
    yield from _unused(survey, "connections", used)


@rule("unused/model")
def models(survey: Survey) -> Iterator[Finding]:
    """
    Every model is asked.
    """
    used = {pipeline.ask.model or ("" if pipeline.ask.route else "?") for _, pipeline in survey.pipelines}
    used |= {name for route in survey.declaration.routes.values() for name in route.try_}
    yield from _unused(survey, "models", used)


@rule("unused/route")
def routes(survey: Survey) -> Iterator[Finding]:
    """
    Every route is asked.
    """
    used = {pipeline.ask.route or "" for _, pipeline in survey.pipelines}
    limits = [pipeline.limits.at_limit for _, pipeline in survey.pipelines]
    used |= {limit.use for limit in limits if isinstance(limit, Use)}
    yield from _unused(survey, "routes", used)


def _unused(survey: Survey, kind: str, used: set[str]) -> Iterator[Finding]:
    names = survey.names(kind)
    if not survey.complete or not survey.declaration.pipelines or used - {"", *names}:
        return  # what seems unused may be meant by a name that is misspelt
    for name in names:
        if name not in used:
            yield Finding(
                severity="note",
                place=survey.places.key(kind, name),
                message=f"the {kind.removesuffix('s')} {name!r} is never used",
                rule="",
            )
