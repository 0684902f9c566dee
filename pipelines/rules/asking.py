"""
A pipeline asks one model or one route, and everything fits the model's window.
"""

from __future__ import annotations

from collections.abc import Iterator

from ai import BATCHING, Comparison, OutputSchema, prices
from penstock.errors import Invalid
from penstock.units import span
from pipelines.anatomy import Cache
from pipelines.costing import askable, needed_window, prompt_tokens, spec_of
from pipelines.declaration import Model, Pipeline
from pipelines.findings import Finding
from pipelines.ladders import scores_of
from pipelines.plan import WITHIN
from pipelines.rules.registry import rule
from pipelines.survey import Survey


@rule("asking/one")
def one(survey: Survey) -> Iterator[Finding]:
    """
    Exactly one of `model` and `route`.
    """
    for keys, pipeline in survey.pipelines:
        ask = pipeline.ask
        if ask.model is None and ask.route is None:
            yield survey.error_at_key((*keys, "ask"), "nobody is asked", "give it `model` or `route`")
        elif ask.model is not None and ask.route is not None:
            yield survey.error_at_key((*keys, "ask", "route"), "'ask' has both 'model' and 'route'", "keep one")


@rule("asking/ladder")
def ladders(survey: Survey) -> Iterator[Finding]:
    """
    A route tries each model once.
    """
    for name, route in survey.declaration.routes.items():
        for number, model in enumerate(route.try_):
            if model in route.try_[:number]:
                yield survey.error(("routes", name, "try", number), f"the route tries {model!r} twice", "keep one")


@rule("asking/shadow")
def shadows(survey: Survey) -> Iterator[Finding]:
    """
    A shadow has a model to ask and something to compare.
    """
    for name, route in survey.declaration.routes.items():
        if route.shadow and len(route.try_) < 2:
            hint = "add the model to compare with to `try`, or leave it out"
            yield survey.error(("routes", name, "shadow"), f"the route {name!r} has no second model to ask", hint)
        for pipeline in _compared_in_vain(survey, name) if route.shadow else ():
            message = f"no field of the answer of {pipeline!r} can be compared, so it has no shadow"
            yield survey.note(("routes", name, "shadow"), message, "give its schema an enum, a number or a boolean")


def _compared_in_vain(survey: Survey, route: str) -> Iterator[str]:
    """
    Yield the pipelines that ask *route* and whose answers have nothing to compare.
    """
    declared = survey.declaration.routes[route]
    for keys, pipeline in survey.pipelines:
        schema = survey.answer(pipeline.ask.output) if pipeline.ask.route == route else None
        if schema is None:
            continue
        try:
            compared = Comparison(output=OutputSchema(name="", schema=schema), scores=scores_of(declared))
        except Invalid:
            continue  # `escalate_when` cannot be compiled, and another rule says so
        if not compared.fields:
            yield str(keys[1])


@rule("asking/provider")
def providers(survey: Survey) -> Iterator[Finding]:
    """
    Models of a provider have what it needs, and no more.
    """
    for name, model in survey.declaration.models.items():
        keys = ("models", name)
        if model.provider == "offline" and model.key is not None:
            yield survey.error_at_key((*keys, "key"), "the offline model needs no key", "leave it out")
        elif model.provider not in _SIGNS_IN and model.key is None and model.url is None:
            yield survey.error_at_key(keys, f"the model {name!r} has no key", "give it `key: ${env:NAME}`")
        for setting, whose in _OWN_SETTINGS.items():
            if getattr(model, setting) is not None and model.provider not in whose:
                listed = " and ".join(f"`{provider}`" for provider in whose)
                message = f"{setting!r} says nothing to provider {model.provider!r}"
                yield survey.error_at_key((*keys, setting), message, f"it is for {listed}: leave it out")
        if (needed := _NEEDED.get(model.provider)) and getattr(model, needed) is None:
            message = f"the model {name!r} has no {needed}"
            yield survey.error_at_key(keys, message, f"give it `{needed}: {_EXAMPLES[needed]}`")


_SIGNS_IN = ("offline", "azure", "vertex", "bedrock")
"""Providers that need no key: they ask who the machine is."""
_OWN_SETTINGS = {"api_version": ("azure",), "project": ("vertex",), "region": ("vertex", "bedrock")}
_NEEDED = {"azure": "url", "vertex": "project", "bedrock": "region"}
_EXAMPLES = {"url": "https://NAME.openai.azure.com", "project": "acme-support-4711", "region": "eu-central-1"}


@rule("asking/cache")
def cache(survey: Survey) -> Iterator[Finding]:
    """
    An answer can be used again for as long as its run's details are kept.
    """
    kept = survey.declaration.hub.keep
    for keys, pipeline in survey.pipelines:
        written = pipeline.ask.cache
        if isinstance(written, Cache) and written.keep > kept:
            message = f"answers are kept for {span(kept)}, with the details of their runs"
            yield survey.error((*keys, "ask", "cache", "keep"), message, "lower it, or raise `hub.keep`")


@rule("asking/batch")
def batch(survey: Survey) -> Iterator[Finding]:
    """
    A batch goes to a provider that has them, and is waited for between one hour and a day.
    """
    least, most = WITHIN
    for keys, pipeline in survey.pipelines:
        ask = pipeline.ask
        if ask.within is not None and ask.mode != "batch":
            message, hint = "`within` says how long a batch may take, and there is none", "add `mode: batch`"
            yield survey.error_at_key((*keys, "ask", "within"), message, hint)
        elif ask.within is not None and not least <= ask.within <= most:
            message = f"{span(ask.within)} is no time for a batch"
            yield survey.error((*keys, "ask", "within"), message, "write `1h` to `24h`")
        if ask.mode == "batch" and (found := _first_asked(survey, pipeline)) and found[1].provider not in BATCHING:
            message = f"the model {found[0]!r} of provider {found[1].provider!r} cannot be asked in batches"
            hint = "ask a model of `openai` or `anthropic` first, or take `mode` out"
            yield survey.error((*keys, "ask", "mode"), message, hint)


def _first_asked(survey: Survey, pipeline: Pipeline) -> tuple[str, Model] | None:
    """
    Return the model that is asked first, if it is declared.
    """
    route = survey.declaration.routes.get(pipeline.ask.route or "")
    name = pipeline.ask.model or (route.try_[0] if route and route.try_ else "")
    model = survey.declaration.models.get(name)
    return None if model is None else (name, model)


@rule("asking/window")
def window(survey: Survey) -> Iterator[Finding]:
    """
    Instructions, context and answer fit the window of every model that may be asked.
    """
    for keys, pipeline in survey.pipelines:
        prompt = prompt_tokens(survey, pipeline)
        for name, model in askable(survey, pipeline) if prompt else ():
            room = prices.window(spec_of(model))
            needed = needed_window(survey, pipeline, model, prompt or 0)
            if room is not None and needed > room:
                message = f"up to {needed:,} tokens do not fit the window of {name!r}, {room:,}"
                hint = "lower `context.tokens` or `ask.max_output`"
                yield survey.error((*keys, "context", "tokens"), message, hint)
