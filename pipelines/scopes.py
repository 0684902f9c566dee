"""
Where expressions stand in a declaration, and what each may see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.declaration import Deliver, Pipeline, Section
from pipelines.places import Keys
from pipelines.survey import Survey

EVENT = ("event",)
DELIVERY = ("event", "output", "answer", "pipeline")
ANSWER = ("label", "model", "cost")
"""Fields of `answer`: who answered and at what price."""
BURST = ("count", "changed")
"""Fields of `event.burst`: how many events a run stands for, and what they changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    An expression as it stands in the declaration.
    """

    keys: Keys
    text: str
    roots: tuple[str, ...]
    """The names it may start from."""
    pipeline: str | None
    deliver: Deliver | None = None
    """The delivery it belongs to."""


def expressions(survey: Survey) -> Iterator[Written]:
    """
    Yield every expression of the declaration.
    """
    for name, route in survey.declaration.routes.items():
        if route.escalate_when is not None:
            keys: Keys = ("routes", name, "escalate_when")
            yield Written(keys=keys, text=route.escalate_when, roots=("output",), pipeline=None)
    for keys, pipeline in survey.pipelines:
        yield from _of_event(keys, pipeline)
        yield from _of_sections(keys, pipeline)
        for number, deliver in enumerate(pipeline.deliver):
            yield from _of_delivery(survey, (*keys, "deliver", number), deliver)


def _of_event(keys: Keys, pipeline: Pipeline) -> Iterator[Written]:
    found = [
        (("trigger", "where"), pipeline.trigger.where),
        (("trigger", "key"), pipeline.trigger.key),
        (("who", "tenant"), pipeline.who.tenant),
        (("who", "user"), pipeline.who.user),
    ]
    for below, text in found:
        if text is not None:
            yield Written(keys=(*keys, *below), text=text, roots=EVENT, pipeline=str(keys[1]))


def _of_sections(keys: Keys, pipeline: Pipeline) -> Iterator[Written]:
    earlier: list[str] = []
    for name, section in pipeline.context.sections.items():
        below = (*keys, "context", "sections", name)
        if section.from_ is not None:
            yield Written(keys=(*below, "from"), text=section.from_, roots=EVENT, pipeline=str(keys[1]))
        if section.by is not None:
            yield Written(keys=(*below, "by"), text=section.by, roots=(*EVENT, *earlier), pipeline=str(keys[1]))
        earlier.append(name)


def _of_delivery(survey: Survey, keys: Keys, deliver: Deliver) -> Iterator[Written]:
    name = str(keys[1])
    seen = delivery_roots(survey, deliver)
    if deliver.record is not None:
        yield Written(keys=(*keys, "record"), text=deliver.record, roots=EVENT, pipeline=name, deliver=deliver)
    for key, text in (("when", deliver.when), ("unless", deliver.unless)):
        if text is not None:
            yield Written(keys=(*keys, key), text=text, roots=seen, pipeline=name, deliver=deliver)
    for field, written in (deliver.set or {}).items():
        below = (*keys, "set", field, "value")
        yield Written(keys=below, text=written.value, roots=seen, pipeline=name, deliver=deliver)


def delivery_roots(survey: Survey, deliver: Deliver) -> tuple[str, ...]:
    """
    Return the names a delivery's expressions and template see.
    """
    unclear = survey.action(deliver.to) is None
    return (*DELIVERY, "record") if unclear or survey.reads(deliver.to) else DELIVERY


def section_of(survey: Survey, pipeline: str, name: str) -> Section | None:
    """
    Return a section by name.
    """
    return survey.declaration.pipelines[pipeline].context.sections.get(name)
