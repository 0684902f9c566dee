"""
The demo as people watch it: one line per ticket, moving, or plain lines where nobody watches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.cli import wording
from console.demo.tickets import Ticket
from schemas.entries import Receipt, Run

STAGES = ("written", "running")
"""Of a ticket that has no verdict yet."""


class View(Protocol):
    """
    Shows how far every ticket is.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stage(self, ticket: Ticket, stage: str) -> None:
        """
        Note that *ticket* is at *stage*.
        """
        ...

    def ended(self, ticket: Ticket, run: Run, receipt: Receipt | None) -> None:
        """
        Note that the run of *ticket* has its verdict.
        """
        ...


class Lines:
    """
    One plain line per thing that happened.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Nothing is open.
        """

    def stage(self, ticket: Ticket, stage: str) -> None:
        """
        Say that a ticket was written; the other stages end too soon to be news.
        """
        if stage == "written":
            self._say(f"ticket {ticket.id}  written   {ticket.subject}  ({ticket.role})")

    def ended(self, ticket: Ticket, run: Run, receipt: Receipt | None) -> None:
        """
        Say the verdict.
        """
        word = str(run.verdict or run.state)
        self._say(f"ticket {ticket.id}  {word:<9} {_kept(receipt)}{run.error or ''}".rstrip())


class Board:
    """
    A table that moves.
    """

    def __init__(self, tickets: Sequence[Ticket], console: Console) -> None:
        self._tickets = tickets
        self._stages: dict[int, Text] = {}
        self._kept: dict[int, str] = {}
        self._cost: dict[int, str] = {}
        self._live = Live(self._table(), console=console, refresh_per_second=12, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def stage(self, ticket: Ticket, stage: str) -> None:
        """
        Move a ticket on.
        """
        dots = "●" * (STAGES.index(stage) + 1) + "○" * (len(STAGES) - STAGES.index(stage))
        self._stages[ticket.id] = Text(f"{dots} {stage}", style="blue")
        self._live.update(self._table())

    def ended(self, ticket: Ticket, run: Run, receipt: Receipt | None) -> None:
        """
        Show the verdict in its colour.
        """
        word = str(run.verdict or run.state)
        self._stages[ticket.id] = Text(f"●●● {word}", style=wording.COLOURS.get(word, ""))
        self._kept[ticket.id] = _kept(receipt)
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("ticket", "subject", "how far", "context"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for ticket in self._tickets:
            stage = self._stages.get(ticket.id, Text("○○○", style="bright_black"))
            table.add_row(str(ticket.id), ticket.subject, stage, self._kept.get(ticket.id, ""))
        return table


def _kept(receipt: Receipt | None) -> str:
    if receipt is None:
        return ""
    wanted = sum(section.wanted for section in receipt.sections)
    return f"{wording.tokens(receipt.used)} of {wording.tokens(wanted)} tokens "
