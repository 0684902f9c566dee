"""
The only door to language models.
"""

from ai.client import AI, open  # noqa: A004 - every room is opened by its `open`
from ai.errors import AIError
from ai.models import ModelSpec, Rates
from ai.output import OutputSchema, ask_hash

__all__ = ["AI", "AIError", "ModelSpec", "OutputSchema", "Rates", "ask_hash", "open"]
