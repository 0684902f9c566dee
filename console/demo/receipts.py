"""
What a run of the demo asked, as its ledger keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.entries import Receipt, RunDetail


def receipt_of(detail: RunDetail) -> Receipt | None:
    """
    Return what the context kept and cut; None when nothing was asked.
    """
    found = _asked(detail).get("receipt")
    return Receipt.model_validate(found) if found else None


def prompt_of(detail: RunDetail) -> str:
    """
    Return what the model was shown; empty when nothing was asked.
    """
    found = _asked(detail).get("prompt")
    return str(found.get("user", "")) if isinstance(found, dict) else ""


def _asked(detail: RunDetail) -> Mapping[str, object]:
    step = next((step for step in detail.steps if step.kind == "ask"), None)
    return step.receipt if step is not None and isinstance(step.receipt, dict) else {}
