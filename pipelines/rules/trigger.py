"""
A trigger listens to changes that events tell of.
"""

from __future__ import annotations

from collections.abc import Iterator

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
