"""
What leaves: once, to the right one, in its thread; and what is known of it after whatever went wrong.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from connectors.bench import KEY, OTHER_KEY
from connectors.mailbox import composing, folders, sent, smtp
from penstock import errors
from tests.between import Between, Trouble
from tests.connectors.mailbox.office import Office, connect, mail
from tests.connectors.mailbox.servers import USER, Post

OUTLOOK = "AM0PR0402MB3939ABCDEF0123456789ABCDEF0123456789A@AM0PR0402MB3939.eurprd04.prod.outlook.com"


def find(office: Office, name: str = "reply", **more: Any) -> Any:
    look = office.box.actions[name].find
    assert look is not None
    return look("", "add", office.call(**more))


async def test_long_message_ids_stay_as_they_are(office: Office) -> None:
    """Outlook's ids are longer than a line: they are never encoded, or no program would find the thread."""
    references = " ".join(f"<{number}{OUTLOOK}>" for number in range(30))
    event = await office.one(mail(more=f"References: {references}\n").replace(b"1@customer.example", OUTLOOK.encode()))
    await office.write("reply", event.subject)
    raw = office.post.handler.got[0].content
    [mailed] = office.sent()

    assert b"=?" not in raw
    assert mailed["In-Reply-To"] == f"<{OUTLOOK}>"
    known = mailed["References"].split()
    assert known[0] == f"<0{OUTLOOK}>"
    assert known[-2:] == [f"<29{OUTLOOK}>", f"<{OUTLOOK}>"]
    assert len(known) == composing.REFERENCES
    assert all(len(line) <= composing.LINE for line in raw.split(b"\r\n"))


async def test_nobody_gets_the_bounces_of_a_reply(office: Office) -> None:
    """RFC 3834: a reply has no sender on its envelope, so that no machine answers it; a forward has ours."""
    event = await office.one()
    await office.write("reply", event.subject)
    await office.write("forward", event.subject, key=OTHER_KEY)

    assert [envelope.mail_from for envelope in office.post.handler.got] == ["<>", USER]
    assert [one["Auto-Submitted"] for one in office.sent()] == ["auto-replied", "auto-generated"]


async def test_a_server_that_wants_a_sender(office: Office) -> None:
    """It says what to set; then our address is on the envelope."""
    event = await office.one()
    office.post.handler.refuses_nobody = True
    with pytest.raises(errors.Rejected, match="return_path: address"):
        await office.write("reply", event.subject)
    box = connect(office.imap.port, office.post.port, return_path="address")
    await box.actions["reply"].write(event.subject, {"text": "Yes."}, "add", office.call())
    await box.close()

    assert [envelope.mail_from for envelope in office.post.handler.got] == [USER]
    assert len(office.folder("Sent")) == 1


async def test_a_worker_that_is_stopped_while_it_sends(office: Office) -> None:
    """A cancellation between the content and its answer leaves the trace: nobody sends it again."""
    event = await office.one()
    office.post.handler.trouble.append("hang")
    writing = asyncio.create_task(office.write("reply", event.subject))
    while not office.post.handler.got:
        await asyncio.sleep(0.02)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    with pytest.raises(errors.UnknownOutcome):
        await find(office)

    assert len(office.sent()) == 1


@pytest.mark.parametrize("trouble", ["hang", "garbage"])
async def test_no_answer_that_says_anything(office: Office, trouble: str) -> None:
    """Silence and rubbish after the content: nobody can tell."""
    event = await office.one()
    office.post.handler.trouble.append(trouble)
    with pytest.raises(errors.UnknownOutcome):
        await office.write("reply", event.subject, timeout=2.5)
    with pytest.raises(errors.UnknownOutcome):
        await find(office)


@pytest.mark.parametrize("trouble", ["", "drop-after"])
async def test_servers_that_keep_what_they_send(office: Office, trouble: str) -> None:
    """Gmail and Microsoft do: their copy tells that a mail left, and one copy is enough."""

    def keeps(raw: bytes) -> None:
        with office.client() as client:
            client.append("Sent", raw, flags=(b"\\Seen",))

    event = await office.one()
    office.post.handler.keeps = keeps
    office.post.handler.trouble.append(trouble)
    if trouble:
        with pytest.raises(errors.UnknownOutcome):
            await office.write("reply", event.subject)
    else:
        await office.write("reply", event.subject)
        assert len(office.folder("Sent")) == 1
    found = await find(office)

    assert found.already
    assert len(office.sent()) == 1


