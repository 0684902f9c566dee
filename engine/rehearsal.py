"""
One event through one real pipeline, with nothing real around it.

The runner, the ledger, the context and the model adapters are those of `penstock run`. Lookups give
what the case says, actions only note what they would have written, the model's words come from a
script at the HTTP seam, and nothing leaves the process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ai
import ledger as ledgers
from ai import AI, ModelSpec, Rates
from engine.gates import Gates
from engine.runner import Runner
from engine.stage import Stage
from engine.script import Script
from ledger.contract import Claim, Ledger, NewRun
from penstock.clock import ManualClock
from pipelines.models import model_spec
from pipelines.plan import Plan, compile_pipeline
from pipelines.testing import Case, Outcome
from schemas.entries import Prompt, Receipt, RunDetail
from schemas.events import Event

if TYPE_CHECKING:
    from pipelines.declaration import Declaration

SCRIPTED_URL = "http://model.invalid/v1"
"""Where a model that has no provider of its own is thought to be; nothing is sent there."""


async def rehearse(declaration: Declaration, root: Path, case: Case) -> Outcome:
    """
    Run *case* once; return what came of it. Raises `Invalid` for a case that cannot be run.
    """
    plan = compile_pipeline(declaration, case.pipeline, root)
    stage = Stage.build(declaration, case)
    event = stage.event(plan)
    script = Script(case.words.model_says)
    clock = ManualClock()
    ledger = await ledgers.open(None, clock=clock)
    try:
        models = {plan.model: _model(declaration, plan.model, scripted=script.speaks)}
        asker = ai.open(models, http=script, ledger=ledger, secrets=stage.secrets, clock=clock)
        runner = _runner(plan, stage, asker, ledger, clock, script)
        run = await _through(runner, ledger, event)
        return _outcome(await ledger.detail(run), stage)
    finally:
        await ledger.close()


def _runner(plan: Plan, stage: Stage, asker: AI, ledger: Ledger, clock: ManualClock, script: Script) -> Runner:
    return Runner(
        plan,
        connectors=stage.connectors,
        ai=asker,
        ledger=ledger,
        http=script,
        clock=clock,
        gates=Gates(ledger, clock),
    )


def _model(declaration: Declaration, name: str, *, scripted: bool) -> ModelSpec:
    """
    Return the pipeline's model as it is rehearsed: offline without a script, else spoken for by it.
    """
    spec = model_spec(name, declaration.models[name])
    if not scripted:
        return ModelSpec(name=name, provider="offline", model="extractive")
    if spec.provider == "offline":
        return ModelSpec(
            name=name, provider="openai", model=spec.model, url=SCRIPTED_URL, price=Rates(input=0, output=0)
        )
    return spec


async def _through(runner: Runner, ledger: Ledger, event: Event) -> str:
    new = _new_run(runner, event)
    judged = runner.judge(event)
    body = event.to_json()
    if judged is not None:
        verdict, why = judged
        await ledger.conclude(new, verdict, why, body=body)
        return new.run
    claim = await ledger.claim(new)
    if isinstance(claim, Claim):
        await runner.handle(claim, event, body)
    return new.run


def _new_run(runner: Runner, event: Event) -> NewRun:
    return NewRun(
        tenant=runner.tenant(event),
        pipeline=runner.plan.name,
        lane=event.key,
        source=event.source,
        event_id=event.id,
        subject=event.subject,
        body_hash="",
        config_hash=runner.plan.config_hash,
        topic="",
        partition=0,
        offset=0,
        bus_time=0,
    )


def _outcome(detail: RunDetail | None, stage: Stage) -> Outcome:
    if detail is None:
        return Outcome(verdict="dead", why="the run left no trace")
    prompt, receipt = _asked(detail)
    return Outcome(
        verdict=detail.run.verdict or detail.run.state,
        why=detail.run.error,
        prompt=prompt,
        receipt=receipt,
        actions=tuple(stage.performed),
        cost=detail.run.cost,
        calls=len(detail.calls),
    )


def _asked(detail: RunDetail) -> tuple[Prompt | None, Receipt | None]:
    ...
