"""
A mailbox keeps the connector contract: a real Dovecot and a real SMTP server, behind proxies that fail as networks do.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import itertools
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiosmtpd
import orjson
import pytest
from imapclient import IMAPClient

from connectors.bench import Bench
from connectors.contract import Page
from connectors.mailbox import inbox
from connectors.mailbox.composing import SLOT
from connectors.mailbox.finding import Place
from connectors.mailbox.identity import digest
from connectors.testing import ConnectorContract
from connectors.testing_bench import PRETENDED
from connectors.testing_points import point
from penstock import errors
from tests.between import Between, Trouble
from tests.connectors.mailbox.servers import PASSWORD, Dovecot, Post, dovecot

WRITE = "write"
SELECTING = rb"^(\S+) (EXAMINE|SELECT) "
LEAVING = rb"\r\n\.\r\n$"  # the end of a mail over SMTP
LYING = SLOT.encode() + b": "  # a draft over IMAP
PUTTING = rb'^(\S+) APPEND "?Drafts'
SAYS = {418: b"[CANNOT]", 422: b"[CANNOT]"}
CODES = {422: b"554 5.7.1", 503: b"421 4.3.2"}
"""What mail servers say where others have a status; all else is for now."""
BOSS = "boss@acme.example"
MAIL = """\
From: Nadia Haddad <nadia@customer.example>
To: {user}
Subject: Where is order 4711?
Date: Mon, 05 Jan 2026 09:00:00 +0100
Message-ID: <{number}@customer.example>
{more}MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{text}
"""


class Office:
    """
    One mailbox, as its owner sees it.
    """

    def __init__(self, server: Dovecot, user: str) -> None:
        self.user = user
        self.post = Post(auth=True)
        self.post.handler.user = user
        self.post.start()
        self.wires = Between(server.port), Between(self.post.port)
        """To the server that keeps mails, and to the one that sends them."""
        self.client = IMAPClient("127.0.0.1", server.port, ssl=False)
        self.client.login(user, PASSWORD)
        self.last = 0
        """The number of the last mail that came."""
        self._numbers = itertools.count(1)

    def comes(self, text: str, *, answers: str = "") -> str:
        """
        Let a mail come, perhaps in a conversation; return its record.
        """
        message_id = f"{next(self._numbers)}@customer.example"
        more = f"In-Reply-To: <{answers}>\nReferences: <{answers}>\n" if answers else ""
        plain = MAIL.format(user=self.user, number=message_id.partition("@")[0], more=more, text="\0")
        raw = plain.replace("\n", "\r\n").replace("\0", text).encode()
        said = self.client.append("INBOX", raw)
        validity, self.last = map(int, re.search(rb"APPENDUID (\d+) (\d+)", said).groups())  # type: ignore[union-attr]
        return str(Place.of(validity, self.last, digest(raw), message_id))

    def folder(self, name: str) -> list[Any]:
        self.client.select_folder(name, readonly=True)
        uids = self.client.search()
        found = self.client.fetch(uids, ["BODY.PEEK[]"]) if uids else {}
        return [
            email.message_from_bytes(data[b"BODY[]"], policy=email.policy.default) for _, data in sorted(found.items())
        ]

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        self.client.logout()
        self.post.stop()


class OfficeBench(Bench):
    """
    A mailbox's requests are connections, its writes mails that leave and drafts.
    """

    def requests(self) -> list[Any]:
        return ["connection"] * sum(wire.connections for wire in self.double.wires)

    def writes(self) -> list[Any]:
        imap, smtp = self.double.wires
        return [one for one in imap.said if re.search(PUTTING, one)] + [one for one in smtp.said if one == b"DATA\r\n"]

    def refused(self) -> list[Any]:
        return [one for one in self.double.wires[0].said if b"not-known-yet" in one]

    def over(self, page: Page) -> bool:
        return bool(page.cursor) and orjson.loads(page.cursor or b"")["uid"] == self.double.last

    async def fault(self, **fault: Any) -> None:
        imap, smtp = self.double.wires
        match, kind, status = fault.pop("match", ""), fault.pop("kind"), fault.pop("status", 0)
        body, _ = str(fault.pop("body", "")).encode().replace(b"\\", b"\\\\"), fault.pop("retry_after", None)
        if kind == "status":
            no = rb"\1 NO " + SAYS.get(status, b"[UNAVAILABLE]") + b" " + body + b"\r\n"
            sorry = CODES.get(status, b"451 4.7.1") + b" " + body + b"\r\n"
            said = PUTTING if match == WRITE else SELECTING
            imap.fails(Trouble(kind="say", match=re.compile(said), answer=no, **fault))
            smtp.fails(Trouble(kind="say", match=re.compile(LEAVING), answer=sorry, **fault))
            return
        imap.fails(Trouble(kind=kind, match=re.compile(LYING if match == WRITE else SELECTING), **fault))
        if match == WRITE:
            smtp.fails(Trouble(kind=kind, match=re.compile(LEAVING), **fault))


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with dovecot(more="auth_failure_delay = 0 secs") as server:
        TestMailbox.server = server
        yield


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "SLICE", 0.2)


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
class TestMailbox(ConnectorContract):
    name = "mailbox"
    environment: ClassVar = {"PASSWORD": PASSWORD}
    ours = ()
    credential = "PASSWORD"
    lacks: ClassVar = {
        "deliveries": "a mailbox delivers nothing: mails are read",
        "old_secret": "it has no deliveries",
        "handshakes": "it has no deliveries",
        "both_ways": "it has no deliveries",
        "echoes": "what we write goes to others, or lies in folders that are not read",
        "late_commits": "a mail gets its number when it comes",
        "expiry": "a folder that was made anew is tested beside this: its mails are other records, and the same events",
        "subscriptions": "it has none: IDLE lasts as long as the connection",
        "retry_after": "mail servers name no time",
    }
    action = "draft"
    untold: ClassVar = {
        "reply": "SMTP has no way to ask whether a mail left",
        "forward": "SMTP has no way to ask whether a mail left",
    }
    patience = 1.0
    lookup = "mail"
    listing = "thread"
    unknown = ("999999999", "..", "../../x", "a/b", "", "1.1", "1.999999.0123456789abcdef/nobody@x.example")
    ties = 60  # three pages; a mail's place is its number, which no other has
    benches = OfficeBench
    write_match = WRITE
    read_faults = (
        ({"kind": "status", "status": 418}, errors.Rejected),
        ({"kind": "status", "status": 503}, errors.Unavailable),
        ({"kind": "drop-before"}, errors.Unavailable),
        ({"kind": "drop-during"}, errors.Unavailable),
        ({"kind": "drop-after"}, errors.Unavailable),
        ({"kind": "garbage"}, errors.Unavailable),
        ({"kind": "hang", "seconds": 2}, errors.Unavailable),
    )
    write_faults = (
        ({"kind": "status", "status": 422}, errors.Rejected),
        ({"kind": "status", "status": 429}, errors.Unavailable),
        ({"kind": "status", "status": 503}, errors.Unavailable),
        ({"kind": "drop-before"}, errors.UnknownOutcome),
        ({"kind": "drop-during"}, errors.UnknownOutcome),
        ({"kind": "drop-after"}, errors.UnknownOutcome),
        ({"kind": "garbage"}, errors.UnknownOutcome),
        ({"kind": "hang", "seconds": 2}, errors.UnknownOutcome),
    )

    server: ClassVar[Dovecot]
    numbers: ClassVar = itertools.count(1)
    user = "support0@acme.example"

    def settings(self, url: str) -> dict[str, Any]:
        place = urlsplit(url)
        return {
            "address": self.user,
            "imap": place.netloc,
            "smtp": place.path.strip("/") or place.netloc,
            "security": "tls" if url == PRETENDED else "none",
            "password": "${env:PASSWORD}",
            "forward_to": [BOSS],
            "replies_per_day": "100",
            "scan": "3",
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[Office, str]]:
        self.user = f"support{next(self.numbers)}@acme.example"
        office = Office(self.server, self.user)
        try:
            yield office, f"imap://127.0.0.1:{office.wires[0].port}/127.0.0.1:{office.wires[1].port}"
        finally:
            office.close()

    def foreign(self) -> Mapping[str, str]:
        said = subprocess.run(["dovecot", "--version"], capture_output=True, check=True, text=True)
        return {"Dovecot": said.stdout.split()[0], "aiosmtpd": aiosmtpd.__version__}

    def record(self, double: Office, text: str) -> str:
        record = double.comes(text)
        root = record.partition("/")[2]
        for _ in range(2):
            double.comes("And?", answers=root)
        return record

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["text"])

    def seen(self, text: str) -> str:
        """Lines end as ours do, and what turns the direction of writing is left out: it hides what is said."""
        return re.sub("[\u202a-\u202e]", "", text.replace("\r\n", "\n"))

    def written(self, double: Office, record: str) -> list[str]:
        answers = f"<{record.partition('/')[2]}>"
        return [draft.get_content() for draft in double.folder("Drafts") if draft["In-Reply-To"] == answers]

    def effects(self, double: Office, action: str, record: str) -> int:
        sent = [envelope.rcpt_tos for envelope in double.post.handler.got]
        match action:
            case "reply":
                return sent.count(["nadia@customer.example"])
            case "forward":
                return sent.count([BOSS])
            case _:
                return len(self.written(double, record))

    def change_again(self, double: Office, record: str) -> None:
        double.comes("again", answers=record.partition("/")[2])

    def changed(self, double: Office, source: str, count: int) -> list[str]:
        return [double.comes("text") for _ in range(count)]

    async def break_reading(self, bench: Bench) -> None:
        imap, _ = bench.double.wires
        imap.fails(Trouble(kind="drop-before", match=re.compile(rb"UID FETCH"), skip=3))

    async def refuse(self, bench: Bench) -> None:
        imap, smtp = bench.double.wires
        no = rb"\1 NO [AUTHENTICATIONFAILED] no" + b"\r\n"
        imap.fails(
            Trouble(
                kind="say", match=re.compile(rb"^(\S+) (?:LOGIN|AUTHENTICATE) ", re.IGNORECASE), answer=no, times=100
            )
        )
        smtp.fails(Trouble(kind="say", match=re.compile(rb"^AUTH "), answer=b"535 5.7.8 no\r\n", times=100))
        for wire in (imap, smtp):
            wire.cut()

    @point(11)
    async def test_a_marker_by_somebody_else_is_not_ours(self, bench: Bench) -> None:
        """A mail that comes with the Message-ID of what we wrote is not taken for it."""
        record = self.record(bench.double, "text")
        for name in bench.connector.actions:
            action = bench.connector.actions[name]
            assert action.find is not None
            wrote = await action.write(record, self.arguments(name), action.modes[0], bench.call())
            assert await action.find(record, action.modes[0], bench.call())
            bench.double.client.select_folder("Drafts" if name == "draft" else "Sent")
            bench.double.client.delete_messages(bench.double.client.search())
            bench.double.client.expunge()
            bench.double.client.append("INBOX", f"Message-ID: <{wrote.remote_id}>\r\n\r\nhello\r\n".encode())
            assert await action.find(record, action.modes[0], bench.call()) is None
