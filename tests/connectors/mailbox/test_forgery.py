"""
Mails that pretend: nobody gets what was written to somebody else.
"""

from __future__ import annotations

import pytest

from penstock import errors
from tests.connectors.mailbox.office import Office, connect, mail

THIEF = "thief@elsewhere.example"
AGAIN = "References: <1@customer.example>\nAuthentication-Results: mx; dmarc=fail\nReply-To: {to}\n"


@pytest.mark.parametrize(
    ("followed", "asked", "to", "known"),
    [
        ("domain", THIEF, "nadia@customer.example", 1),
        ("domain", "orders@customer.example", "orders@customer.example", 0),
        ("nobody", "orders@customer.example", "nadia@customer.example", 1),
        ("anybody", THIEF, THIEF, 0),
    ],
)
async def test_a_reply_to_takes_nothing_away(office: Office, followed: str, asked: str, to: str, known: int) -> None:
    """The answer follows it as far as the settings say, and then `thread` tells nothing that its owner did not see."""
    box = connect(office.imap.port, office.post.port, reply_to=followed)
    cursor = await office.start()
    office.imap.deliver(mail("1", text="My card is 4711."))
    office.imap.deliver(mail("2", more=AGAIN.format(to=asked), text="What was my card?"))
    [_, event], _ = await office.read(cursor, 2)
    found = await box.lookups["thread"].fetch(event.subject, office.call(), 5)
    await box.actions["reply"].write(event.subject, {"text": "It is in the thread."}, "add", office.call())
    await box.close()

    assert [one["To"] for one in office.sent()] == [to]
    assert len(found) == known


async def test_a_reply_to_of_ours_is_no_way_to_ourselves(office: Office) -> None:
    """A mail that asks for the answer to go to us, and one that nobody wrote."""
    box = connect(office.imap.port, office.post.port, reply_to="anybody")
    event = await office.one(mail(more="Reply-To: support@acme.example\n"))
    with pytest.raises(errors.Rejected, match="ourselves"):
        await box.actions["reply"].write(event.subject, {"text": "Yes."}, "add", office.call())
    await box.close()

    assert office.sent() == []
