"""
A pipeline made executable: expressions compiled, templates and schema read, hashes taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from ai import OutputSchema, ask_hash
from connectors.contract import WriteMode
from ledger.contract import Cap
from penstock.errors import Invalid
from penstock.expressions import Expression, Template, compile_expression
from penstock.retry import Backoff
from pipelines.context import Fetch, assemble, nonce
from pipelines.declaration import Context, Declaration, Deliver, Model, Pipeline, SetField
from pipelines.inert import inert
from pipelines.prompts import PromptTemplate, build_prompt, load_template
from schemas.entries import Answer, Prompt, Receipt, Verdict
from schemas.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """
    One delivery, ready to be carried out.
    """

    step: str
    connection: str
    action: str
    mode: WriteMode
    on_unknown: str
    record: Expression | None
    when: Expression | None
    unless: Expression | None
    template: Template | None
    fields: Mapping[str, tuple[Expression, SetField]]

    def record_of(self, scope: Mapping[str, Any]) -> str:
        """
        Return the id of the record to write to.
        """
        if self.record is None:
            return str(scope["event"]["subject"])
        return str(self.record.evaluate(scope))

    def wanted(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether `when` is true, or absent.
        """
        return self.when is None or bool(self.when.evaluate(scope))

    def unwanted(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether `unless` is true for the record as it is now.
        """
        return self.unless is not None and bool(self.unless.evaluate(scope))

    @property
    def needs_record(self) -> bool:
        """
        Whether the record must be read again before the write.
        """
        expressions = [e for e in (self.unless, self.when) if e] + [e for e, _ in self.fields.values()]
        return (
            any("record" in expression.roots for expression in expressions)
            or any(field.only_if for _, field in self.fields.values())
            or (self.template is not None and "record" in self.template.roots())
        )

    def render(self, scope: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Return the action's arguments; None when every field was held back.
        """
        args: dict[str, Any] = {}
        if self.template is not None:
            args["text"] = self.template.render(scope).strip()
        if self.fields:
            args["fields"] = {
                name: expression.evaluate(scope)
                for name, (expression, field) in self.fields.items()
                if _may_set(name, field, scope)
            }
            if not args["fields"] and self.template is None:
                return None
        return args


def _may_set(name: str, field: SetField, scope: Mapping[str, Any]) -> bool:
    if field.min_confidence is not None:
        confidence = scope["output"].get("confidence")
        if not isinstance(confidence, int | float) or confidence < field.min_confidence:
            return False
    return field.only_if != "empty" or scope.get("record", {}).get(name) in (None, "", [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    One pipeline, compiled.
    """

    name: str
    connection: str
    events: frozenset[str]
    where: Expression | None
    changed: tuple[str, ...] | None
    who_tenant: Expression | None
    who_user: Expression | None
    context: Context
    templates: Path
    prompt: PromptTemplate
    model: str
    output: OutputSchema
    max_output: int
    timeout: float
    deliveries: tuple[DeliveryPlan, ...]
    pipeline: Pipeline
    timezone: ZoneInfo
    backoff: Backoff
    config_text: str
    config_hash: str
    ask_hash: str

    @property
    def per_event(self) -> int | None:
        """
        Micro-USD one event may cost at most.
        """
        return self.pipeline.limits.per_event

    def tenant(self, event: Event) -> str:
        """
        Return on whose behalf the run happens; raises `MissingField`.
        """
        return "" if self.who_tenant is None else str(self.who_tenant.evaluate({"event": as_data(event)}))

    def unwanted(self, event: Event) -> tuple[Verdict, str] | None:
        """
        Return why the trigger does not want *event*; None when it does. Raises `MissingField`.
        """
        if self.changed is not None:
            changed = event.data.get("changed")
            if not isinstance(changed, list) or not any(name in changed for name in self.changed):
                return "filtered", f"none of {', '.join(self.changed)} changed"
        if self.where is not None and not self.where.evaluate({"event": as_data(event)}):
            return "filtered", f"`where` was not true: {self.where.text}"
        return None

    def caps(self, now_ms: int) -> list[Cap]:
        """
        Return the caps that hold for a call made now.
        """
        spend = self.pipeline.limits.spend
        if spend is None:
            return []
        return [Cap(scope=f"pipeline:{self.name}", period=self.period(now_ms, spend.period), limit=spend.amount)]

    def period(self, now_ms: int, kind: str) -> str:
        """
        Return the budget period of a moment, in the hub's time zone: `2026-11-24` or `2026-11`.
        """
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(self.timezone)
        return moment.strftime("%Y-%m-%d" if kind == "day" else "%Y-%m")

    def scope(self, event: Event, answer: Answer) -> dict[str, Any]:
        """
        Return what the expressions and templates of deliveries see; the answer's texts are nothing but text.
        """
        return {
            "event": as_data(event),
            "output": inert(answer.output),
            "answer": {"label": answer.label, "model": answer.model, "cost": answer.cost},
            "pipeline": self.name,
        }

    async def prompt_for(
        self, event: Event, *, fetch: Fetch, many: Collection[str], secret: bytes, run: str
    ) -> tuple[Prompt, Receipt, str]:
        """
        Return the prompt for *event*, its receipt, and the text an answer may rest on.
        """
        assembled = await assemble(
            self.context,
            event=as_data(event),
            fetch=fetch,
            many=many,
            nonce=nonce(secret, run),
            templates=partial(load_template, self.templates),
        )
        prompt, receipt = build_prompt(self.prompt, assembled)
        return prompt, receipt, assembled.supported_text


def as_data(event: Event) -> dict[str, Any]:
    """
    Return *event* as the JSON data that expressions and templates see.
    """
    data: dict[str, Any] = orjson.loads(event.to_json())
    return data


def compile_pipeline(declaration: Declaration, name: str, root: Path) -> Plan:
    """
    Compile one pipeline of a checked declaration whose files live under *root*.

    Raises `Invalid` for what `check` would have found.
    """
    pipeline = declaration.pipelines[name]
    templates = root / "templates"
    ask = pipeline.ask
    if ask.model is None:
        raise Invalid(f"pipeline {name!r} names no model")
    prompt = PromptTemplate.load(templates, ask.template)
    output = _schema(root / "schemas" / ask.output, ask.output)
    text = _canonical(pipeline)
    asked = ask_hash(
        template=(templates / ask.template).read_text("utf-8"),
        schema=output.schema,
        models=[_asked_of(declaration.models[ask.model], ask.max_output)],
        sections=pipeline.context.model_dump(mode="json", by_alias=True),
    )
    return Plan(
        name=name,
        connection=pipeline.trigger.connection,
        events=frozenset(pipeline.trigger.events),
        where=_optional(pipeline.trigger.where),
        changed=pipeline.trigger.changed,
        who_tenant=_optional(pipeline.who.tenant),
        who_user=_optional(pipeline.who.user),
        context=pipeline.context,
        templates=templates,
        prompt=prompt,
        model=ask.model,
        output=output,
        max_output=ask.max_output,
        timeout=ask.timeout,
        deliveries=tuple(_delivery(deliver, templates) for deliver in pipeline.deliver),
        pipeline=pipeline,
        timezone=ZoneInfo(declaration.hub.timezone),
        backoff=Backoff(
            first=pipeline.on_error.backoff.low, last=pipeline.on_error.backoff.high, attempts=pipeline.on_error.retry
        ),
        config_text=text,
        config_hash=hashlib.sha256(f"{text}\n{asked}".encode()).hexdigest()[:32],
        ask_hash=asked,
    )


def _delivery(deliver: Deliver, templates: Path) -> DeliveryPlan:
    connection, action = deliver.to.split(".", 1)
    return DeliveryPlan(
        step=deliver.step,
        connection=connection,
        action=action,
        mode=deliver.write or "add",
        on_unknown=deliver.on_unknown,
        record=_optional(deliver.record),
        when=_optional(deliver.when),
        unless=_optional(deliver.unless),
        template=None if deliver.template is None else load_template(templates, deliver.template),
        fields={name: (compile_expression(field.value), field) for name, field in (deliver.set or {}).items()},
    )


def _asked_of(model: Model, max_output: int) -> str:
    return f"{model.provider}/{model.model} {max_output}"


def _schema(path: Path, name: str) -> OutputSchema:
    return OutputSchema(name=name.removesuffix(".json"), schema=orjson.loads(path.read_bytes()))


def _optional(text: str | None) -> Expression | None:
    return None if text is None else compile_expression(text)


def _canonical(pipeline: Pipeline) -> str:
    data = pipeline.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2).decode()
