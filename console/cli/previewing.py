"""
`penstock preview`: the exact prompt for one event, what was cut, what it can cost.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from ai.estimates import estimate
from connectors import catalog, open_call
from connectors.contract import Connector, Record
from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say, write
from console.cli.token_bars import bars
from console.references import of_connection
from engine.given import event_from, read_data
from engine.props import connection
from engine.stage import records
from ledger.contract import run_id
from penstock.clock import SystemClock
from penstock.errors import Invalid
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from pipelines.models import model_spec
from pipelines.plan import Plan, compile_pipeline
from schemas.entries import Prompt, Receipt
from schemas.events import Event

if TYPE_CHECKING:
    from pipelines.context import Fetch
    from pipelines.declaration import Declaration

PREVIEW_SECRET = bytes(32)  # frames are real in form; the ledger's own secret makes the real ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """
    What would be sent, and what it can cost.
    """

    plan: Plan
    label: str
    event: Event
    prompt: Prompt
    receipt: Receipt
    first_try: int | None
    worst_case: int | None
    """Micro-USD; None when the model's price is unknown."""


def preview(
    file: Path,
    pipeline: str,
    *,
    event: str | None,
    run: str | None,
    lookups: Path | None,
    offline: bool,
    state: Path | None,
    as_json: bool,
) -> int:
    """
    Print the prompt for an event; 5 when its worst case does not fit under `limits.per_event`.
    """
    if (event is None) == (run is None):
        raise Invalid("give exactly one of --event and --run", where="penstock preview")
    loaded = project.load(file)
    declaration = project.declaration(loaded)
    if pipeline not in declaration.pipelines:
        known = ", ".join(declaration.pipelines)
        raise Invalid(f"there is no pipeline {pipeline!r}", where="penstock preview", hint=f"one of {known}")
    plan = compile_pipeline(declaration, pipeline, loaded.root)
    asked = _Asked(event=event, run=run, lookups=lookups, offline=offline, ledger=project.ledger_place(file, state))
    shown = asyncio.run(_preview(declaration, plan, asked))
    _print_json(shown) if as_json else _print(shown)
    return _verdict(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    event: str | None
    run: str | None
    lookups: Path | None
    offline: bool
    ledger: Path | str


async def _preview(declaration: Declaration, plan: Plan, asked: _Asked) -> Preview:
    secret, event = await _event(declaration, plan, asked)
    run = run_id(plan.tenant(event), plan.name, event.source, event.id)
    http = AiohttpHttp()
    try:
        fetch = _given(asked) if asked.lookups or asked.offline else _fetch(declaration, http, run)
        many = _lists(declaration)
        prompt, receipt, _ = await plan.prompt_for(event, fetch=fetch, many=many, secret=secret, run=run)
    finally:
        await http.close()
    spec = model_spec(plan.model, declaration.models[plan.model])
    first, worst = estimate(spec, prompt.tokens, plan.max_output, batched=plan.batch is not None) or (None, None)
    return Preview(
        plan=plan, label=spec.label, event=event, prompt=prompt, receipt=receipt, first_try=first, worst_case=worst
    )


async def _event(declaration: Declaration, plan: Plan, asked: _Asked) -> tuple[bytes, Event]:
    if asked.run is None:
        return PREVIEW_SECRET, _from_words(declaration, plan, asked.event or "")
    async with project.open_ledger(asked.ledger) as ledger:
        detail = await ledger.detail(asked.run)
        if detail is None or detail.event is None:
            raise Invalid(
                f"no run with details begins with {asked.run!r}", where="--run", hint="penstock runs lists them"
            )
        return ledger.secret, Event.model_validate(detail.event)


def _from_words(declaration: Declaration, plan: Plan, given: str) -> Event:
    connector = connection(declaration, plan.connection)
    if given != "-":
        return event_from(given, folder=Path(), connector=connector, types=plan.events)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stdin.json").write_bytes(sys.stdin.buffer.read())
        return event_from("stdin.json", folder=Path(folder), connector=connector, types=plan.events)


def _lists(declaration: Declaration) -> frozenset[str]:
    """
    Return the lookups that give several records.
    """
    return frozenset(
        f"{name}.{lookup.name}"
        for name, written in declaration.connections.items()
        for lookup in catalog.spec(written.connector, written.settings).lookups.values()
        if lookup.many
    )


def _given(asked: _Asked) -> Fetch:
    answers = read_data(asked.lookups) if asked.lookups else {}
    if not isinstance(answers, Mapping):
        raise Invalid("a lookups file maps `connection.lookup` to records", where=str(asked.lookups))

    async def fetch(target: str, by: str, most: int) -> list[Record]:
        return records(target, answers.get(target), by)[:most]

    return fetch


def _fetch(declaration: Declaration, http: AiohttpHttp, run: str) -> Fetch:
    clock, secrets = SystemClock(), Secrets()
    opened: dict[str, Connector] = {}

    async def fetch(target: str, by: str, most: int) -> list[Record]:
        name, lookup_name = target.split(".", 1)
        if name not in opened:
            written = declaration.connections[name]
            await secrets.load(of_connection(declaration, name), http=http)
            opened[name] = catalog.open(written.connector, written.settings, secrets=secrets, http=http, clock=clock)
        lookup = opened[name].lookups[lookup_name]
        key = hashlib.sha256(f"preview:{run}".encode()).hexdigest()
        call = open_call(opened[name], http, key=key, slot="", timeout=lookup.timeout, clock=clock)
        return await lookup.fetch(by, call, most)

    return fetch


def _print(shown: Preview) -> None:
    worst = "unknown price" if shown.worst_case is None else f"worst case {wording.money(shown.worst_case)}"
    head = f"{shown.plan.name}   {shown.label}   budget {wording.tokens(shown.receipt.budget)} tokens   {worst}"
    out().print(Text(head, style="bold"))
    out().print(bars(shown.receipt))
    out().print(Text(f" answer of at most {wording.tokens(shown.plan.max_output)} tokens\n", style="dim"))
    for title, text in (("system", shown.prompt.system), ("user", shown.prompt.user)):
        out().print(Text(f"── {title} " + "─" * 40, style="dim"))
        write(wording.printable(text))
    if unwanted := shown.plan.unwanted(shown.event):
        say(f"note: a real run of this event would end as {unwanted[0]}: {unwanted[1]}")


def _print_json(shown: Preview) -> None:
    emit(
        "preview",
        pipeline=shown.plan.name,
        model=shown.label,
        event=shown.event.id,
        prompt=shown.prompt.model_dump(mode="json"),
        receipt=shown.receipt.model_dump(mode="json"),
        max_output=shown.plan.max_output,
        first_try_micro_usd=shown.first_try,
        worst_case_micro_usd=shown.worst_case,
    )


def _verdict(shown: Preview) -> int:
    cap = shown.plan.per_event
    if cap is not None and shown.first_try is not None and shown.first_try > cap:
        asked, allowed = wording.money(shown.first_try), wording.money(cap)
        say(f"error: one call may cost {asked}, limits.per_event allows {allowed}: this event would end over-budget")
        return Exit.BUDGET
    return Exit.OK
