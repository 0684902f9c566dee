"""
One run on one sheet: event, receipt, prompt, answer, writes, cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from console.cli import wording
from console.cli.token_bars import bars
from ledger.pairing import SHADOW
from schemas.entries import (
    DecisionEntry,
    DraftEntry,
    ModelCall,
    OriginEntry,
    Receipt,
    Run,
    RunDetail,
    StepEntry,
    WriteEntry,
)

EVENT_MOST = 4_000  # characters of the event shown; --json has all of it


def sheet(detail: RunDetail) -> RenderableType:
    """
    Return everything known of a run, ready to print.
    """
    return Group(*_parts(detail))


def _parts(detail: RunDetail) -> Iterator[RenderableType]:
    yield from _head(detail.run, detail.origin)
    yield from _event(detail.event)
    ask = next((step for step in reversed(detail.steps) if step.kind == "ask"), None)
    if ask is not None:
        yield from _ask(ask)
    if detail.calls:
        yield from _block("calls", "\n".join(_call(call) for call in detail.calls))
    if detail.steps:
        yield from _block("steps", "\n".join(_step(step) for step in detail.steps))
    for draft in detail.drafts:
        yield from _block(f"draft {_draft(draft)}", draft.text or draft.args.get("text") or json.dumps(draft.args))
    if detail.decisions:
        yield from _block("decisions", "\n".join(_decision(decision) for decision in detail.decisions))
    if detail.writes:
        yield from _block("writes", "\n".join(_write(write) for write in detail.writes))


def _head(run: Run, origin: OriginEntry | None) -> Iterator[RenderableType]:
    word = run.verdict or run.state
    yield Text.assemble(
        ("run ", "bold"),
        run.run,
        "  ",
        run.pipeline,
        "  ",
        (word, wording.COLOURS.get(word, "")),
        f"  {run.reason or ''}",
    )
    lines = [("record", run.subject), ("lane", run.lane), ("event", f"{run.event_id} of {run.source}")]
    lines += [("comes of", _origin(origin))] if origin else []
    lines += [("why", run.error)] if run.error else []
    lines += [("failed at", run.failed_step)] if run.failed_step else []
    lines += [("newer", run.superseded_by)] if run.superseded_by else []
    lines += [("gate", run.gate)] if run.gate else []
    lines += [("due", wording.moment(run.due_at))] if run.due_at and run.state == "waiting" else []
    lines += [("created", wording.moment(run.created_at)), ("finished", wording.moment(run.finished_at))]
    lines += [("attempts", str(run.attempts))] if run.attempts else []
    lines += [("again", f"{run.redelivered} times delivered again")] if run.redelivered else []
    lines += [("cost", wording.money(run.cost))]
    for name, value in lines:
        if value:
            yield Text(wording.printable(f"  {name:<9} {value}"))


def _origin(origin: OriginEntry) -> str:
    return f"run {origin.run} of {origin.pipeline}, which wrote {origin.step}; depth {origin.depth}"


def _block(title: str, body: str) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", style="bold")
    yield Text("\n".join(f"  {line}" for line in wording.printable(body).split("\n")))


def _event(event: dict[str, Any] | None) -> Iterator[RenderableType]:
    if event is None:
        yield from _block("event", "its details were pruned; `hub.keep` says for how long they are kept")
        return
    body = json.dumps(event.get("data", {}), indent=2, ensure_ascii=False)
    if len(body) > EVENT_MOST:
        body = body[:EVENT_MOST] + f"\n… {len(body) - EVENT_MOST:,} more characters; --json has them"
    yield from _block(f"event {event.get('type', '')} at {event.get('time', '')}", body)


def _ask(step: StepEntry) -> Iterator[RenderableType]:
    kept = step.receipt if isinstance(step.receipt, dict) else {}
    if found := kept.get("receipt"):
        yield Text("\nreceipt", style="bold")
        yield bars(Receipt.model_validate(found))
    for part in ("system", "user"):
        if text := (kept.get("prompt") or {}).get(part):
            yield from _block(f"prompt: {part}", text)
    if isinstance(step.result, dict):
        output = step.result.get("output", step.result)
        label = step.result.get("label", "")
        yield from _block(
            f"answer {label}{_from_cache(step.result)}".rstrip(), json.dumps(output, indent=2, ensure_ascii=False)
        )


def _from_cache(answer: dict[str, Any]) -> str:
    source = answer.get("cached")
    return f", from the cache: paid for by run {source}, saved {wording.money(answer['saved'])}" if source else ""


def _call(call: ModelCall) -> str:
    usage = f"{wording.tokens(call.usage.input)} in, {wording.tokens(call.usage.output)} out"
    late = "  late" if call.late else ""
    only = "  only to compare" if call.step == SHADOW else ""
    answered = (call.response_model or call.request_model).removeprefix(f"{call.provider}/")
    return (
        f"{call.model:<10} {call.provider}/{answered}  {call.outcome}  "
        f"{usage}  {wording.money(call.cost)}  {wording.duration(call.latency_ms)}{late}{only}"
    )


def _step(step: StepEntry) -> str:
    outcome = step.result if isinstance(step.result, dict) and step.kind == "write" else {}
    words = [f"{step.step:<28} {step.action_class:<9} {step.state}", f"tried {step.attempts}x"]
    words += [str(outcome[name]) for name in ("outcome", "why", "url") if outcome.get(name)]
    return "  ".join(words)


def _draft(draft: DraftEntry) -> str:
    what = {"approve": "approved", "discard": "discarded", "expired": "expired"}.get(draft.choice or "")
    if what is None:
        return f"of {draft.step}  waits until {wording.moment(draft.expires_at)}"
    changed = " with changes" if draft.text is not None else ""
    by = f" by {draft.person}" if draft.person else ""
    return f"of {draft.step}  {what}{changed}{by}  {wording.moment(draft.decided_at)}"


def _decision(decision: DecisionEntry) -> str:
    even = "  even if newer" if decision.insist else ""
    by = f"  by {decision.person}" if decision.person else ""
    return f"{decision.what}{by}  {wording.moment(decision.at)}{even}"


def _write(write: WriteEntry) -> str:
    fields = ", ".join(write.fields)
    version = f"  as {write.version}" if write.version else ""
    return f"{write.connection}/{write.record}  {write.state}  {fields}{version}  {wording.moment(write.at)}"
