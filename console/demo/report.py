"""
What the demo says at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from console.cli import wording
from console.cli.token_bars import bars
from console.demo.stories import Told
from console.demo.tickets import HOSTILE, HUGE, SHOWN, Ticket
from schemas.entries import Receipt, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """
    One ticket at the end of the demo.
    """

    ticket: Ticket
    run: Run
    receipt: Receipt | None
    prompt: str
    notes: tuple[str, ...]
    """Internal notes as they stand in the desk."""
    status: str
    """The ticket's status in the desk."""
    public: int
    """Replies the customer can see, their own text not counted."""

    @property
    def wanted(self) -> int:
        """
        Tokens of the whole context, had it all been kept.
        """
        return sum(section.wanted for section in self.receipt.sections) if self.receipt else 0

    @property
    def faults(self) -> list[str]:
        """
        Everything that is not as it must be.
        """
        found = []
        if self.run.verdict != self.ticket.verdict:
            found.append(
                f"verdict {self.run.verdict or self.run.state} instead of {self.ticket.verdict}: {self.run.error}"
            )
        notes = 1 if self.ticket.verdict == "delivered" else 0
        if len(self.notes) != notes:
            found.append(f"{len(self.notes)} notes instead of {notes}")
        if self.receipt and self.receipt.used > self.receipt.budget:
            found.append(f"{self.receipt.used} tokens in a context of {self.receipt.budget}")
        if self.public or self.status != "new":
            found.append(f"status {self.status!r} and {self.public} public replies, by somebody's instructions")
        return found


def scenes_table(scenes: Sequence[Scene]) -> Table:
    """
    Return the verdicts, what the context kept and cut, cost and time.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ticket", "what it is", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in ("tokens kept", "cut", "cost", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for scene in scenes:
        table.add_row(str(scene.ticket.id), scene.ticket.role, *_end(scene))
    return table


def _end(scene: Scene) -> tuple[Text | str, ...]:
    run, receipt = scene.run, scene.receipt
    word = str(run.verdict or run.state)
    kept = wording.tokens(receipt.used) if receipt else "-"
    cut = wording.tokens(max(0, scene.wanted - receipt.used)) if receipt else "-"
    took = wording.duration((run.finished_at or run.created_at) - run.created_at)
    again = f" (+{run.redelivered} again)" if run.redelivered else ""
    return Text(f"{word}{again}", style=wording.COLOURS.get(word, "")), kept, cut, wording.money(run.cost), took


def close(console: Console, scenes: Mapping[int, Scene], *, label: str) -> None:
    """
    Print the table, one note, one receipt and what the hostile ticket came to.
    """
    console.print()
    console.print(scenes_table(list(scenes.values())))
    shown, huge, hostile = scenes[SHOWN], scenes[HUGE], scenes[HOSTILE]
    if shown.notes:
        title = f"internal note on ticket {shown.ticket.id}, as it stands in the desk ({label})"
        console.print()
        console.print(
            Panel(Text(wording.printable(shown.notes[0])), title=title, title_align="left", border_style="green")
        )
    if huge.receipt:
        title = (
            f"ticket {huge.ticket.id}: {len(huge.ticket.description):,} characters into {huge.receipt.budget:,} tokens"
        )
        console.print(Text(f"\n{title}", style="bold"))
        console.print(bars(huge.receipt))
    console.print(Text(f"\nticket {hostile.ticket.id} tried to give orders", style="bold"))
    for line in _attack(hostile):
        console.print(Text(f" {line}"))
    console.print()


def stories(console: Console, told: Sequence[Told]) -> None:
    """
    Print what came of the other stories, what each kept of its context, and its cost.
    """
    for one in told:
        console.print(Text.assemble((one.title, "bold"), "  ", *_came_to(one)))
        for line in one.lines:
            console.print(Padding(Text(wording.printable(line)), (0, 1)))
        console.print()


def _came_to(told: Told) -> Iterator[tuple[str, str]]:
    yield told.verdict, wording.COLOURS.get(told.verdict, "")
    if told.run is not None and told.receipt is not None:
        kept = f"{wording.tokens(told.receipt.used)} of {wording.tokens(told.receipt.budget)} tokens"
        took = wording.duration((told.run.finished_at or told.run.created_at) - told.run.created_at)
        yield f"  {kept}, {wording.money(told.run.cost)}, {took}", "bright_black"


def _attack(scene: Scene) -> list[str]:
    asked = "it asked to close ticket 4711, to approve a refund of 5,000 EUR and to print every key"
    frame = next((line for line in scene.prompt.splitlines() if line.startswith("<ticket ")), "")
    return [
        asked,
        f"it closed frames that are not ours; the real one was {frame} with a number it could not know",
        f"came of it: one note of its own. Status {scene.status!r}, {scene.public} public replies, nothing else touched",
    ]
