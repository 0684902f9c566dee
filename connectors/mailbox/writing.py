"""
What we write: mails that say they are automatic, named by the step's key, and found by that name again.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from imapclient import IMAPClient

from connectors.contract import Action, Call, WriteMode, Written
from connectors.mailbox import composing, folders
from connectors.mailbox.composing import SLOT
from connectors.mailbox.declaration import ACTIONS
from connectors.mailbox.finding import Original, correspondent
from connectors.mailbox.imap import Desk, Refused
from connectors.mailbox.sent import Sent
from connectors.mailbox.smtp import NOBODY, Post
from connectors.specs import made
from penstock.clock import Clock
from penstock.errors import AuthFailed, Fenced, NotFound, Rejected, Unavailable, UnknownOutcome

TIMEOUT = 45.0  # seconds
_OURS = re.compile(r"[0-9a-f]{64}@penstock\..+")

Step = Literal["begun", "there"]
"""How far a draft came: its putting was asked for, it lies there."""
Found = Callable[[str, float], Awaitable[Original]]


class Writing:
    """
    The actions of one mailbox.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, desk: Desk, sent: Sent, post: Post, clock: Clock, original: Found
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._sent = sent
        self._post = post
        self._clock = clock
        self._original = original
        self._address: str = settings["address"]
        self._domain = self._address.rpartition("@")[2].lower()

    def all(self) -> Mapping[str, Action]:
        """
        Return every action by its name.
        """
        return {
            "reply": made(ACTIONS["reply"], timeout=TIMEOUT, write=self._reply, find=self._find_sent),
            "draft": made(ACTIONS["draft"], timeout=TIMEOUT, write=self._draft, find=self._find_draft),
            "forward": made(ACTIONS["forward"], timeout=TIMEOUT, write=self._forward, find=self._find_sent),
        }

    def message_id(self, key: str) -> str:
        """
        Return the Message-ID of what the step with *key* writes.
        """
        return f"{key}@penstock.{self._domain}"

    def ours(self, message_id: str) -> bool:
        """
        Tell whether a Message-ID is one of ours.
        """
        return bool(_OURS.fullmatch(message_id)) and message_id.lower().endswith(f"@penstock.{self._domain}")

    # ---- mails that are sent ----------------------------------------------------------------------

    async def _reply(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        original = (await self._original(record, call.deadline)).says
        to = self._answerable(original)
        text, named = _text(args), self._named(call)
        raw = composing.answer(original, text, sender=self._address, to=to, automatic=True, **named)
        sender = self._address if self._settings["return_path"] == "address" else NOBODY
        return await self._send(raw, [to], call, sender=sender, counted=to)

    async def _forward(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        recipients = self._settings.get("forward_to")
        if not recipients:
            raise Rejected("'forward' needs `forward_to` in the settings of the connection.")
        original = await self._original(record, call.deadline)
        if not original.whole:
            raise Rejected(f"The mail is too large to be sent on: there are {folders.LARGEST} bytes at most.")
        text, named = _text(args), self._named(call)
        compose = functools.partial(composing.forward, sender=self._address, to=recipients, **named)
        raw = await asyncio.to_thread(compose, original.says, original.raw, text)  # of megabytes
        return await self._send(raw, recipients, call, sender=self._address, counted=None)

    def _named(self, call: Call) -> dict[str, Any]:
        return {"message_id": self.message_id(call.key), "key": call.key, "at": datetime.now(UTC)}

    def _answerable(self, original: Mapping[str, Any]) -> str:
        """
        Return who to answer; raises `Rejected` for what no machine may answer (RFC 3834).
        """
        if original["automatic"]:
            raise Rejected(f"Automatic mail is never answered: {original['automatic_why']}.")
        to = correspondent(original, self._settings["reply_to"])
        ourselves = self._address.lower()
        if not to or ourselves in {to.lower(), original["from"]} or self.ours(original["id"]):
            raise Rejected("We do not answer ourselves.")
        return to

    async def _send(
        self, raw: bytes, recipients: Sequence[str], call: Call, *, sender: str, counted: str | None
    ) -> Written:
        message_id, most = self.message_id(call.key), int(self._settings["replies_per_day"])
        copy = await self._sent.keep(raw, message_id, to=counted, most=most, deadline=call.deadline, fence=call.fence)
        try:
            left = max(0.0, call.deadline - self._clock.monotonic())
            await self._post.send(raw, sender=sender, recipients=recipients, within=left, last=call.fence)
        except (Unavailable, Rejected, AuthFailed, Fenced):  # and nothing else: whatever else it is, it may have left
            await self._sent.settle(copy, sent=False)
            raise
        await self._sent.settle(copy, sent=True)
        return Written(remote_id=message_id)

    async def _find_sent(self, _record: str, _mode: WriteMode, call: Call) -> Written | None:
        message_id = self.message_id(call.key)
        found = await self._sent.find(message_id, call.deadline)
        if found == "pending":
            raise UnknownOutcome(f"the mail {message_id} was about to be sent; nobody can tell whether it was")
        return Written(remote_id=message_id, already=True) if found else None

    # ---- drafts -----------------------------------------------------------------------------------

    async def _draft(self, record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        original = (await self._original(record, call.deadline)).says
        to = self._answerable(original)
        text, named = _text(args), self._named(call)
        raw = composing.answer(
            original, text, sender=self._address, to=to, automatic=False, slot=call.slot or "none", **named
        )
        steps: list[Step] = []
        put = functools.partial(self._put, raw=raw, mode=mode, call=call, steps=steps)
        try:
            await self._desk.do(put, call.deadline)
        except (Unavailable, Rejected) as error:
            refused = isinstance(error, Refused | Rejected)
            if "there" in steps or ("begun" in steps and not refused):
                raise UnknownOutcome(str(error)) from None
            raise
        return Written(remote_id=self.message_id(call.key))

    def _put(self, client: IMAPClient, *, raw: bytes, mode: WriteMode, call: Call, steps: list[Step]) -> None:
        folder = self._settings["drafts"]
        folders.select(client, folder, write=True)
        earlier = _untouched(client, call.slot) if mode == "replace-own" and call.slot else []
        call.fence()
        steps.append("begun")
        folders.append(client, folder, raw, flags=(b"\\Draft", b"\\Seen"), at=datetime.now(UTC))
        steps.append("there")
        folders.remove(client, earlier)

    async def _find_draft(self, _record: str, _mode: WriteMode, call: Call) -> Written | None:
        message_id = self.message_id(call.key)

        def find(client: IMAPClient) -> bool:
            folders.select(client, self._settings["drafts"])
            return bool(folders.with_header(client, "Message-ID", f"<{message_id}>"))

        try:
            there = await self._desk.do(find, call.deadline)
        except NotFound:
            return None
        return Written(remote_id=message_id, already=True) if there else None


def _untouched(client: IMAPClient, slot: str) -> list[int]:
    """
    Return our earlier drafts of a slot, without those a person has gone on with.
    """
    found = []
    for uid in folders.with_header(client, SLOT, slot):
        for mail in folders.fetch(client, [uid], folders.GLANCE):
            head, _, body = mail.raw.partition(b"\r\n\r\n")
            if f"{slot} {composing.imprint(body)}".encode() in head:
                found.append(uid)
    return found


def _text(args: Mapping[str, Any]) -> str:
    text = args.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Rejected("There is nothing to write.")
    return text
