"""
`penstock demo`: no account, no key, no network.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bus import Cluster
from console.cli import wording
from console.cli.exits import Exit
from console.cli.streams import emit, interactive, out, say, talk
from console.demo import overlay, report, stories
from console.demo.overlay import KEYS, Choice, label
from console.demo.show import Played, playing
from console.demo.tickets import TICKETS
from console.demo.view import Board, Lines, View
from penstock.errors import Invalid
from penstock.log import configure
from pipelines.declaration import Kafka

_READ = "kafka-console-consumer.sh"
_ALL = "--from-beginning --property print.headers=true"


def demo(
    *,
    keep: bool,
    fast: bool,
    model: Choice | None,
    state: Path | None,
    kafka: str | None,
    as_json: bool,
    no_input: bool,
) -> int:
    """
    Play the demo; 0 when every event came to the verdict it must come to.
    """
    bus = overlay.kafka(",".join(Cluster.servers_of(kafka))) if kafka is not None else None
    chosen = model or _ask(no_input=no_input)
    if chosen in KEYS and not os.environ.get(KEYS[chosen]):
        raise Invalid(f"{KEYS[chosen]} is not set", where="--model", hint="export it, or use --model offline")
    configure()
    logging.getLogger().setLevel(logging.ERROR)  # the view says what happens
    with ExitStack() as stack:
        folder = _folder(stack, state, keep=keep).absolute()
        try:
            return asyncio.run(
                _play(folder, chosen, bus, keep=keep, fast=fast, kept=keep or state is not None, as_json=as_json)
            )
        except KeyboardInterrupt:
            say("stopped")
            return Exit.OK if keep else Exit.INTERRUPTED


async def _play(
    folder: Path, model: Choice, bus: Kafka | None, *, keep: bool, fast: bool, kept: bool, as_json: bool
) -> int:
    watched = talk().is_terminal and not as_json
    view: View = Board(TICKETS, talk()) if watched else Lines(say)
    say(
        f"A pretend help desk receives {len(TICKETS)} tickets; {label(model)} briefs the agents. "
        "Then come a question in Slack, a mail and a new account in the CRM.\n"
    )
    if bus is not None:
        say(f"Events travel over Kafka at {bus.kafka}, topic {overlay.topic(bus)}.\n")
    async with playing(folder, view, model=model, fast=fast, bus=bus) as played:
        with talk().status("A question in Slack, a mail and a new account in the CRM ..."):
            told = await stories.play(folder / "stories", model=model)
        if as_json:
            emit("demo", **_as_data(played, told), topic=overlay.topic(bus) if bus is not None else None)
        else:
            report.close(out(), played.scenes, label=label(model))
            report.stories(out(), told)
        for fault in (one.fault for one in told if one.fault):
            say(f"fault: {fault}")
        _say_end(played, folder, kept=kept)
        if bus is not None:
            say(f"Read them:    {_READ} --bootstrap-server {bus.kafka} --topic {overlay.topic(bus)} {_ALL}")
        if keep:
            say(f"Still running: deliveries at {played.url}/in/helpdesk. Ctrl-C stops it.")
            await asyncio.Event().wait()
    return Exit.FINDINGS if played.faults or any(one.fault for one in told) else Exit.OK


def _ask(*, no_input: bool) -> Choice:
    """
    Return the model to use; a person who has a key is asked.
    """
    there: list[Choice] = [choice for choice, name in KEYS.items() if os.environ.get(name)]
    if not there or not interactive(no_input=no_input):
        return "offline"
    from rich.prompt import Prompt

    say(f"{' and '.join(KEYS[choice] for choice in there)} is set: a real model costs about a cent.")
    answer = Prompt.ask("Which model answers?", choices=["offline", *there], default="offline", console=talk())
    return next((choice for choice in there if choice == answer), "offline")


def _folder(stack: ExitStack, state: Path | None, *, keep: bool) -> Path:
    if state is not None:
        if (state / "ledger.db").exists():
            raise Invalid("holds a ledger already", where=str(state), hint="name a new folder: the demo begins anew")
        state.mkdir(parents=True, exist_ok=True)
        return state
    if keep:
        return Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-demo-")))


def _say_end(played: Played, folder: Path, *, kept: bool) -> None:
    echoes = len(played.runs) - len(played.scenes)
    say(
        f"\n{wording.plural(played.deliveries, 'signed webhook')}, {wording.plural(len(played.runs), 'event')}, every one "
        f"with a verdict, in {played.seconds:.1f} s; {echoes} of them were caused by our own notes and cost nothing."
        if not played.faults
        else "\nNot as it must be:"
    )
    for fault in played.faults:
        say(f"  {fault}")
    if kept:
        say(f"Look further: penstock runs --state {folder}")
        shown = next(iter(played.scenes.values())).run.run[:8]
        say(f"              penstock runs show {shown} --state {folder}")
        say(f"              penstock runs --state {folder / 'stories'}, for Slack, the mailbox and the CRM")
    else:
        say("Look further: penstock demo --keep leaves it running, with its state; then penstock runs.")
    say("Your own:     penstock init my-hub")


def _as_data(played: Played, told: Sequence[stories.Told]) -> dict[str, object]:
    tickets = [
        {
            "ticket": scene.ticket.id,
            "role": scene.ticket.role,
            "verdict": scene.run.verdict,
            "redelivered": scene.run.redelivered,
            "tokens_kept": scene.receipt.used if scene.receipt else None,
            "tokens_wanted": scene.wanted if scene.receipt else None,
            "tokens_budget": scene.receipt.budget if scene.receipt else None,
            "cost_micro_usd": scene.run.cost,
            "notes": len(scene.notes),
        }
        for scene in played.scenes.values()
    ]
    others = [
        {
            "story": one.title,
            "verdict": one.verdict,
            "tokens_kept": one.receipt.used if one.receipt else None,
            "cost_micro_usd": one.run.cost if one.run else None,
        }
        for one in told
    ]
    faults = [*played.faults, *(one.fault for one in told if one.fault)]
    counted = {"runs": len(played.runs), "deliveries": played.deliveries}
    return {"tickets": tickets, "stories": others, **counted, "faults": faults}
