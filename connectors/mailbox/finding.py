"""
Mails by what people ask for: the mail of a record, its conversation, what somebody wrote before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imapclient import IMAPClient

from connectors.contract import Call, Lookup, Record
from connectors.mailbox import folders
from connectors.mailbox.declaration import LOOKUPS, MAIL
from connectors.mailbox.folders import Fetched
from connectors.mailbox.identity import digest
from connectors.mailbox.imap import Desk
from connectors.mailbox.reader import Reader
from connectors.mailbox.sent import KNOWN
from penstock.errors import NotFound

TIMEOUT = 20.0  # seconds
NEWEST = 50  # mails of a lookup
LONG = 500  # characters of a Message-ID that is part of a record
MARK = 16  # characters of the digest that is part of a record
UNREAD = "x"
"""What the digest of a mail begins with that its server did not give: it is known by its place alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """
    A mail with what it says.
    """

    says: Mapping[str, Any]
    raw: bytes
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    A record, taken apart: `UIDVALIDITY.UID.digest/Message-ID`.
    """

    validity: int
    uid: int
    digest: str
    message_id: str

    @classmethod
    def of(cls, validity: int, uid: int, mark: str, message_id: str) -> Place:
        """
        Return the place of a mail.
        """
        return cls(validity=validity, uid=uid, digest=mark[:MARK], message_id=message_id[:LONG])

    @classmethod
    def read(cls, record: str) -> Place:
        """
        Return what *record* says. Raises `NotFound`.
        """
        numbers, _, message_id = record.partition("/")
        parts = numbers.split(".")
        right = len(parts) == 3 and all(one.isascii() and one.isalnum() and len(one) <= 20 for one in parts)
        known = message_id.isascii() and message_id.isprintable() and not set(message_id) & set(' "<>\\')
        if not (right and parts[0].isdecimal() and parts[1].isdecimal() and known):
            raise NotFound(f"{record!r} is no mail: it has to be the `subject` of an event of it")
        return cls(validity=int(parts[0]), uid=int(parts[1]), digest=parts[2], message_id=message_id)

    def __str__(self) -> str:
        return f"{self.validity}.{self.uid}.{self.digest}/{self.message_id}"


def correspondent(says: Mapping[str, Any], followed: str) -> str:
    """
    Return who an answer to a mail goes to. Anybody can write any `From`, so a `Reply-To` that leads elsewhere could take
    away what was said to somebody else: *followed* (`reply_to` in the settings) says which one counts.
    """
    sender, asked = str(says["from"]), str(says["reply_to"])
    near = bool(sender) and asked.rpartition("@")[2] == sender.rpartition("@")[2]
    return asked if followed == "anybody" or (followed == "domain" and near) else sender


class Finding:
    """
    The lookups of one mailbox.
    """

    def __init__(self, settings: Mapping[str, Any], *, desk: Desk, reader: Reader) -> None:
        self._settings = settings
        self._desk = desk
        self._reader = reader

    def all(self) -> Mapping[str, Lookup]:
        """
        Return every lookup by its name.
        """
        fetches = {"mail": self._mail, "thread": self._thread, "from_sender": self._from_sender}
        return {
            name: Lookup(
                name=name,
                description=spec.description,
                fields=spec.fields,
                many=spec.many,
                ttl=0.0,
                timeout=TIMEOUT,
                fetch=fetches[name],
            )
            for name, spec in LOOKUPS.items()
        }

    async def original(self, record: str, deadline: float, *, attached: bool = False) -> Original:
        """
        Return the mail of a record, wherever people have put it; *attached*: its attachments are read too.

        Raises `NotFound`.
        """
        place = Place.read(record)

        def get(client: IMAPClient) -> Fetched:
            return folders.where(
                client,
                self._settings["folder"],
                (place.validity, place.uid),
                place.message_id,
                lambda raw: place.digest.startswith(UNREAD) or digest(raw)[:MARK] == place.digest,
            )

        mail = await self._desk.do(get, deadline)
        says = await self._reader.read(mail.raw, whole=mail.whole, attached=attached)
        return Original(says=says, raw=mail.raw, whole=mail.whole)

    async def _mail(self, by: str, call: Call, _most: int) -> list[Record]:
        return [_record((await self.original(by, call.deadline, attached=True)).says)]

    async def _thread(self, by: str, call: Call, most: int) -> list[Record]:
        """
        Return what else was written in the conversation, by us too: what whoever wrote the mail and gets the answer saw.

        Anybody may name any thread.
        """
        one = (await self.original(by, call.deadline)).says
        root, parties = str(one["thread"]), {str(one["from"]), correspondent(one, self._settings["reply_to"])}
        if not root:
            return []
        value = folders.quoted(root)
        wanted = f"OR OR HEADER References {value} HEADER In-Reply-To {value} HEADER Message-ID {value}"
        places = [self._settings["folder"], self._settings["sent"]]
        found = await self._newest(places, wanted, min(NEWEST, 2 * most + 1), call)
        others = [mail for mail in found if not _same(mail, one)]
        return [_record(mail) for mail in others if parties <= {mail["from"], *mail["to"], *mail["cc"]}][: max(1, most)]

    async def _from_sender(self, by: str, call: Call, most: int) -> list[Record]:
        address = by.strip().lower()
        if "@" not in address or not address.isascii() or not address.isprintable() or set(address) & set(' "\\'):
            raise NotFound(f"{by!r} is no address")
        found = await self._newest(
            [self._settings["folder"]], f"FROM {folders.quoted(address)}", min(NEWEST, 2 * most), call
        )
        return [_record(mail) for mail in found if mail["from"] == address][: max(1, most)]

    async def _newest(self, places: Sequence[str], wanted: str, most: int, call: Call) -> list[dict[str, Any]]:
        def get(client: IMAPClient) -> list[Fetched]:
            mails: list[Fetched] = []
            for place in places:
                try:
                    folders.select(client, place)
                except NotFound:
                    continue
                uids = sorted(client.search(f"UNDELETED {KNOWN} {wanted}"))[-max(1, most) :]
                mails += folders.fetch(client, uids, folders.GLANCE)
            mails.sort(key=_age, reverse=True)
            return mails[: max(1, most)]

        mails = await self._desk.do(get, call.deadline)
        return [await self._reader.read(mail.raw, whole=mail.whole, attached=False) for mail in mails]


def _record(found: Mapping[str, Any]) -> Record:
    return {name: found[name] for name in MAIL}


def _same(mail: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    """
    Tell whether both are one mail, of which perhaps only the beginning was fetched.
    """
    named = bool(one["id"]) and (mail["id"], mail["from"]) == (one["id"], one["from"])
    return named or mail["digest"] == one["digest"]


def _age(mail: Fetched) -> tuple[float, int]:
    """
    Return what mails are put in order by: servers keep whole seconds, and give UIDs in order.
    """
    return mail.came.timestamp() if mail.came is not None else 0.0, mail.uid
