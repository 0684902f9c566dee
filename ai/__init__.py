"""
The only door to language models.
"""

from ai.errors import AIError
from ai.models import ModelSpec, Rates

__all__ = ["AIError", "ModelSpec", "Rates"]
