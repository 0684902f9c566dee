"""
One event through one real pipeline, with nothing real around it.

The runner, the ledger, the context and the model adapters are those of `penstock run`. Lookups give
what the case says, actions only note what they would have written, the model's words come from a
script at the HTTP seam, and nothing leaves the process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ai
import ledger as ledgers
from ai import ModelSpec, Rates
from engine.gates import Gates
from engine.given import event_from
from engine.props import MadeUpKeys, MadeUpSecrets, connections
from engine.runner import Runner
from engine.script import Script
from engine.stage import Played
from ledger.contract import Claim, Ledger
from penstock.clock import ManualClock
from pipelines.models import model_spec
from pipelines.plan import Plan, compile_pipeline
from pipelines.testing import Case, Outcome, Performed
from schemas.entries import Prompt, Receipt, RunDetail
from schemas.events import Event

if TYPE_CHECKING:
    from pipelines.declaration import Declaration

SCRIPTED_URL = "http://model.invalid/v1"
"""Where a scripted model without a provider of its own is thought to be; nothing is sent there."""


async def rehearse(declaration: Declaration, root: Path, case: Case) -> Outcome:
    """
    Run *case* once; return what came of it. Raises `Invalid` for a case that cannot be run.
    """
    plan = _alone(compile_pipeline(declaration, case.pipeline, root))
    real = connections(declaration)
    event = event_from(case.words.given, folder=case.file.parent, connector=real[plan.connection], types=plan.events)
    performed: list[Performed] = []
    played: Mapping[str, Any] = {name: Played(real[name], name, case, event, performed) for name in real}
    clock = ManualClock()
    ledger = await ledgers.open(None, clock=clock)
    try:
        script = Script(case.words.model_says)
        names = {name for ladder in (plan.ladder, *plan.instead) for name in ladder.models}
        models = {name: _model(declaration, name, scripted=script.speaks) for name in sorted(names)}
        asker = ai.open(
            models, http=script, ledger=ledger, secrets=MadeUpSecrets(), keyring=MadeUpKeys(script), clock=clock
        )
        gates = Gates(ledger, clock)
        runner = Runner(plan, connectors=played, ai=asker, ledger=ledger, http=script, clock=clock, gates=gates)
        run = await _through(runner, ledger, event)
        return await _outcome(ledger, run, runner, performed)
    finally:
        await ledger.close()


def _alone(plan: Plan) -> Plan:
    """
    Return *plan* without its shadow and asked at once: a case says what becomes of an event, not when.
    """
    return replace(plan, batch=None, ladder=replace(plan.ladder, shadow=None))


def _model(declaration: Declaration, name: str, *, scripted: bool) -> ModelSpec:
    """
    Return the pipeline's model as it is rehearsed: offline without a script, else spoken for by it.
    """
    spec = model_spec(name, declaration.models[name])
    if not scripted:
        return ModelSpec(name=name, provider="offline", model="extractive")
    if spec.provider == "offline":
        free = Rates(input=0, output=0)
        return ModelSpec(name=name, provider="openai", model=spec.model, url=SCRIPTED_URL, price=free)
    return spec


async def _through(runner: Runner, ledger: Ledger, event: Event) -> str:
    """
    Take *event* through the runner once, as the executor does; return the run's id.
    """
    new = runner.offer(event)
    judged = runner.judge(event)
    body = event.to_json()
    if judged is not None:
        await ledger.conclude(new, *judged, body=body)
        return new.run
    claim = await ledger.claim(new)
    if isinstance(claim, Claim):
        await runner.handle(claim, event, body)
    return new.run


async def _outcome(ledger: Ledger, run: str, runner: Runner, performed: list[Performed]) -> Outcome:
    detail = await ledger.detail(run)
    if detail is None:
        return Outcome(verdict="dead", why="the run left no trace in the ledger")
    prompt, receipt = await _asked(detail, runner)
    return Outcome(
        verdict=detail.run.verdict or detail.run.state,
        why=detail.run.error,
        prompt=prompt,
        receipt=receipt,
        actions=tuple(performed),
        cost=detail.run.cost,
        calls=len(detail.calls),
    )


async def _asked(detail: RunDetail, runner: Runner) -> tuple[Prompt | None, Receipt | None]:
    """
    Return what was sent to the model; nothing for an event that got no further than the trigger.
    """
    if detail.run.started_at is None or detail.event is None:
        return None, None
    try:
        return await runner.prompt(Event.model_validate(detail.event), detail.run.run)
    except Exception as error:  # noqa: BLE001 - the run itself ended for this reason, and says so
        logging.getLogger(__name__).debug("no prompt: %s", error)
        return None, None
