"""
What `check` proves, one module per family of rules.
"""

from pipelines.rules import (  # noqa: F401  # importing a family registers its rules
    answers,
    asking,
    chains,
    context,
    delivery,
    expressions,
    hub,
    loops,
    money,
    names,
    renamed,
    secrets,
    settings,
    templates,
    trigger,
    unused,
)
from pipelines.rules.registry import RULES, apply

__all__ = ["RULES", "apply"]
