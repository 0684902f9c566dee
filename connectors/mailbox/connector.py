"""
One connection to a mailbox.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from imapclient import IMAPClient

from connectors.contract import (
    Action,
    Call,
    Delivery,
    Health,
    JsonSchema,
    Lookup,
    Page,
    Received,
    Record,
    Sample,
    Source,
)
from connectors.mailbox import imap
from connectors.mailbox.declaration import EVENTS, LOOKUPS, MAIL, SOURCE
from connectors.mailbox.imap import Fetched, Imap, Server
from connectors.mailbox.reader import Reader
from connectors.mailbox.signing_in import SigningIn
from connectors.mailbox.writing import Writing
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, Invalid, NotFound, Rejected, Unavailable
from penstock.http import Http
from schemas.events import Event

IMAP_PORTS = {"tls": 993, "starttls": 143, "none": 143}
SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}
LOCAL = ("127.0.0.1", "localhost", "::1")
PAGE = 20  # mails
IDLE = 60.0  # seconds of one wait: much less than the 29 minutes after which servers hang up
SLICE = 2.0  # seconds between looks whether we are to stop
SCAN = 30.0  # seconds between looks where the server cannot tell
RESCAN = 30  # days that are looked through when a folder was made anew
LONG = 500  # characters of a Message-ID that is part of a record
NEWEST = 50  # mails of a lookup


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    How far the folder was read.
    """

    validity: int
    uid: int

    def kept(self) -> bytes:
        """
        Return it as a cursor.
        """
        return orjson.dumps({"validity": self.validity, "uid": self.uid})


