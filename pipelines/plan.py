"""
A pipeline made executable: expressions compiled, templates and schema read, hashes taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from ai import Ladder, OutputSchema, ask_hash
from ledger.bursts import Burst
from penstock.expressions import EvaluationError, Expression, compile_expression
from penstock.retry import Backoff
from penstock.units import DurationRange, Rate, StartingPoint
from pipelines.caching import CachePlan, cache_of
from pipelines.chains import Chain, chain_of
from pipelines.context import Fetch, assemble, nonce
from pipelines.declaration import Context, Declaration, Deliver, Model, Pipeline
from pipelines.deliveries import DeliveryPlan
from pipelines.inert import inert
from pipelines.ladders import instead_of, ladder_of
from pipelines.prompts import PromptTemplate, build_prompt, load_template
from pipelines.spending import Spending, Whose, short, spending_of
from pipelines.views import as_data, changed_fields, with_burst
from schemas.entries import Answer, Prompt, Receipt, Verdict
from schemas.events import Event

WITHIN = (3_600.0, 86_400.0)  # seconds at least and at most that a batch is waited for


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
    trigger_key: Expression | None
    who_tenant: Expression | None
    who_user: Expression | None
    context: Context
    templates: Path
    prompt: PromptTemplate
    ladder: Ladder
    instead: tuple[Ladder, ...]
    """Asked in turn when the pipeline's own limits are reached."""
    output: OutputSchema
    max_output: int
    timeout: float
    deliveries: tuple[DeliveryPlan, ...]
    pipeline: Pipeline
    timezone: ZoneInfo
    spending: Spending
    backoff: Backoff
    config_text: str
    config_hash: str
    ask_hash: str
    cache: CachePlan | None
    """None when every event is asked."""
    chain: Chain
    """Whose writes may start it."""
    batch: float | None = None
    """Seconds an event may wait for a batch; None when it is asked at once."""

    @property
    def identity(self) -> str:
        """
        The name that ids of runs are made of: the first one.
        """
        return self.pipeline.was or self.name

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

    def user(self, event: Event) -> str:
        """
        Return whose event it is, a very long name as its hash; empty for nobody. Raises `MissingField`.
        """
        found = None if self.who_user is None else self.who_user.evaluate({"event": as_data(event)})
        return "" if found is None else short(str(found))

    def key(self, event: Event) -> str:
        """
        Return what keeps *event* in order; raises `MissingField`, and `EvaluationError` for what is no key.
        """
        if self.trigger_key is None:
            return event.key
        found = self.trigger_key.evaluate({"event": as_data(event)})
        if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
            raise EvaluationError(f"`key: {self.trigger_key.text}` must give text or a whole number, not {found!r}")
        return str(found)

    @property
    def settle(self) -> DurationRange | None:
        """
        The pause that ends a burst, and the longest time it may last.
        """
        return self.pipeline.trigger.settle

    @property
    def fuse(self) -> Rate | None:
        """
        How many of its runs may be delivered in one lane in how much time; None for any number.

        A lane of a hand-written key may be as wide as a customer: how often is too often there, only people know.
        """
        limits = self.pipeline.limits
        unsaid = "fuse" not in limits.model_fields_set and self.trigger_key is not None
        return None if unsaid or limits.fuse == "off" else limits.fuse

    @property
    def start(self) -> StartingPoint:
        """
        From where it reads when it is new.
        """
        return self.pipeline.trigger.start

    @property
    def max_age(self) -> float | None:
        """
        Seconds after its change at which an event is not run any more.
        """
        return self.pipeline.trigger.max_age

    @property
    def give_up_after(self) -> float:
        """
        Seconds after its first try at which a run is not tried again.
        """
        return self.pipeline.on_error.give_up_after

    def unwanted(self, event: Event) -> tuple[Verdict, str] | None:
        """
        Return why the trigger does not want *event*; None when it does. Raises `MissingField`.
        """
        if self.changed is not None:
            changed = changed_fields(event)
            if not any(name in changed for name in self.changed):
                return "filtered", f"none of {', '.join(self.changed)} changed"
        if self.where is not None and not self.where.evaluate({"event": as_data(event)}):
            return "filtered", f"`where` was not true: {self.where.text}"
        return None

    @property
    def model(self) -> str:
        """
        The model that is asked first.
        """
        return self.ladder.models[0]

    def whose(self, event: Event, lane: str) -> Whose:
        """
        Return for whom a call about *event* is made; raises `MissingField`.
        """
        user = None if self.who_user is None else self.who_user.evaluate({"event": as_data(event)})
        return Whose(tenant=self.tenant(event), user="" if user is None else str(user), key=f"{self.connection}/{lane}")

    def scope(self, event: Event, answer: Answer, burst: Burst | None = None) -> dict[str, Any]:
        """
        Return what the expressions and templates of deliveries see; the answer's texts are nothing but text.
        """
        return {
            "event": with_burst(event, burst),
            "output": inert(answer.output),
            "answer": {"label": answer.label, "model": answer.model, "cost": answer.cost},
            "pipeline": self.name,
        }

    async def prompt_for(
        self,
        event: Event,
        *,
        fetch: Fetch,
        many: Collection[str],
        secret: bytes,
        run: str,
        burst: Burst | None = None,
    ) -> tuple[Prompt, Receipt, str]:
        """
        Return the prompt for *event*, its receipt, and the text an answer may rest on.
        """
        assembled = await assemble(
            self.context,
            event=with_burst(event, burst),
            fetch=fetch,
            many=many,
            nonce=nonce(secret, run),
            templates=partial(load_template, self.templates),
        )
        prompt, receipt = build_prompt(self.prompt, assembled)
        return prompt, receipt, assembled.supported_text


