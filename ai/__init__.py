"""
The only door to language models.
"""

from ai.agreement import Comparison
from ai.batches import batch_terms
from ai.batching import Batched, Terms
from ai.cache import Awaited, Wanted
from ai.client import AI, open  # noqa: A004 - every room is opened by its `open`
from ai.errors import AIError
from ai.models import ModelSpec, Rates
from ai.output import OutputSchema, ask_hash
from ai.pacing import Paced, Pacer
from ai.providers.batching import BATCHING
from ai.routing import Ladder, Shadow
from ai.sameness import Match
from ai.sameness import key as question_key

__all__ = [
    "AI",
    "BATCHING",
    "AIError",
    "Awaited",
    "Batched",
    "Comparison",
    "Ladder",
    "Match",
    "ModelSpec",
    "OutputSchema",
    "Paced",
    "Pacer",
    "Rates",
    "Shadow",
    "Terms",
    "Wanted",
    "ask_hash",
    "batch_terms",
    "open",
    "question_key",
]
