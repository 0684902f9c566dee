"""
The folder with what was sent: our memory of what left, and of what may have left.

A mail is put there before it is handed over, marked as not sent yet; once the server has taken it the mark goes. So a
worker that died leaves a trace whenever a mail may have left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import Literal

from imapclient import IMAPClient
from imapclient.datetime_util import format_criteria_date

from connectors.mailbox import folders
from connectors.mailbox.composing import RUN
from connectors.mailbox.imap import Desk
from penstock.clock import Clock
from penstock.errors import EdgeError, Rejected, UnknownOutcome

PENDING = b"\\Draft"
"""The flag of a copy whose mail is not known to have left."""
KNOWN = "UNDRAFT"
"""What to search for, so as to leave those out."""
DAY = timedelta(days=1)
LOOKED_AT = 500  # mails to one correspondent
SETTLING = 10.0  # seconds to say what became of a mail
TRIES = 2
_HEADERS = "BODY.PEEK[HEADER.FIELDS (TO MESSAGE-ID AUTO-SUBMITTED)]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """
    What lies in the folder of a mail that is about to be sent.
    """

    message_id: str
    uid: int


class Sent:
    """
    That folder.
    """

    def __init__(self, desk: Desk, folder: str, clock: Clock) -> None:
        self._desk = desk
        self._folder = folder
        self._clock = clock

    async def keep(
        self, raw: bytes, message_id: str, *, to: str | None, most: int, deadline: float, fence: Callable[[], None]
    ) -> Copy:
        """
        Put a mail there, not sent yet; with *to*, as one of at most *most* replies to it within a day.

        Raises `Rejected` when there are as many: those that lie before it count, so that of several at once the right
        number goes out. Nothing has left when this raises, whatever it raises.
        """
        now = datetime.now(UTC)

        def keep(client: IMAPClient) -> Copy:
            folders.select(client, self._folder, write=True)
            fence()
            uid = folders.append(client, self._folder, raw, flags=(PENDING, b"\\Seen"), at=now)
            if uid is None:  # a server without UIDPLUS
                uid = folders.with_header(client, "Message-ID", f"<{message_id}>")[-1]
            refusal = self._refusal(client, uid, message_id, to, most, now)
            if refusal is not None:
                folders.remove(client, [uid])
                raise Rejected(refusal)
            return Copy(message_id=message_id, uid=uid)

        return await self._desk.do(keep, deadline)

    def _refusal(
        self, client: IMAPClient, uid: int, message_id: str, to: str | None, most: int, now: datetime
    ) -> str | None:
        if PENDING not in _flags(client, [uid]).get(uid, ()):
            return f"{self._folder!r} keeps no flags, so that nobody could tell after a crash what was sent."
        if to is not None and _replies(client, to, before=uid, but=message_id, now=now) >= most:
            return f"{to} got {most} automatic replies within a day already (`replies_per_day`)."
        return None

    async def settle(self, copy: Copy, *, sent: bool) -> None:
        """
        Let the copy say that its mail was sent, or take it away. Raises `UnknownOutcome` when it cannot say so.
        """

        def settle(client: IMAPClient) -> None:
            folders.select(client, self._folder, write=True)
            if not sent:
                folders.remove(client, [copy.uid])
                return
            found = _flags(client, folders.with_header(client, "Message-ID", f"<{copy.message_id}>"))
            pending = [uid for uid, flags in found.items() if PENDING in flags]
            theirs = len(found) > len(pending)  # some servers keep what they send by themselves: one copy is enough
            rest = pending if theirs else [uid for uid in pending if uid != copy.uid]
            if not theirs:
                client.remove_flags([copy.uid], (PENDING,))
            folders.remove(client, rest)

        for _ in range(TRIES):  # saying it twice says the same
            try:
                return await self._desk.do(settle, self._clock.monotonic() + SETTLING)
            except EdgeError:
                continue
        if sent:
            raise UnknownOutcome(f"the mail {copy.message_id} was sent, and its copy could not say so")
        return None

    async def find(self, message_id: str, deadline: float) -> Literal["sent", "pending"] | None:
        """
        Return what is known of a mail.
        """

        def find(client: IMAPClient) -> Literal["sent", "pending"] | None:
            folders.select(client, self._folder)
            found = _flags(client, folders.with_header(client, "Message-ID", f"<{message_id}>"))
            if any(PENDING not in flags for flags in found.values()):
                return "sent"
            return "pending" if found else None

        return await self._desk.do(find, deadline)


def _flags(client: IMAPClient, uids: list[int]) -> dict[int, tuple[bytes, ...]]:
    return dict(client.get_flags(uids)) if uids else {}


def _replies(client: IMAPClient, to: str, *, before: int, but: str, now: datetime) -> int:
    """
    Return how many automatic replies to *to* lie before a UID and are not older than a day.

    Servers search by days of their own time, and for parts of addresses: both are looked at closely here.
    """
    since = format_criteria_date((now - 2 * DAY).date()).decode()
    wanted = f'UNDELETED SINCE {since} TO {folders.quoted(to)} HEADER {RUN} ""'
    found = [uid for uid in client.search(wanted) if uid < before]
    count = 0
    for data in client.fetch(found[-LOOKED_AT:], [_HEADERS, "INTERNALDATE"]).values() if found else ():
        message = BytesHeaderParser().parsebytes(next((raw for name, raw in data.items() if b"HEADER" in name), b""))
        addresses: list[str] = []
        with contextlib.suppress(Exception):
            addresses = [address.lower() for _, address in getaddresses([str(message.get("to") or "")])]
        came = data.get(b"INTERNALDATE")
        recent = came is None or came.astimezone(UTC) > now - DAY
        replied = str(message.get("auto-submitted") or "").strip().lower() == "auto-replied"
        count += recent and replied and to.lower() in addresses and but not in str(message.get("message-id"))
    return count