@pytest.mark.parametrize("cuts", [1, 2])
async def test_a_reply_whose_copy_cannot_be_settled(office: Office, cuts: int) -> None:
    """It is said once more; a mail whose copy does not say that it was sent is not sent again."""
    event = await office.one()
    wire = Between(office.imap.port)
    box = connect(wire.port, office.post.port)
    for _ in range(cuts):
        wire.hangs_up(rb"STORE \d+ -FLAGS", "before")
    write = box.actions["reply"].write(event.subject, {"text": "Yes."}, "add", office.call())
    if cuts < sent.TRIES:
        await write
        assert (await find(office)).already
    else:
        with pytest.raises(errors.UnknownOutcome, match="could not say so"):
            await write
        with pytest.raises(errors.UnknownOutcome, match="about to be sent"):
            await find(office)
    await box.close()
    wire.close()

    assert len(office.sent()) == 1


async def test_smtp_that_is_away(office: Office) -> None:
    """Nothing left, nothing is kept, and it is tried later."""
    event = await office.one()
    office.post.stop()
    with pytest.raises(errors.Unavailable):
        await office.write("reply", event.subject)
    kept = office.folder("Sent")
    office.post = Post()
    office.post.start()

    assert kept == []


async def test_imap_that_is_away(office: Office) -> None:
    """No reply leaves without its trace, and no draft is in doubt: nothing was begun."""
    event = await office.one()
    office.imap.stop()
    for name in ("reply", "draft", "forward"):
        with pytest.raises(errors.Unavailable):
            await office.write(name, event.subject)

    assert office.sent() == []


@pytest.mark.parametrize(("when", "there"), [("before", False), ("after", True)])
async def test_a_draft_whose_answer_is_lost(office: Office, when: str, there: bool) -> None:
    """Looking first leaves one draft, whether the lost one arrived or not."""
    event = await office.one()
    wire = Between(office.imap.port)
    box = connect(wire.port, office.post.port)
    await box.health(office.call())
    wire.hangs_up(rb"It left yesterday", when)
    with pytest.raises(errors.UnknownOutcome):
        await box.actions["draft"].write(event.subject, {"text": "It left yesterday."}, "add", office.call())
    found = await find(office, "draft")
    if found is None:
        await office.write("draft", event.subject)
    await box.close()
    wire.close()

    assert (found is not None) == there
    assert len(office.folder("Drafts")) == 1


async def test_a_person_goes_on_with_a_draft(office: Office) -> None:
    """What somebody changed in our draft is theirs: the next answer lies beside it."""
    event = await office.one()
    await office.write("draft", event.subject, "one", mode="replace-own")
    with office.client() as client:
        client.select_folder("Drafts")
        [uid] = client.search()
        raw = client.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"]
        client.append("Drafts", raw.replace(b"one", b"one, and more"), flags=(b"\\Draft",))
        client.delete_messages([uid])
        client.expunge()
    await office.write("draft", event.subject, "two", mode="replace-own", key=OTHER_KEY)
    await office.write("draft", event.subject, "three", mode="replace-own", key="3" * 64)

    texts = [draft.get_content().strip() for draft, _ in office.folder("Drafts")]
    assert texts == ["one, and more", "three"]


async def test_a_draft_is_a_persons_mail(office: Office) -> None:
    """Whoever sends it answers themselves: it does not say that it is automatic."""
    event = await office.one()
    await office.write("draft", event.subject)
    [(draft, _)] = office.folder("Drafts")

    assert draft["Auto-Submitted"] is None
    assert draft["In-Reply-To"] == "<1@customer.example>"


# ---- what is sent on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "eight", "long"])
async def test_the_original_is_sent_on_as_it_is(office: Office, kind: str) -> None:
    """Byte for byte, as a mail; one with lines that no server takes as a file."""
    text = {"plain": "It is late.", "eight": "Grüße 😀", "long": "x" * 5000}[kind]
    raw = mail(text=text)
    event = await office.one(raw)
    await office.write("forward", event.subject, "Please look.")
    [mailed] = office.sent()
    _, _, enclosed = list(mailed.walk())[:3]

    assert enclosed.get_content_type() == ("application/octet-stream" if kind == "long" else "message/rfc822")
    whole = enclosed.get_content() if kind == "long" else office.post.handler.got[0].content
    assert raw.rstrip() in (whole if isinstance(whole, bytes) else whole.encode())


