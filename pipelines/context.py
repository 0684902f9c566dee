"""
The context of one run: sections gathered, printed, cleaned, cut to their budget, framed and counted.

    assembled = await assemble(context, event=…, fetch=…, many=…, nonce=…, templates=…)
    assembled.texts["ticket"]      # finished text of one section, "" when nothing was kept
    assembled.context              # all of them, in written order
    assembled.used                 # exactly its tokens, never above context.tokens
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.expressions import Template
from pipelines import printing
from pipelines.cleaning import clean
from pipelines.cutting import Chain, Kept
from pipelines.declaration import Context, Section
from pipelines.framing import Frame, nonce
from pipelines.gathering import Fetch, Found, Gathering
from pipelines.packing import Claimant, pack
from schemas.entries import SectionReceipt

__all__ = ["Assembled", "Fetch", "assemble", "nonce", "worst_case"]

MAX_SECTION = 2_000_000
"""Characters of a section that are looked at; what is beyond is left out before anything is counted."""
_OFF_LOOP = 50_000  # characters from which counting would hold up the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """
    A finished context.
    """

    texts: Mapping[str, str]
    """Per section, in written order: framed text, whole lines; empty when nothing was kept."""
    receipts: tuple[SectionReceipt, ...]
    budget: int
    used: int
    """Exact tokens of all texts together."""
    nonce: str
    supported_text: str
    """The kept text without frames and markers: what an answer may rest on."""

    @property
    def context(self) -> str:
        """
        All sections, as `{{ context }}` places them.
        """
        return "".join(self.texts.values())


async def assemble(
    context: Context,
    *,
    event: Mapping[str, Any],
    fetch: Fetch,
    many: Collection[str],
    nonce: str,
    templates: Callable[[str], Template],
) -> Assembled:
    """
    Gather and pack the sections of *context* for *event*.

    A section that is not optional passes on the error that emptied it: `NotFound` and `MissingField`
    are the event's fault, `Unavailable` and `AuthFailed` are not.

    Args:
        event: The event in structured JSON form, as expressions see it.
        fetch: Runs a lookup: `fetch("helpdesk.organization", "4711", most)`.
        many: The targets among the lookups that return lists.
        nonce: The run's 12 digits.
        templates: Gives the compiled template of a `template:` key.
    """
    found = await Gathering(context, event=event, fetch=fetch, many=many).all()
    printed = {name: _printed(section, found[name], templates) for name, section in context.sections.items()}
    if sum(len(unit) for units in printed.values() for unit in units) < _OFF_LOOP:
        return _packed(context, printed, found, nonce)
    return await asyncio.to_thread(_packed, context, printed, found, nonce)


def worst_case(context: Context) -> int:
    """
    Return the most tokens the sections can take.
    """
    ceilings = [section.tokens.ceiling for section in context.sections.values()]
    known = [ceiling for ceiling in ceilings if ceiling is not None]
    bounded = len(known) == len(ceilings)
    return min(int(context.tokens), sum(known)) if bounded else int(context.tokens)


def _printed(section: Section, found: Found, templates: Callable[[str], Template]) -> list[str]:
    if found.data is None:
        return []
    return printing.units(found.data, section.fields, templates(section.template) if section.template else None)


def _packed(context: Context, printed: Mapping[str, list[str]], found: Mapping[str, Found], nonce: str) -> Assembled:
    claimants = [_claimant(name, context, printed[name], nonce) for name in context.sections]
    kept = dict(zip(context.sections, pack(context.tokens, claimants), strict=True))
    receipts = tuple(
        _receipt(name, claimant, kept[name], found[name].note)
        for name, claimant in zip(context.sections, claimants, strict=True)
    )
    return Assembled(
        texts={name: part.text for name, part in kept.items()},
        receipts=receipts,
        budget=context.tokens,
        used=sum(part.tokens for part in kept.values()),
        nonce=nonce,
        supported_text="\n".join(part.body for part in kept.values() if part.body),
    )


def _claimant(name: str, context: Context, printed: list[str], nonce: str) -> Claimant:
    section = context.sections[name]
    units, room = [], MAX_SECTION
    for unit in printed:
        if cleaned := clean(unit[:room], context.sections, nonce):
            units.append(cleaned)
        room -= len(unit)
        if room <= 0:
            break
    frame = Frame(name, "" if section.trusted else nonce)
    return Claimant(
        chain=Chain(units, frame=frame, cut=section.cut, records=True),
        cut=section.cut,
        priority=section.priority,
        floor=section.tokens.floor,
        ceiling=section.tokens.ceiling,
    )


def _receipt(name: str, claimant: Claimant, kept: Kept, note: str | None) -> SectionReceipt:
    if note is None and claimant.chain.wanted and not kept.tokens:
        note = "nothing fits into its tokens"
    return SectionReceipt(
        name=name,
        priority=claimant.priority,
        floor=claimant.floor,
        ceiling=claimant.ceiling,
        wanted=claimant.chain.wanted,
        kept=kept.tokens,
        units=kept.units,
        units_kept=kept.units_kept,
        unit=kept.unit,
        cut=claimant.cut,
        note=note,
    )
