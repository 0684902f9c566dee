"""
Which answers of a pipeline may be used again: what `ask.cache` says, compiled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai import Match, question_key
from ai.output import fingerprint
from ledger.caching import Question
from pipelines.anatomy import Cache

if TYPE_CHECKING:
    from pipelines.declaration import Declaration, Pipeline
    from schemas.entries import Prompt

STEP = "ask"
_SAME_MODEL = {"provider", "model", "url", "api_version", "project", "region"}
"""What of a model decides who answers: neither its key nor its price does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """
    The cache of one pipeline.
    """

    match: Match
    keep: float
    """Seconds for which an answer is used again."""
    patience: float
    """Seconds after which a run that asks is not waited for any more."""
    pipeline: str
    """Its first name."""
    asked: str
    """Hash of everything that was configured and decides the answer."""

    def question(self, prompt: Prompt, tenant: str) -> Question:
        """
        Return what is asked by *prompt*.
        """
        key = question_key(prompt, tenant=tenant, pipeline=self.pipeline, asked=self.asked, match=self.match)
        return Question(key=key, step=STEP, keep=self.keep, patience=self.patience)


def cache_of(declaration: Declaration, name: str, pipeline: Pipeline, *, ask_hash: str) -> CachePlan | None:
    """
    Return the cache of the pipeline *name*; None when its answers are used once.
    """
    ask = pipeline.ask
    if ask.cache is None:
        return None
    written = ask.cache if isinstance(ask.cache, Cache) else Cache(match=ask.cache)
    return CachePlan(
        match=written.match,
        keep=written.keep,
        patience=2 * ask.timeout,
        pipeline=pipeline.was or name,
        asked=fingerprint({"asked": ask_hash, "of": _whom(declaration, pipeline)}),
    )


def _whom(declaration: Declaration, pipeline: Pipeline) -> dict[str, Any]:
    """
    Return who is asked in turn, and when the next one is.
    """
    route = declaration.routes[pipeline.ask.route] if pipeline.ask.route else None
    names = route.try_ if route else (pipeline.ask.model or "",)
    return {
        "models": [[name, declaration.models[name].model_dump(include=_SAME_MODEL)] for name in names],
        "escalate_when": route.escalate_when if route else None,
    }
