"""
What the context kept and cut, as bars.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from console.cli import wording
from schemas.entries import Receipt, SectionReceipt

BAR = 24  # cells of the longest bar


def bars(receipt: Receipt) -> Table:
    """
    Return one line per section: name, bar, tokens kept of wanted, what was cut.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column("name", no_wrap=True)
    table.add_column("bar", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    table.add_column("wanted", no_wrap=True)
    table.add_column("cut", overflow="fold")
    scale = max([receipt.instructions, receipt.budget, 1])
    table.add_row(
        " instructions",
        _bar(receipt.instructions, receipt.instructions, scale, "blue"),
        wording.tokens(receipt.instructions),
        "",
        "",
    )
    for section in receipt.sections:
        table.add_row(*_row(section, scale))
    table.add_row(
        Text(" context", style="bold"),
        _bar(receipt.used, receipt.budget, scale, "bold"),
        wording.tokens(receipt.used),
        f"/ {wording.tokens(receipt.budget)}",
        "",
    )
    return table


def _row(section: SectionReceipt, scale: int) -> tuple[Text | str, ...]:
    colour = "green" if section.kept >= section.wanted else "yellow" if section.kept else "red"
    if not section.wanted:
        colour = "bright_black"
    return (
        f" {section.name}",
        _bar(section.kept, section.wanted, scale, colour),
        wording.tokens(section.kept),
        f"/ {wording.tokens(section.wanted)}",
        Text(what_was_cut(section), style="" if section.kept >= section.wanted else "yellow"),
    )


def _bar(part: int, whole: int, scale: int, style: str) -> Text:
    return Text(wording.bar(part, whole, scale, BAR), style=style)


def what_was_cut(section: SectionReceipt) -> str:
    """
    Return in words what is missing of *section*: `cut 3 of 7 records at the end`, `dropped`, `empty`.
    """
    left_out = section.units - section.units_kept
    if not section.wanted:
        words = "empty"
    elif not section.kept:
        words = "dropped"
    elif section.kept < section.wanted and left_out > 0:
        words = f"cut {left_out:,} of {section.units:,} {section.unit} at the {section.cut}"
        words = words.replace("at the middle", "in the middle")
    elif section.kept < section.wanted:
        words = f"cut at the {section.cut}"
    else:
        words = ""
    return "; ".join(part for part in (words, section.note) if part)
