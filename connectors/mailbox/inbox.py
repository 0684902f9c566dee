"""
The source: new mails of one folder, in the order of their UIDs.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from imapclient import IMAPClient

from connectors.contract import Call, Page
from connectors.mailbox import folders
from connectors.mailbox.declaration import MAIL
from connectors.mailbox.finding import LONG, UNREAD, Place
from connectors.mailbox.folders import Fetched
from connectors.mailbox.imap import READ, Imap
from connectors.mailbox.reader import Reader
from penstock.clock import Clock
from schemas.events import Event

log = logging.getLogger(__name__)

PAGE = 20  # mails
WEIGHT = 16 * 1024 * 1024  # bytes of a page with more than one mail
SLICE = 1.0  # seconds between looks whether we are to stop
MOST_IDLE = 1_500.0  # seconds: servers hang up after 30 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    How far a folder was read.
    """

    place: str
    validity: int
    uid: int

    def kept(self) -> bytes:
        """
        Return it as a cursor.
        """
        return orjson.dumps({"place": self.place, "validity": self.validity, "uid": self.uid})

    @classmethod
    def read(cls, cursor: bytes) -> Seen:
        """
        Return what *cursor* says.
        """
        found = orjson.loads(cursor)
        return cls(place=found["place"], validity=int(found["validity"]), uid=int(found["uid"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """
    What one look found.
    """

    seen: Seen
    mails: tuple[Fetched, ...] = ()
    told: bool = True
    """Whether the server tells of new mails."""


class Inbox:
    """
    Reads the folder with a connection of its own.
    """

    def __init__(self, settings: Mapping[str, Any], imap: Imap, reader: Reader, clock: Clock) -> None:
        self._settings = settings
        self._imap = imap
        self._reader = reader
        self._clock = clock
        self.place = f"imap://{settings['address'].lower()}/{settings['folder']}"
        """The URI of the account: it stays when the mailbox moves to another server."""

    async def read(self, cursor: bytes | None, _call: Call) -> AsyncIterator[Page]:
        """
        Yield mails from *cursor* on, as long as the connection lasts.
        """
        seen = Seen.read(cursor) if cursor is not None else None
        if seen is not None and seen.place != self.place:
            log.warning("mailbox: %s is read from now on; it was %s before", self.place, seen.place)
            seen = None
        if seen is None:
            seen = await self._do(self._end, READ)
            yield Page(cursor=seen.kept())
        scan = float(self._settings["scan"])
        while True:
            look = await self._do(functools.partial(self._look, seen=seen, scan=min(scan, MOST_IDLE)), scan + 2 * READ)
            if look.mails:
                events = tuple([await self._event(mail, look.seen.validity) for mail in look.mails])
                yield Page(events=events, cursor=look.seen.kept())
            elif look.seen != seen:
                yield Page(cursor=look.seen.kept())
            elif not look.told:
                await asyncio.sleep(scan)
            seen = look.seen

    async def _do(self, work: Callable[[IMAPClient], Any], seconds: float) -> Any:
        return await self._imap.do(work, self._clock.monotonic() + seconds)

    def _end(self, client: IMAPClient) -> Seen:
        validity, following = folders.select(client, self._settings["folder"])
        return Seen(place=self.place, validity=validity, uid=following - 1)

    def _look(self, client: IMAPClient, *, seen: Seen, scan: float) -> Look:
        """
        Return the next mails; wait for some as long as *scan*, where the server tells of them.
        """
        validity, following = folders.select(client, self._settings["folder"])
        if validity != seen.validity:  # the folder was made anew: what is in it may be known, under the same ids
            day = (datetime.now(UTC) - timedelta(days=int(self._settings["rescan_days"]))).date()
            recent = folders.since(client, day)
            log.warning("mailbox: %s was made anew; %d mails since %s are read again", self.place, len(recent), day)
            return Look(seen=Seen(place=self.place, validity=validity, uid=(recent[0] if recent else following) - 1))
        told = client.has_capability("IDLE")
        uids = folders.above(client, seen.uid)
        if not uids and told:
            self._wait(client, scan)
            uids = folders.above(client, seen.uid)
        uids = _page(client, uids[:PAGE])
        if not uids:
            return Look(seen=seen, told=told)
        mails = folders.fetch_each(client, uids)
        return Look(seen=Seen(place=self.place, validity=validity, uid=uids[-1]), mails=tuple(mails), told=told)

    def _wait(self, client: IMAPClient, seconds: float) -> None:
        client.idle()
        try:
            until = self._clock.monotonic() + seconds
            while self._clock.monotonic() < until:
                told = client.idle_check(timeout=min(SLICE, seconds))
                if any(len(one) > 1 and one[1] in (b"EXISTS", b"RECENT") for one in told if isinstance(one, tuple)):
                    return
        finally:
            client.idle_done()

    async def _event(self, mail: Fetched, validity: int) -> Event:
        found = await self._reader.read(mail.raw, whole=mail.whole)
        if not mail.raw:
            found |= {"digest": f"{UNREAD}{validity:x}{UNREAD}{mail.uid:x}", "problem": "its server does not give it"}
        place = Place.of(validity, mail.uid, found["digest"], found["id"])
        return Event(
            id=f"mail/{found['digest']}",
            source=self.place,
            type="mail.received",
            subject=str(place),
            time=mail.came or datetime.now(UTC),
            actor=found["from"] or None,
            partitionkey=found["thread"][:LONG] or str(place),
            data={name: found[name] for name in MAIL},
        )


def _page(client: IMAPClient, uids: list[int]) -> list[int]:
    """
    Return the first of *uids*: as many as weigh no more than a page may, and one at least.
    """
    weights = folders.sizes(client, uids)
    page: list[int] = []
    weight = 0
    for uid in uids:
        weight += min(weights.get(uid, 0), folders.LARGEST)
        if page and weight > WEIGHT:
            break
        page.append(uid)
    return page
