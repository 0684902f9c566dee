"""
Caps can hold: prices are known, and one event fits under every cap.
"""

from __future__ import annotations

from collections.abc import Iterator

from ai import prices
from penstock.units import usd
from pipelines.costing import askable, cost, ladder, spec_of
from pipelines.declaration import Pipeline
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.spending import covers
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey

_FORM = "provider/model"


@rule("money/price")
def price(survey: Survey) -> Iterator[Finding]:
    """
    Where money is limited, the price of every model is known.
    """
    asked = {
        name for _, pipeline in survey.pipelines if _cap(survey, pipeline) for name, _ in askable(survey, pipeline)
    }
    for name, model in survey.declaration.models.items():
        if prices.find(spec_of(model)) is not None:
            continue
        keys = ("models", name)
        if model.price_as is not None:
            message, hint = f"no price is known for {model.price_as!r}", f"write {_FORM}, or `price:`"
            yield survey.error((*keys, "price_as"), message, hint)
        elif name in asked:
            message = f"no price is known for {model.model!r}, and money is limited"
            hint = f"add `price: {{input: 0.25 USD, output: 2 USD}}` per million tokens, or `price_as: {_FORM}`"
            yield survey.error((*keys, "model"), message, hint)


def _cap(survey: Survey, pipeline: Pipeline) -> bool:
    limits = pipeline.limits
    if limits.spend is not None or limits.per_event is not None:
        return True
    return any(covers(budget, pipeline) for budget in survey.declaration.budgets.values())


@rule("money/per-event")
def per_event(survey: Survey) -> Iterator[Finding]:
    """
    The worst case of one event is not above `per_event`.
    """
    for keys, pipeline in survey.pipelines:
        found, cap = cost(survey, str(keys[1]), pipeline), pipeline.limits.per_event
        if found is not None and cap is not None and found.worst_case > cap:
            models = " then ".join(name for name, _ in ladder(survey, pipeline))
            message = f"one event can cost {usd(found.worst_case)} ({models}), above {usd(cap)}"
            hint = "raise it, or lower `context.tokens` or `ask.max_output`"
            yield survey.error((*keys, "limits", "per_event"), message, hint)


@rule("money/spend")
def spend(survey: Survey) -> Iterator[Finding]:
    """
    A cap buys at least one event.
    """
    for keys, pipeline in survey.pipelines:
        found, cap = cost(survey, str(keys[1]), pipeline), pipeline.limits.spend
        if found is None:
            continue
        if cap is not None and cap.amount < found.worst_case:
            message = f"one event can cost {usd(found.worst_case)}, more than {cap} allows"
            yield survey.error((*keys, "limits", "spend"), message, "raise it, or lower `context.tokens`")
        if cap is not None and pipeline.limits.per_event is not None and pipeline.limits.per_event > cap.amount:
            message = f"one event may cost {usd(pipeline.limits.per_event)}, more than {cap} allows in all"
            yield survey.error((*keys, "limits", "per_event"), message, "lower it, or raise `spend`")


@rule("money/covered")
def covered(survey: Survey) -> Iterator[Finding]:
    """
    A budget buys at least one event of every pipeline it covers.
    """
    for name, budget in survey.declaration.budgets.items():
        for keys, pipeline in survey.pipelines:
            found = cost(survey, str(keys[1]), pipeline) if covers(budget, pipeline) else None
            if found is not None and budget.spend.amount < found.worst_case:
                message = f"one event of {keys[1]!r} can cost {usd(found.worst_case)}, more than {budget.spend} allows"
                yield survey.error(("budgets", name, "spend"), message, "raise it, or lower `context.tokens`")


@rule("money/whose")
def whose(survey: Survey) -> Iterator[Finding]:
    """
    What is counted per tenant or user says who that is.
    """
    for keys, pipeline in survey.pipelines:
        named = {"tenant": pipeline.who.tenant, "user": pipeline.who.user}
        for name, budget in survey.declaration.budgets.items():
            if budget.per in named and named[budget.per] is None and covers(budget, pipeline):
                hint = f"give it `who: {{{budget.per}: event.data.…}}`, or leave it out with `labels`"
                message = f"{keys[1]!r} does not say who its {budget.per} is"
                yield survey.error(("budgets", name, "per"), message, hint)
        if pipeline.limits.per_user is not None and pipeline.who.user is None:
            message, hint = f"{keys[1]!r} does not say who its user is", "give it `who: {user: event.data.…}`"
            yield survey.error_at_key((*keys, "limits", "per_user"), message, hint)


@rule("money/budget")
def budgets(survey: Survey) -> Iterator[Finding]:
    """
    A budget's labels are carried by a pipeline, and its alerts rise.
    """
    for name, budget in survey.declaration.budgets.items():
        pipelines = [pipeline for _, pipeline in survey.pipelines]
        if budget.labels and survey.complete and not any(covers(budget, p) for p in pipelines):
            known = {f"{key}: {value}" for pipeline in pipelines for key, value in pipeline.labels.items()}
            written = ", ".join(f"{key}: {value}" for key, value in budget.labels.items())
            hint = did_you_mean(written, known, "no pipeline has labels")
            yield survey.error_at_key(("budgets", name, "labels"), f"no pipeline carries {written!r}", hint)
        if list(budget.alert_at) != sorted(set(budget.alert_at)):
            yield survey.error(("budgets", name, "alert_at"), "the shares do not rise", "write for example [50%, 80%]")
