"""
One file per provider: swapping one means changing one file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.errors import Invalid

if TYPE_CHECKING:
    from ai.providers.contract import Adapter

__all__ = ["adapter"]


def adapter(provider: str) -> Adapter:
    """
    Return the adapter of *provider*; loaded on first use.
    """
    if provider == "openai":
        from ai.providers import openai

        return openai
    if provider == "anthropic":
        from ai.providers import anthropic

        return anthropic
    raise Invalid(f"there is no provider {provider!r}", hint="use 'openai', 'anthropic' or 'offline'")
