"""
What one event can cost, before any event came: the first try, and the worst case with every rung and repair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from ai import ModelSpec, Rates, tokens
from ai.estimates import billed_input, estimate, room_of
from ai.factors import factor
from penstock.errors import PenstockError
from penstock.units import Spend, usd
from pipelines.context import worst_case
from pipelines.declaration import Model, Pipeline, Use
from pipelines.prompts import CONTEXT, PromptTemplate
from pipelines.survey import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """
    What one event of a pipeline can cost.
    """

    pipeline: str
    prompt_tokens: int
    """Instructions and sections together, at most."""
    first_try: int
    """Micro-USD of one call, at most; in a batch half of it."""
    worst_case: int
    """Micro-USD with every rung, wider tries and repairs, all asked at once."""
    spend: Spend | None
    """The pipeline's own cap."""

    @property
    def events(self) -> int | None:
        """
        How many events the cap buys at least; None without a cap or a price.
        """
        return self.spend.amount // self.worst_case if self.spend and self.worst_case else None

    def __str__(self) -> str:
        said = f"first try {usd(self.first_try)}, worst case {usd(self.worst_case)} per event"
        bought = "" if self.events is None else f"; {self.spend} buys at least {self.events:,} events"
        return f"{self.pipeline}: {said}{bought}"

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data.
        """
        return {
            "pipeline": self.pipeline,
            "prompt_tokens": self.prompt_tokens,
            "first_try_micro_usd": self.first_try,
            "worst_case_micro_usd": self.worst_case,
            "spend": None if self.spend is None else str(self.spend),
            "events_at_least": self.events,
        }


def costs(survey: Survey) -> Iterator[Cost]:
    """
    Yield the cost of every pipeline whose models have known prices.
    """
    for keys, pipeline in survey.pipelines:
        found = cost(survey, str(keys[1]), pipeline)
        if found is not None:
            yield found


def cost(survey: Survey, name: str, pipeline: Pipeline) -> Cost | None:
    """
    Return the cost of one pipeline; None when something it depends on is not known.
    """
    prompt = prompt_tokens(survey, pipeline)
    rungs = [estimates(survey, pipeline, model, prompt) for _, model in ladder(survey, pipeline)] if prompt else []
    known = [rung for rung in rungs if rung is not None]
    if prompt is None or not known or len(known) < len(rungs):
        return None
    return Cost(
        pipeline=name,
        prompt_tokens=prompt,
        first_try=known[0][0],
        worst_case=sum(whole for _, whole in known),
        spend=pipeline.limits.spend,
    )


def estimates(survey: Survey, pipeline: Pipeline, model: Model, prompt: int) -> tuple[int, int] | None:
    """
    Return what one model costs at most for its first try and as a whole; None when its price is unknown.
    """
    batched, schema = pipeline.ask.mode == "batch", _schema_tokens(survey, pipeline)
    return estimate(spec_of(model), prompt, pipeline.ask.max_output, schema_tokens=schema, batched=batched)


def ladder(survey: Survey, pipeline: Pipeline) -> list[tuple[str, Model]]:
    """
    Return the models a pipeline may ask, in order; empty when one is not known.
    """
    route = survey.declaration.routes.get(pipeline.ask.route or "")
    names = route.try_ if route else ([pipeline.ask.model] if pipeline.ask.model else [])
    models = [(name, survey.declaration.models.get(name)) for name in names]
    found = [(name, model) for name, model in models if model is not None]
    return found if len(found) == len(models) else []


def askable(survey: Survey, pipeline: Pipeline) -> list[tuple[str, Model]]:
    """
    Return every model a pipeline may ask, those of `at_limit` among them.
    """
    limit = pipeline.limits.at_limit
    route = survey.declaration.routes.get(limit.use) if isinstance(limit, Use) else None
    others = [(name, survey.declaration.models.get(name)) for name in (route.try_ if route else ())]
    return ladder(survey, pipeline) + [(name, model) for name, model in others if model is not None]


def spec_of(model: Model) -> ModelSpec:
    """
    Return *model* as the AI room knows it, without its key.
    """
    written = model.price
    rates = None
    if written is not None:
        read, write = written.cache_read, written.cache_write
        rates = Rates(input=written.input, output=written.output, cache_read=read, cache_write=write)
    return ModelSpec(
        name=model.model,
        provider=model.provider,
        model=model.model,
        url=model.url,
        api_version=model.api_version,
        project=model.project,
        region=model.region,
        window=model.window,
        price=rates,
        price_as=model.price_as,
    )


def prompt_tokens(survey: Survey, pipeline: Pipeline) -> int | None:
    """
    Return the most tokens a prompt can have; None when its template cannot be read.
    """
    template = survey.prompt(pipeline.ask.template)
    instructions = _instructions(template, list(pipeline.context.sections)) if template else None
    return None if instructions is None else instructions + worst_case(pipeline.context)


def needed_window(survey: Survey, pipeline: Pipeline, model: Model, prompt: int) -> int:
    """
    Return how many tokens a model's window must hold for prompt, schema and answer.
    """
    spec = spec_of(model)
    counted = prompt + _schema_tokens(survey, pipeline)
    return billed_input(counted, factor(spec)) + room_of(spec, pipeline.ask.max_output)


def _instructions(template: PromptTemplate, sections: list[str]) -> int | None:
    try:
        system = tokens.count(template.template.render_block("system", {}).strip())
        drafts = [dict.fromkeys([*sections, CONTEXT], text) for text in ("", "x\n")]
        return system + max(tokens.count(template.template.render_block("user", draft).strip()) for draft in drafts)
    except (PenstockError, KeyError):
        return None


def _schema_tokens(survey: Survey, pipeline: Pipeline) -> int:
    return tokens.count(orjson.dumps(survey.answer(pipeline.ask.output) or {}).decode())