async def test_a_bomb_is_sent_on_without_being_read(office: Office) -> None:
    """20,000 nested parts hold nobody up: our process does not parse what it passes on."""
    part = b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    event = await office.one(b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" + part * 20_000)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began)

    watching = asyncio.create_task(watch())
    await office.write("forward", event.subject, "Please look.")
    watching.cancel()

    assert part * 3 in office.post.handler.got[0].content
    assert longest < 0.5  # the parser takes many seconds


async def test_a_mail_that_is_too_large_is_not_sent_on_in_part(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an event with its headers and what fits; `forward` refuses to cut it."""
    monkeypatch.setattr(folders.fetch, "__defaults__", (2_000,))
    event = await office.one(mail(text="word " * 1000))

    assert event.data["subject"] == "Where is order 4711?"
    assert "too large" in event.data["problem"]
    with pytest.raises(errors.Rejected, match="too large"):
        await office.write("forward", event.subject, "Please look.")
    assert office.sent() == []


# ---- who is answered -----------------------------------------------------------------------------------


async def test_replies_are_counted_exactly(office: Office) -> None:
    """Neither an address that only ends alike, nor what was sent on, nor what a person wrote counts."""
    other = await office.one(mail("0").replace(b"nadia@", b"xnadia@"))
    event = await office.one()
    box = connect(office.imap.port, office.post.port, forward_to=["nadia@customer.example"], replies_per_day="1")
    for name, record, key in (
        ("reply", other.subject, "3"),
        ("forward", event.subject, "4"),
        ("reply", event.subject, "5"),
    ):
        await box.actions[name].write(record, {"text": "Yes."}, "add", office.call(key * 64))
    with pytest.raises(errors.Rejected, match="replies_per_day"):
        await box.actions["reply"].write(event.subject, {"text": "Yes."}, "add", office.call("6" * 64))
    await box.close()

    assert len(office.sent()) == 3
    assert len(office.folder("Sent")) == 3


async def test_replies_at_the_same_time(office: Office) -> None:
    """Of six at once, by two workers, exactly three go out."""
    event = await office.one()
    other = connect(office.imap.port, office.post.port)
    boxes = [office.box, other] * 3
    writing = [
        box.actions["reply"].write(event.subject, {"text": "Yes."}, "add", office.call(f"{number}" * 64))
        for number, box in enumerate(boxes)
    ]
    done = await asyncio.gather(*writing, return_exceptions=True)
    await other.close()

    assert sorted(type(one).__name__ for one in done) == ["Rejected"] * 3 + ["Written"] * 3
    assert len(office.sent()) == 3


async def test_yesterdays_replies_do_not_count(office: Office) -> None:
    """A day is the last 24 hours, whatever the server's time zone."""
    import datetime as dt

    event = await office.one()
    await office.write("reply", event.subject)
    with office.client() as client:
        client.select_folder("Sent")
        [(_uid, data)] = client.fetch(client.search(), ["BODY.PEEK[]"]).items()
        for hours in (23, 25, 26, 27):
            at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
            client.append("Sent", data[b"BODY[]"].replace(KEY.encode(), b"%064x" % hours), (b"\\Seen",), at)
    await office.write("reply", event.subject, key=OTHER_KEY)
    with pytest.raises(errors.Rejected, match="replies_per_day"):
        await office.write("reply", event.subject, key="3" * 64)

    assert len(office.sent()) == 2


async def test_a_forged_message_id_gets_nobody_elses_answer(office: Office) -> None:
    """A mail that was moved is told from one that bears its Message-ID."""
    event = await office.one()
    with office.client() as client:
        client.select_folder("INBOX")
        client.move(client.search(), "Archive")
    office.imap.deliver(mail(text="I am Nadia too.").replace(b"nadia@customer", b"thief@elsewhere"))
    with office.client() as client:
        client.select_folder("Archive")
        client.append("Archive", mail(text="Me too.").replace(b"nadia@customer", b"thief@elsewhere"))
    await office.write("reply", event.subject)

    assert [one["To"] for one in office.sent()] == ["nadia@customer.example"]


async def test_another_workers_copy_is_left(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that lost its lane takes its own trace away, and not that of the one who sends now."""
    event = await office.one()
    asked = 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:  # meanwhile, with the same key, by the new owner of the lane
            with office.client() as client:
                client.append("Sent", f"Message-ID: <{KEY}@penstock.acme.example>\r\n\r\nx", (b"\\Draft",))
            raise errors.Fenced

    with pytest.raises(errors.Fenced):
        await office.write("reply", event.subject, fence=fence)

    assert len(office.folder("Sent")) == 1
    assert office.sent() == []


@pytest.mark.parametrize(
    ("address", "good"),
    [("nadia@customer.example", True), ("a b@x.example", False), ("x@[127.0.0.1]", True), ("ü@x.example", False)],
)
def test_addresses(address: str, good: bool) -> None:
    """Only what is an address stands in a header of ours."""
    found = composing._PLAIN_ADDRESS.fullmatch(address)

    assert bool(found) == good
    assert smtp.NOBODY == ""


async def test_an_old_draft_that_stays(office: Office) -> None:
    """When the server does not take the old draft away, the new one is there and is found: it is not put there twice."""
    event = await office.one()
    await office.write("draft", event.subject, "one", mode="replace-own")
    wire = Between(office.imap.port)
    box = connect(wire.port, office.post.port)
    wire.fails(
        Trouble(kind="say", match=re.compile(rb"^(\S+) UID STORE"), answer=rb"\1 NO [UNAVAILABLE] later" + b"\r\n")
    )
    with pytest.raises(errors.UnknownOutcome):
        await box.actions["draft"].write(event.subject, {"text": "two"}, "replace-own", office.call(OTHER_KEY))
    await box.close()
    wire.close()

    assert (await find(office, "draft", key=OTHER_KEY)).already
