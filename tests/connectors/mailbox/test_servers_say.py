"""
What servers say that have a bad moment, and what of a mail becomes part of a command.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from imapclient.exceptions import IMAPClientError

from connectors.mailbox import composing, folders, letters
from penstock import errors
from tests.connectors.mailbox.office import Office, mail

LATER, NEVER = "[UNAVAILABLE] Temporary failure", "Message cannot be opened"


class Fetching:
    """
    What a server says when mails are fetched.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said: str, *texts: bytes) -> None:
        self.said, self.times, self._texts, self._fetch = said, 1_000, texts, folders.fetch
        monkeypatch.setattr(folders, "fetch", self)

    def __call__(self, client: Any, uids: Any, *rest: Any) -> Any:
        found = self._fetch(client, uids, *rest)
        if self.times and any(text in mail.raw for mail in found for text in self._texts):
            self.times -= 1
            raise IMAPClientError(f"FETCH command error: NO {self.said}")
        return found


@pytest.mark.parametrize(("said", "error"), [(LATER, errors.Unavailable), (NEVER, errors.Rejected)])
async def test_a_bad_moment_makes_no_empty_mails(
    office: Office, monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]
) -> None:
    """A server that gives none of them is to blame, not the mails: they are read when it does."""
    cursor = await office.start()
    for number in range(3):
        office.imap.deliver(mail(str(number)))
    fetching = Fetching(monkeypatch, said, b"@customer.example")
    with pytest.raises(error):
        await office.read(cursor, 1)
    fetching.times = 0
    found, _ = await office.read(cursor, 3)

    assert [event.data["problem"] for event in found] == [None] * 3
    assert [event.data["id"] for event in found] == [f"{number}@customer.example" for number in range(3)]


async def test_a_mail_that_says_later_is_no_empty_one(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the others of its page are given."""
    cursor = await office.start()
    for number in range(3):
        office.imap.deliver(mail(str(number)))
    Fetching(monkeypatch, LATER, b"<1@customer.example>").times = 2
    with pytest.raises(errors.Unavailable):
        await office.read(cursor, 3)
    found, _ = await office.read(cursor, 3)

    assert [event.data["problem"] for event in found] == [None] * 3


@pytest.mark.parametrize("others", [2, 0])
async def test_one_mail_that_is_never_given(office: Office, monkeypatch: pytest.MonkeyPatch, others: int) -> None:
    """It is an event that says so, in its place, when the server gives others, or has no other."""
    cursor = await office.start()
    for number in range(1 + others):
        office.imap.deliver(mail(str(number)))
    Fetching(monkeypatch, NEVER, b"<0@customer.example>")
    found, _ = await office.read(cursor, 1 + others)

    assert [event.data["problem"] for event in found] == ["its server does not give it", *[None] * others]


@pytest.mark.parametrize("name", ["a(b", "a)b", "a{9}", "(a", "a%b*", "a{3+}"])
async def test_names_that_are_no_atoms(office: Office, name: str) -> None:
    """Parentheses and braces in Message-IDs and addresses stay parts of a value."""
    raw = mail(name).replace(b"nadia@", f'"{name}"@'.encode() if "(" in name or ")" in name else f"{name}@".encode())
    event = await office.one(raw.replace(b'""', b'"'))
    office.imap.deliver(mail("2", more=f"References: <{name}@customer.example>\nTo: {event.data['from']}\n"))
    record, call = event.subject, office.call()
    assert [one["id"] for one in await office.box.lookups["mail"].fetch(record, call, 1)] == [
        f"{name}@customer.example"
    ]
    assert await office.box.lookups["thread"].fetch(record, call, 5) is not None
    if " " not in event.data["from"] and '"' not in event.data["from"]:
        assert len(await office.box.lookups["from_sender"].fetch(event.data["from"], call, 5)) == 1


async def test_a_large_mail_is_sent_on_beside_the_loop(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Composing megabytes holds nobody else up."""
    event = await office.one()
    loops: list[bool] = []

    def enclosed(raw: bytes) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            loops.append(False)
        else:
            loops.append(True)
        return raw

    monkeypatch.setattr(composing, "_enclosed", enclosed)
    await office.write("forward", event.subject, "Please look.")

    assert loops == [False]


@pytest.mark.parametrize("header", [b"Auto-Submitted: auto-replied", b"List-Id: <l.example>", b"Precedence: bulk"])
def test_a_machine_behind_many_headers(header: bytes) -> None:
    """Of a mail that could not be read, too: what says that a machine sent it is looked for behind the first 16 KB."""
    many = b"".join(b"X-Spam-%d: %s\r\n" % (number, b"x" * 70) for number in range(400))
    plain = letters.outline(b"From: a@b.example\r\n" + many + b"\r\nhello", "why")
    found = letters.outline(b"From: a@b.example\r\n" + many + header + b"\r\n\r\nhello", "why")
    quoted = letters.outline(b"From: a@b.example\r\n" + many + b"\r\n" + header + b"\r\n", "why")

    assert (plain["automatic"], found["automatic"], quoted["automatic"]) == (False, True, False)
    assert found["from"] == "a@b.example"


@pytest.mark.parametrize(
    ("address", "machine"),
    [
        ("no_reply@x.example", True),
        ("do_not_reply@x.example", True),
        ("no.reply+7@x.example", True),
        ("noah@x.example", False),
    ],
)
def test_addresses_of_machines(address: str, machine: bool) -> None:
    """However they are written."""
    assert letters.read(mail().replace(b"nadia@customer.example", address.encode()))["automatic"] == machine
