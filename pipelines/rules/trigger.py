"""
A trigger listens to changes that events tell of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from penstock.units import span
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


@rule("trigger/changed")
def changed(survey: Survey) -> Iterator[Finding]:
    """
    `changed` names fields of the record, in events that say what changed.
    """
    for keys, pipeline in survey.pipelines:
        below = (*keys, "trigger", "changed")
        for kind, schema in survey.event_data(pipeline).items():
            fields = schema.get("properties", {})
            if pipeline.trigger.changed is None or schema.get("additionalProperties") is not False:
                continue
            if "changed" not in fields:
                yield survey.error_at_key(below, f"{kind!r} does not say what changed", "leave it out, or use `where`")
                break
            for number, name in enumerate(pipeline.trigger.changed):
                if name not in fields and (near := did_you_mean(name, fields)).startswith("did"):
                    yield survey.error((*below, number), f"{kind!r} has no field {name!r}", near)
            break


@rule("trigger/empty")
def empty(survey: Survey) -> Iterator[Finding]:
    """
    A list that is written holds something.
    """
    for keys, pipeline in survey.pipelines:
        if pipeline.trigger.changed == ():
            yield survey.error(
                (*keys, "trigger", "changed"), "no change would ever start it", "name a field, or leave it out"
            )


@rule("trigger/key")
def key(survey: Survey) -> Iterator[Finding]:
    """
    A key of the pipeline's own orders what the bus does not.
    """
    for keys, pipeline in survey.pipelines:
        if pipeline.trigger.key is not None:
            yield survey.note(
                (*keys, "trigger", "key"),
                "events of one key run one after the other; those of different records in the order in which they "
                "are read from the bus, which need not be the order in which they happened",
            )


@rule("trigger/start")
def start(survey: Survey) -> Iterator[Finding]:
    """
    A pipeline starts with what has happened.
    """
    now = time.time_ns() // 1_000_000
    for keys, pipeline in survey.pipelines:
        begins = pipeline.trigger.start.at(now)
        if isinstance(begins, int) and begins > now:
            hint = "leave it out: a new pipeline starts with the next event"
            yield survey.error((*keys, "trigger", "start"), "it lies in the future", hint)


@rule("trigger/max-age")
def max_age(survey: Survey) -> Iterator[Finding]:
    """
    An event is still young enough when its burst has ended.
    """
    for keys, pipeline in survey.pipelines:
        settle, most = pipeline.trigger.settle, pipeline.trigger.max_age
        if settle is not None and most is not None and settle.low >= most:
            message = f"no event would ever run: each waits {span(settle.low)} for the end of its burst"
            yield survey.error((*keys, "trigger", "max_age"), message, "raise it, or lower `trigger.settle`")
