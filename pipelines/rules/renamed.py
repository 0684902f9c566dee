"""
A renamed pipeline says which one it was, and that one is gone.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.survey import Survey


@rule("names/was")
def was(survey: Survey) -> Iterator[Finding]:
    """
    The first name belongs to no pipeline of now, and only one takes it over.
    """
    heirs: dict[str, str] = {}
    for keys, pipeline in survey.pipelines:
        name = str(keys[1])
        if pipeline.was is None:
            continue
        if pipeline.was in survey.declaration.pipelines:
            hint = "take `was` out, or the pipeline of that name"
            yield survey.error((*keys, "was"), f"pipeline {pipeline.was!r} is still there", hint)
        elif pipeline.was in heirs:
            hint = f"{heirs[pipeline.was]} takes it over already"
            yield survey.error((*keys, "was"), f"two pipelines were {pipeline.was!r}", hint)
        heirs.setdefault(pipeline.was, name)