def compile_pipeline(declaration: Declaration, name: str, root: Path) -> Plan:
    """
    Compile one pipeline of a checked declaration whose files live under *root*.

    Raises `Invalid` for what `check` would have found.
    """
    pipeline = declaration.pipelines[name]
    templates = root / "templates"
    ask = pipeline.ask
    ladder = ladder_of(declaration, pipeline)
    prompt = PromptTemplate.load(templates, ask.template)
    output = _schema(root / "schemas" / ask.output, ask.output)
    text = _canonical(pipeline)
    asked = ask_hash(
        template=(templates / ask.template).read_text("utf-8"),
        schema=output.schema,
        models=[_asked_of(declaration.models[each], ask.max_output) for each in ladder.models],
        sections=pipeline.context.model_dump(mode="json", by_alias=True),
    )
    return Plan(
        name=name,
        connection=pipeline.trigger.connection,
        events=frozenset(pipeline.trigger.events),
        where=_optional(pipeline.trigger.where),
        changed=pipeline.trigger.changed,
        trigger_key=_optional(pipeline.trigger.key),
        who_tenant=_optional(pipeline.who.tenant),
        who_user=_optional(pipeline.who.user),
        context=pipeline.context,
        templates=templates,
        prompt=prompt,
        ladder=ladder,
        instead=instead_of(declaration, pipeline),
        output=output,
        max_output=ask.max_output,
        timeout=ask.timeout,
        deliveries=tuple(_delivery(deliver, templates) for deliver in pipeline.deliver),
        pipeline=pipeline,
        timezone=ZoneInfo(declaration.hub.timezone),
        spending=spending_of(declaration, name),
        backoff=Backoff(
            first=pipeline.on_error.backoff.low, last=pipeline.on_error.backoff.high, attempts=pipeline.on_error.retry
        ),
        config_text=text,
        config_hash=hashlib.sha256(f"{text}\n{asked}".encode()).hexdigest()[:32],
        ask_hash=asked,
        cache=cache_of(declaration, name, pipeline, ask_hash=asked),
        chain=chain_of(declaration, name),
        batch=(ask.within or WITHIN[1]) if ask.mode == "batch" else None,
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
        show_progress=deliver.show_progress,
        expires=deliver.expires,
        if_record_changed=None if deliver.if_record_changed == "write" else deliver.if_record_changed,
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
