"""
From what ops wrote about a model to what the AI room works with.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai import ModelSpec, Rates
from ledger import pacing
from penstock.errors import Invalid
from penstock.secrets import SecretRefs
from pipelines.declaration import Declaration, Model, Price, Quota


def model_spec(name: str, model: Model) -> ModelSpec:
    """
    Return the declaration's entry *name* of `models` as the AI room's value; raises `Invalid`.
    """
    try:
        key = None if model.key is None else SecretRefs.parse(model.key)
    except ValueError as error:  # its words never repeat what stands there
        raise Invalid(str(error), where=f"models.{name}.key") from None
    return ModelSpec(
        name=name,
        provider=model.provider,
        model=model.model,
        key=key,
        url=model.url,
        api_version=model.api_version,
        project=model.project,
        region=model.region,
        window=model.window,
        price=None if model.price is None else _rates(model.price),
        price_as=model.price_as,
        quota=None if model.limits is None else _quota(model.limits),
    )


def model_specs(declaration: Declaration) -> Mapping[str, ModelSpec]:
    """
    Return every model of the declaration, by name.
    """
    return {name: model_spec(name, model) for name, model in declaration.models.items()}


def _quota(limits: Quota) -> pacing.Quota:
    return pacing.Quota(**limits.model_dump(exclude_none=True))


def _rates(price: Price) -> Rates:
    return Rates(input=price.input, output=price.output, cache_read=price.cache_read, cache_write=price.cache_write)