class MailboxConnector:
    """
    IMAP in, SMTP and IMAP out; mails are read in a process of its own.
    """

    name = "mailbox"
    accepts: frozenset[str] = frozenset()
    events: Mapping[str, JsonSchema] = EVENTS
    samples: Sequence[Sample] = ()

    def __init__(self, settled: Settled, http: Http, clock: Clock) -> None:
        self.acts_as: str | None = None
        self._settings = settled.values
        self._clock = clock
        security = self._settings["security"]
        server = Server.read(self._settings["imap"], security, IMAP_PORTS)
        post = Server.read(self._settings["smtp"], security, SMTP_PORTS)
        if security == "none" and (server.host not in LOCAL or post.host not in LOCAL):
            raise Invalid("`security: none` is for servers on this machine only", hint="use `tls` or `starttls`")
        signing_in = SigningIn(settled, http, clock)
        self._work = Imap(server, self._settings["user"], signing_in, clock)
        self._watch = Imap(server, self._settings["user"], signing_in, clock)
        self._reader = Reader()
        self._place = f"imap://{server.host}/{self._settings['address']}/{self._settings['folder']}"
        self._writing = Writing(
            self._settings, work=self._work, post=post, signing_in=signing_in, clock=clock, original=self._original
        )
        self.actions: Mapping[str, Action] = self._writing.all()
        self.lookups: Mapping[str, Lookup] = {name: self._lookup(name) for name in LOOKUPS}
        source = Source(name=SOURCE.name, description=SOURCE.description, every=SOURCE.every, read=self._read)
        self.sources: Mapping[str, Source] = {SOURCE.name: source}

    def __repr__(self) -> str:
        return f"<mailbox {self._place}>"

    def receive(self, delivery: Delivery) -> Received:
        """
        Refuse: a mailbox delivers nothing.
        """
        del delivery
        raise Rejected(f"{self.name!r} takes no deliveries.")

    def own(self, event: Event) -> str | None:
        """
        Return why a mail is our own; None when it is not.
        """
        if event.actor == self._settings["address"].lower():
            return f"actor={event.actor}"
        return "its Message-ID is one of ours" if self._writing.ours(str(event.data.get("id") or "")) else None

    async def health(self, call: Call) -> Health:
        """
        Open the folder.
        """
        started = self._clock.monotonic()
        try:
            await self._work.do(lambda client: imap.select(client, self._settings["folder"]), call.deadline)
        except AuthFailed as error:
            return Health(state="auth", detail=str(error))
        except Unavailable as error:
            return Health(state="down", detail=str(error))
        except EdgeError as error:
            return Health(state="degraded", detail=str(error))
        self.acts_as = self._settings["address"].lower()
        return Health(
            state="ok",
            detail=f"reads {self._settings['folder']} of {self._settings['address']}",
            acts_as=self.acts_as,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
        )

    async def close(self) -> None:
        """
        Give connections, threads and the process back.
        """
        await self._work.close()
        await self._watch.close()
        await self._reader.close()

    # ---- in ---------------------------------------------------------------------------------------

    async def _read(self, cursor: bytes | None, _call: Call) -> AsyncIterator[Page]:
        if cursor is None:
            seen = await self._watch.do(self._end, self._until(imap.READ))
            yield Page(cursor=seen.kept())
        else:
            seen = Seen(**orjson.loads(cursor))
        while True:
            before = seen
            looking = functools.partial(self._look, seen=before)
            seen, mails, waits = await self._watch.do(looking, self._until(IDLE + imap.READ))
            if mails:
                events = tuple([await self._event(mail, seen.validity) for mail in mails])
                yield Page(events=events, cursor=seen.kept())
            elif seen != before:
                yield Page(cursor=seen.kept())
            elif not waits:
                await asyncio.sleep(SCAN)

    def _until(self, seconds: float) -> float:
        return self._clock.monotonic() + seconds

    def _end(self, client: IMAPClient) -> Seen:
        validity, following = imap.select(client, self._settings["folder"])
        return Seen(validity=validity, uid=following - 1)

    def _look(self, client: IMAPClient, seen: Seen) -> tuple[Seen, list[Fetched], bool]:
        """
        Return how far we are, the next mails, and whether the server tells of new ones; waits for some.
        """
        validity, following = imap.select(client, self._settings["folder"])
        if validity != seen.validity:  # the folder was made anew: what is in it may be known, under the same ids
            recent = imap.since(client, (datetime.now(UTC) - timedelta(days=RESCAN)).date())
            return Seen(validity=validity, uid=(recent[0] if recent else following) - 1), [], True
        uids = imap.above(client, seen.uid)
        waits = client.has_capability("IDLE")
        if not uids and waits:
            self._idle(client)
            uids = imap.above(client, seen.uid)
        mails = imap.fetch(client, uids[:PAGE])
        if uids:
            seen = Seen(validity=validity, uid=uids[:PAGE][-1])
        return seen, mails, waits

    def _idle(self, client: IMAPClient) -> None:
        client.idle()
        try:
            until = self._clock.monotonic() + IDLE
            while self._clock.monotonic() < until:
                told = client.idle_check(timeout=SLICE)
                if any(len(one) > 1 and one[1] in (b"EXISTS", b"RECENT") for one in told if isinstance(one, tuple)):
                    return
        finally:
            client.idle_done()

    async def _event(self, mail: Fetched, validity: int) -> Event:
        found = await self._reader.read(mail.raw, whole=mail.whole)
        came = mail.came.astimezone(UTC) if mail.came else datetime.now(UTC)
        data = {name: found[name] for name in MAIL}
        return Event(
            id=f"mail/{found['digest']}",
            source=self._place,
            type="mail.received",
            subject=f"{validity}.{mail.uid}/{found['id'][:LONG]}",
            time=came,
            actor=found["from"] or None,
            partitionkey=found["thread"][:LONG] or f"{validity}.{mail.uid}",
            data=data,
        )

    # ---- lookups ----------------------------------------------------------------------------------

    def _lookup(self, name: str) -> Lookup:
        spec = LOOKUPS[name]
        fetches = {"mail": self._mail, "thread": self._thread, "from_sender": self._from_sender}
        return Lookup(
            name=name,
            description=spec.description,
            fields=spec.fields,
            many=spec.many,
            ttl=0.0,
            timeout=20.0,
            fetch=fetches[name],
        )

    async def _original(self, record: str, deadline: float) -> tuple[dict[str, Any], bytes]:
        place, message_id = _place(record)

        def get(client: IMAPClient) -> Fetched:
            _, uid = imap.where(client, self._settings["folder"], place, message_id)
            found = imap.fetch(client, [uid])
            if not found:
                raise NotFound(f"the mail {record!r} is gone")
            return found[0]

        mail = await self._work.do(get, deadline)
        return await self._reader.read(mail.raw, whole=mail.whole), mail.raw

    async def _mail(self, by: str, call: Call, _most: int) -> list[Record]:
        found, _ = await self._original(by, call.deadline)
        return [{name: found[name] for name in MAIL}]

    async def _thread(self, by: str, call: Call, most: int) -> list[Record]:
        found, _ = await self._original(by, call.deadline)
        root = str(found["thread"])
        if not root:
            return [{name: found[name] for name in MAIL}]
        return await self._newest(["OR", "HEADER", "References", root, "HEADER", "Message-ID", root], most, call)

    async def _from_sender(self, by: str, call: Call, most: int) -> list[Record]:
        if "@" not in by or any(one in by for one in '"\r\n\\'):
            raise NotFound(f"{by!r} is no address")
        return await self._newest(["FROM", by], most, call)

    async def _newest(self, wanted: list[str], most: int, call: Call) -> list[Record]:
        def get(client: IMAPClient) -> list[Fetched]:
            imap.select(client, self._settings["folder"])
            return imap.fetch(client, sorted(client.search(wanted))[-min(max(1, most), NEWEST) :])

        mails = await self._work.do(get, call.deadline)
        found = [await self._reader.read(mail.raw, whole=mail.whole) for mail in reversed(mails)]
        return [{name: one[name] for name in MAIL} for one in found]


def _place(record: str) -> tuple[tuple[int, int], str]:
    numbers, _, message_id = record.partition("/")
    validity, _, uid = numbers.partition(".")
    if not (validity.isdecimal() and uid.isdecimal()) or any(one in message_id for one in '"\r\n<>\\'):
        raise NotFound(f"{record!r} is no mail: it has to look like 1700000000.4711/id@example.com")
    return (int(validity), int(uid)), message_id


def open(settled: Settled, *, http: Http, clock: Clock) -> MailboxConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection to a mailbox; raises `Invalid`.
    """
    return MailboxConnector(settled, http, clock)
