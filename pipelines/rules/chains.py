"""
A pipeline that follows another one can be started by it, and not for ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.chains import DEEPEST, depths
from pipelines.findings import Finding
from pipelines.rules.loops import causes
from pipelines.rules.registry import rule
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


@rule("chains/follows")
def follows(survey: Survey) -> Iterator[Finding]:
    """
    What is followed is there, and writes what the follower hears of.
    """
    pipelines = survey.declaration.pipelines
    for keys, pipeline in survey.pipelines:
        for number, name in enumerate(pipeline.trigger.follows or ()):
            below = (*keys, "trigger", "follows", number)
            if name not in survey.names("pipelines"):
                hint = did_you_mean(name, survey.names("pipelines"))
                yield survey.error(below, f"there is no pipeline {name!r}", hint)
            elif name in pipelines and not any(causes(survey, each, pipeline) for each in pipelines[name].deliver):
                events = ", ".join(map(repr, pipeline.trigger.events))
                message = f"{name!r} writes nothing that causes {events} of {pipeline.trigger.connection!r}"
                yield survey.error(
                    below, message, "take it out, or listen to what its writes cause: `penstock connectors` names it"
                )


@rule("chains/depth")
def depth(survey: Survey) -> Iterator[Finding]:
    """
    A chain has an end.
    """
    known = depths(survey.declaration.pipelines)
    for keys, pipeline in survey.pipelines:
        below = (*keys, "trigger", "depth")
        if pipeline.trigger.depth is not None and not pipeline.trigger.follows:
            yield survey.error_at_key(below, "it follows no pipeline", "name one in `follows`, or take `depth` out")
        elif pipeline.trigger.follows and keys[-1] not in known:
            message = f"what it follows goes round in a circle, or is more than {DEEPEST} long"
            hint = "say with `depth` how many writes of ours may lead to its event"
            yield survey.error_at_key((*keys, "trigger", "follows"), message, hint)
