"""
The other worked examples, an event or two each: a question in Slack, a mail, and an account in the CRM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.slack.double import BOT
from connectors.slack.words import plain
from console.cli import wording
from console.demo import letters, overlay
from console.demo.receipts import receipt_of
from console.demo.stage import Stage, staged
from schemas.entries import Receipt, Run, RunDetail

WITHIN = 60.0  # seconds of one story
QUESTION = "Hi <@U0HUB0001>, is it true that order <https://shop.example/o/4711|4711> left Lyon on 17 November?"
ACCOUNT: dict[str, Any] = {"Name": "Nadia Bikes", "Website": "https://nadia-bikes.example"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    One story at its end.
    """

    title: str
    lines: tuple[str, ...] = ()
    run: Run | None = None
    receipt: Receipt | None = None
    fault: str | None = None

    @property
    def verdict(self) -> str:
        """
        What its run came to.
        """
        return str(self.run.verdict or self.run.state) if self.run is not None else "-"


async def play(state: Path, *, model: overlay.Choice) -> list[Told]:
    """
    Play all stories at the same time; what went wrong stands in `fault`.
    """
    async with staged(state, model) as stage:
        told = await asyncio.gather(*(_told(title, story(stage, title)) for title, story in STORIES.items()))
        await stage.slack.hooks.settled()
    return told


async def _told(title: str, story: Awaitable[Told]) -> Told:
    try:
        async with asyncio.timeout(WITHIN):
            return await story
    except TimeoutError:
        return Told(title=title, fault=f"{title}: no end within {WITHIN:g} s")


def _end(title: str, detail: RunDetail, lines: list[str], *, good: bool) -> Told:
    run = detail.run
    fault = None if good and run.verdict == "delivered" else f"{title}: {run.verdict} {run.error or ''}".rstrip()
    return Told(title=title, lines=tuple(lines), run=run, receipt=receipt_of(detail), fault=fault)


async def _question(stage: Stage, title: str) -> Told:
    """
    Somebody asks in a channel. When the model is not sure, a colleague approves its draft.
    """
    asked = stage.slack.say(QUESTION)
    record = f"C0SUPPORT1/{asked['ts']}"
    lines = [f"asked in #support: {plain(QUESTION)}"]
    detail = await stage.run_of(record, "final", "aside")
    if detail.run.state == "aside":
        lines.append("the answer was not sure enough: a draft waited in the review channel, and Nadia approved it")
        stage.slack.press("approve")
        detail = await stage.run_of(record, "final")
    answers = [one for one in stage.slack.channels["C0SUPPORT1"] if one.get("bot_id") == BOT and one.get("thread_ts")]
    lines += [f"in the thread: {one['text'].splitlines()[0]}" for one in answers]
    return _end(title, detail, lines, good=len(answers) == 1)


async def _mail(stage: Stage, title: str) -> Told:
    """
    A customer writes again in a conversation, and a machine says that she is away. Only she gets a draft.
    """
    box = stage.mailbox
    await stage.reads("mail/inbox")
    box.deliver(letters.second(box.address))
    detail = await stage.run_where(_about(letters.SECOND))
    box.deliver(letters.away(box.address))
    left = await stage.run_where(_about(letters.AWAY))
    drafts, receipt = box.read("Drafts"), receipt_of(detail)
    before = sum(section.units_kept for section in receipt.sections if section.name == "earlier") if receipt else 0
    lines = [
        f"from {letters.NAME}: Re: {letters.SUBJECT}; {wording.plural(before, 'earlier mail')} of the conversation read",
        *(f"among the drafts, in the thread: {draft.get_content().splitlines()[0]}" for draft in drafts),
        f"her automatic reply came too: {left.run.verdict}, no model was asked; {len(box.sent)} mails were sent",
    ]
    threaded = [draft["In-Reply-To"] for draft in drafts] == [f"<{letters.SECOND}>"]
    return _end(
        title,
        detail,
        lines,
        good=threaded and before == len(letters.BEFORE) and left.run.verdict == "filtered" and not box.sent,
    )


def _about(message_id: str) -> Callable[[Run], bool]:
    return lambda run: run.state == "final" and (run.subject or "").endswith(f"/{message_id}")


async def _account(stage: Stage, title: str) -> Told:
    """
    Somebody makes an account; what is missing in it is filled in, and our own change starts nothing.
    """
    await stage.reads("crm/changes")
    account = stage.crm.made("Account", **ACCOUNT)
    detail = await stage.run_of(account["Id"], "final")
    lines = [f"made: {account['Name']}, without a description", f"now: {account['Description']}"]
    good = detail.run.verdict == "delivered" and bool(account["Description"])
    if good:
        await stage.run_where(lambda run: run.subject == account["Id"] and run.verdict == "own-write")
    return _end(title, detail, lines, good=good)


STORIES: dict[str, Callable[[Stage, str], Awaitable[Told]]] = {
    "Slack question": _question,
    "Mail": _mail,
    "CRM account": _account,
}
