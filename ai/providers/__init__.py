"""
One file per provider: swapping one means changing one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ai.models import ProviderName
from penstock.errors import Invalid

if TYPE_CHECKING:
    from ai.providers.contract import Adapter

__all__ = ["adapter"]


def adapter(provider: str) -> Adapter:
    """
    Return the adapter of *provider*; loaded on first use.
    """
    match provider:
        case "openai":
            from ai.providers import openai

            return openai
        case "azure":
            from ai.providers import azure

            return azure
        case "anthropic":
            from ai.providers import anthropic

            return anthropic
        case "google":
            from ai.providers import google

            return google
        case "vertex":
            from ai.providers import vertex

            return vertex
        case "bedrock":
            from ai.providers import bedrock

            return bedrock
    known = ", ".join(repr(name) for name in get_args(ProviderName))
    raise Invalid(f"there is no provider {provider!r}", hint=f"use one of {known}")
