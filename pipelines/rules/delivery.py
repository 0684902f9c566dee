"""
A delivery gives its action what it takes, in a mode it has.
"""

from __future__ import annotations

from collections.abc import Iterator

from connectors.specs import ActionSpec
from pipelines.declaration import Deliver
from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.schema_paths import is_listed
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


def _deliveries(survey: Survey) -> Iterator[tuple[Keys, Deliver, ActionSpec]]:
    for keys, pipeline in survey.pipelines:
        for number, deliver in enumerate(pipeline.deliver):
            action = survey.action(deliver.to)
            if action is not None:
                yield (*keys, "deliver", number), deliver, action


@rule("delivery/name")
def names(survey: Survey) -> Iterator[Finding]:
    """
    Deliveries of a pipeline have different names, and none is called like another step.
    """
    for keys, pipeline in survey.pipelines:
        seen: list[str] = []
        for number, deliver in enumerate(pipeline.deliver):
            below = (*keys, "deliver", number, "name" if deliver.name else "to")
            if deliver.step in seen:
                yield survey.error(below, f"two deliveries are called {deliver.step!r}", "give each its own `name`")
            elif deliver.step == "ask":
                yield survey.error(below, "a delivery cannot be called 'ask'", "choose another name")
            seen.append(deliver.step)


@rule("delivery/mode")
def modes(survey: Survey) -> Iterator[Finding]:
    """
    The action has the mode that is asked for.
    """
    for keys, deliver, action in _deliveries(survey):
        if deliver.write is not None and deliver.write not in action.modes:
            hint = f"it can {' or '.join(map(repr, action.modes))}"
            yield survey.error((*keys, "write"), f"{deliver.to!r} cannot {deliver.write!r}", hint)


@rule("delivery/takes")
def takes(survey: Survey) -> Iterator[Finding]:
    """
    Text comes from `template`, fields come from `set`, and an action gets what it takes.
    """
    for keys, deliver, action in _deliveries(survey):
        if deliver.template is not None and "text" not in action.takes:
            yield survey.error_at_key((*keys, "template"), f"{deliver.to!r} takes no text", "give it fields with `set`")
        if deliver.set is not None and "fields" not in action.takes:
            yield survey.error_at_key((*keys, "set"), f"{deliver.to!r} takes no fields", "give it text with `template`")
        if deliver.template is None and deliver.set is None:
            wanted = " or ".join(
                {"text": "`template`", "fields": "`set`"}[kind] for kind in sorted(action.takes, reverse=True)
            )
            yield survey.error((*keys, "to"), f"{deliver.to!r} gets nothing to write", f"give it {wanted}")


@rule("delivery/field")
def fields(survey: Survey) -> Iterator[Finding]:
    """
    `set` names fields the action may set.
    """
    for keys, deliver, action in _deliveries(survey):
        for name in deliver.set or ():
            if action.sets is not None and name not in action.sets:
                hint = did_you_mean(name, action.sets)
                yield survey.error_at_key((*keys, "set", name), f"{deliver.to!r} cannot set {name!r}", hint)


@rule("delivery/steers")
def steers(survey: Survey) -> Iterator[Finding]:
    """
    A field that decides what happens next gets no free text of a model.
    """
    for keys, deliver, action in _deliveries(survey):
        schema = survey.answer(survey.declaration.pipelines[str(keys[1])].ask.output)
        for name, written in (deliver.set or {}).items() if schema else ():
            expression = survey.expression(written.value)
            if name not in action.steers or expression is None:
                continue
            for path in sorted(expression.paths):
                if path[0] == "output" and not is_listed(schema, path[1:]):
                    message = f"{name!r} decides what happens next, and the schema of {'.'.join(path)!r} takes any text"
                    hint = "list the values it may have as an `enum` in the answer's schema"
                    yield survey.error((*keys, "set", name, "value"), message, hint)


@rule("delivery/only-if")
def only_if(survey: Survey) -> Iterator[Finding]:
    """
    `only_if: empty` can look at the field.
    """
    for keys, deliver, _ in _deliveries(survey):
        lookup = survey.reads(deliver.to)
        for name, written in (deliver.set or {}).items():
            below = (*keys, "set", name, "only_if")
            if written.only_if is not None and lookup is None:
                yield survey.error_at_key(below, f"{deliver.to!r} re-reads no record to look at", "leave it out")
            elif written.only_if is not None and lookup is not None and name not in lookup.fields:
                message = f"{lookup.name!r}, which re-reads the record, has no field {name!r}"
                yield survey.error_at_key(below, message, "nobody could tell whether it is empty: leave it out")


@rule("delivery/blind")
def blind(survey: Survey) -> Iterator[Finding]:
    """
    `on_unknown` is for actions of which nobody can tell whether they took effect.
    """
    for keys, deliver, action in _deliveries(survey):
        written = "on_unknown" in deliver.model_fields_set
        if written and action.idempotency != "blind":
            message = f"{deliver.to!r} is {action.idempotency}: we can tell whether it took effect"
            yield survey.error_at_key((*keys, "on_unknown"), message, "leave it out")


@rule("delivery/progress")
def progress(survey: Survey) -> Iterator[Finding]:
    """
    `show_progress` is for actions that can show it.
    """
    for keys, deliver, action in _deliveries(survey):
        if deliver.show_progress and not action.progress:
            yield survey.error_at_key((*keys, "show_progress"), f"{deliver.to!r} can show no progress", "take it out")


@rule("delivery/expires")
def expires(survey: Survey) -> Iterator[Finding]:
    """
    `expires` is for drafts, which wait no longer than details are kept.
    """
    for keys, deliver, action in _deliveries(survey):
        if deliver.expires is None:
            continue
        if not action.approval:
            yield survey.error_at_key((*keys, "expires"), f"nobody approves {deliver.to!r}", "take it out")
        elif deliver.expires > survey.declaration.hub.keep:
            message = "a draft cannot wait longer than details are kept"
            yield survey.error((*keys, "expires"), message, "shorten it, or raise `hub.keep`")


@rule("delivery/changed")
def changed(survey: Survey) -> Iterator[Finding]:
    """
    `if_record_changed` can look at the record.
    """
    for keys, deliver, _ in _deliveries(survey):
        if deliver.if_record_changed in ("rerun", "skip") and survey.reads(deliver.to) is None:
            message = f"{deliver.to!r} re-reads no record to look at"
            yield survey.error_at_key((*keys, "if_record_changed"), message, "leave it out")
        elif deliver.if_record_changed == "rerun" and not _reads_again(survey, str(keys[1]), deliver):
            connection = deliver.to.partition(".")[0]
            message = f"asked again, the question would be the same: no section fetches from {connection!r}"
            hint = "give the context a section with `fetch`, or write `skip`"
            yield survey.error_at_key((*keys, "if_record_changed"), message, hint)


def _reads_again(survey: Survey, pipeline: str, deliver: Deliver) -> bool:
    connection = deliver.to.partition(".")[0]
    sections = survey.declaration.pipelines[pipeline].context.sections.values()
    return any(section.fetch is not None and section.fetch.partition(".")[0] == connection for section in sections)
