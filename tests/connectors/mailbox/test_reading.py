"""
What becomes of a mail's bytes, and that no mail can hurt the next.
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from connectors.mailbox import child, letters
from connectors.mailbox import reader as reading
from connectors.mailbox.identity import digest
from connectors.mailbox.reader import Reader
from tests.connectors.mailbox.office import Office, mail


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    yield reader
    await reader.close()


def page(html: str) -> bytes:
    return f"From: a@b.example\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}".encode()


async def test_a_reading_that_is_left_answers_for_nobody_else(reader: Reader) -> None:
    """A reading that is cancelled at any moment leaves no answer behind that the next mail would get."""
    slow = mail("slow", text="<div>" * 40_000).replace(b"text/plain", b"text/html")
    await reader.read(mail("warm"), whole=True)
    for wait in (0.0, 0.001, 0.01, 0.05):
        left = asyncio.create_task(reader.read(slow, whole=True))
        await asyncio.sleep(wait)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        found = await reader.read(mail("mine"), whole=True)

        assert found["id"] == "mine@customer.example"


async def test_an_attachment_costs_no_text(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF that would take minutes leaves the mail's own text, and the mail says so."""
    monkeypatch.setattr(reading, "WITHIN", 2.0)
    raw = b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nPlease see.\r\n--x\r\n"
    raw += b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    raw += b"Content-Disposition: attachment; filename=a.pdf\r\n\r\n%s\r\n--x--\r\n"
    bomb, plain = (base64.encodebytes(pdf(b"BT /F1 12 Tf (Hi) Tj ET " * times)) for times in (200_000, 1))
    found = await reader.read(raw % bomb, whole=True)
    good = await reader.read(raw % plain, whole=True)

    assert (found["text"], good["text"]) == ("Please see.", "Please see.")
    assert found["attachments"][0]["name"] == "a.pdf"
    assert found["problem"].startswith("its attachments were not read")
    assert (good["attachments"][0]["text"], good["problem"]) == ("Hi", None)


def smileys(attachments: int) -> bytes:
    part = "--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n"
    head = "From: a@b.example\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    return f"{head}{(part + chr(0x1F600) * letters.ATTACHED + chr(13) + chr(10)) * attachments}--x--\r\n".encode()


async def test_the_longest_answer_is_read(reader: Reader) -> None:
    """Thirty attachments of the most characters that are told, each of which takes twelve bytes."""
    found = await reader.read(smileys(letters.ATTACHMENTS), whole=True)

    assert found["problem"] is None
    assert [len(one["text"]) for one in found["attachments"]] == [letters.ATTACHED] * letters.ATTACHMENTS


async def test_a_process_whose_answer_nobody_reads_is_ended(reader: Reader) -> None:
    """Whatever it has still to say: the next mail does not wait for it."""
    process = await reader._started()
    assert process.stdin is not None
    assert process.stdout is not None
    raw = smileys(letters.ATTACHMENTS)
    process.stdin.write(len(raw).to_bytes(4, "big") + bytes([reading.ATTACHED]) + raw)
    async with asyncio.timeout(20):
        while not process.stdout._paused:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
        await reader.close()
        after = await reader.read(mail("after"), whole=True)

    assert process.returncode is not None
    assert after["id"] == "after@customer.example"


def pdf(content: bytes) -> bytes:
    writer, font = PdfWriter(), DictionaryObject()
    for name, value in (("/Type", "/Font"), ("/Subtype", "/Type1"), ("/BaseFont", "/Helvetica")):
        font[NameObject(name)] = NameObject(value)
    stream = DecodedStreamObject()
    stream.set_data(content)
    shown = writer.add_blank_page(200, 200)
    fonts = DictionaryObject({NameObject("/F1"): font})
    shown[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    shown[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


async def test_a_codec_is_no_charset(reader: Reader) -> None:
    """Python's codecs that take the square of the time are not tried: the text is read as it looks."""
    raw = (
        b"From: a@b.example\r\nContent-Type: text/plain; charset=punycode\r\n\r\n"
        + b"a" * 200_000
        + b"-"
        + b"z" * 200_000
    )
    began = time.perf_counter()
    found = await reader.read(raw, whole=True)

    assert found["problem"] is None
    assert found["text"].startswith("aaa")
    assert time.perf_counter() - began < 5


HARD = {
    "comments": b"From: " + b"(" * 60_000 + b"\r\nSubject: s\r\n\r\nhello",
    "type": b"From: a@b.example\r\nContent-Type: text/pl\xffain; name=x\r\n\r\nhello",
    "surrogates": b"From: a@b.example\r\nSubject: =?utf-8?b?7aCA?=\r\n\r\nhello",
    "no head": b"\x00" * 1000,
    "no end": b"From: a@b.example\r\nSubject: s",
}


@pytest.mark.parametrize("name", HARD)
async def test_headers_that_no_parser_likes(reader: Reader, name: str) -> None:
    """They are read as far as they go, in the process and, should that fail, outside."""
    found = await reader.read(HARD[name], whole=True)
    outside = letters.outline(HARD[name], "why")

    assert not (found["problem"] or "").startswith("it cannot be read")
    assert set(outside) | {"digest"} == set(found)
    assert outside["problem"] == "why"


def test_the_outline_is_quick() -> None:
    """What is read outside the process holds the loop up for no longer than a moment, whatever stands in the mail."""
    worst = [b"".join(b"From: " + b"a@b," * 900 + b"\r\n" for _ in range(20)), *HARD.values()]
    for raw in worst:
        took = []
        for _ in range(3):
            began = time.perf_counter()
            letters.outline(raw + b"\r\n\r\n", "x")
            took.append(time.perf_counter() - began)

        assert min(took) < 0.05


@given(st.binary(max_size=400) | st.binary(max_size=200).map(lambda end: mail()[:-40] + end))
@example(b"\n\x00")
@example(b"\r\n\r\nhello")
@example(b" From: a@b.example\n\nhello")
@settings(max_examples=200)
def test_any_bytes_have_an_identity_and_an_outline(raw: bytes) -> None:
    """Neither ever raises, and an identity is what a route may not change."""
    letters.outline(raw, "x")

    assert digest(b"Received: from there\r\n" + raw) == digest(raw) or not raw.strip()
    assert len(digest(raw)) == 32


def test_identity_does_not_depend_on_who_reads() -> None:
    """It is the same for a mail that was read and for one that could not be; line ends and folding change nothing."""
    raw = mail(more="Received: by mx\r\n")

    assert digest(raw) == digest(mail()) == digest(mail().replace(b"\r\n", b"\n"))
    assert digest(mail()) == digest(mail().replace(b"Where is order", b"Where is\r\n\torder"))
    assert digest(mail()) != digest(mail(text="Pay elsewhere."))


SHOWN = [
    ('<p style="font-size:0.9em">small</p>', "small"),
    ('<p style="font-size: 0px">x</p>seen', "seen"),
    ('<p style="color:red; font-size:0">x</p>seen', "seen"),
    ('<p style="opacity:0">x</p>seen', "seen"),
    ('<p style="opacity:0.8">seen</p>', "seen"),
    ('<p style="max-height:0;overflow:hidden">x</p>seen', "seen"),
    ("<template>x</template><p hidden>x</p>seen<!-- x -->", "seen"),
    ("<title>x</title><body>seen", "seen"),
]


@pytest.mark.parametrize(("html", "text"), SHOWN)
def test_what_is_seen_of_html(html: str, text: str) -> None:
    """What people see is read, what is hidden from them is not."""
    assert letters.read(page(html))["text"] == text


SPLIT = [
    ("Yes.\n\nOn Mon, 5 Jan 2026 Nadia wrote:\n> No.", "Yes."),
    ("Yes.\n\nOn Mon, 5 Jan 2026 at 10:00 Nadia Haddad\n<nadia@x.example> wrote:\n\n> No.", "Yes."),
    ("Yes.\n\nAm 05.01.2026 um 10:00 schrieb Nadia:\n> No.", "Yes."),
    ("Yes.\n-----Original Message-----\nNo.", "Yes."),
    ("Yes.\n\nFrom: Nadia\nSent: Monday\nTo: us\nSubject: it\n\nNo.", "Yes."),
    ("Yes.\n\nVon: Nadia\nGesendet: Montag\nAn: uns\n\nNein.", "Yes."),
    ("> Is it red?\nYes.\n> Is it big?\nNo.", "> Is it red?\nYes.\n> Is it big?\nNo."),  # answered in between
    ("From: here to there\nit is far.", "From: here to there\nit is far."),
    ("On Monday he wrote:\nnothing.", "On Monday he wrote:\nnothing."),
    ("> all of it", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "own"), SPLIT)
def test_what_a_mail_says_itself(text: str, own: str) -> None:
    """It ends where what it quotes begins; nothing is lost between the two."""
    found, quoted = letters.split(text)

    assert found == own
    assert [*found.split(), *quoted.split()] == text.split()


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Reply-To: no-reply@shop.example\n", "Reply-To: no-reply@shop.example"),
        ("Auto-Submitted: AUTO-GENERATED (x)\n", "Auto-Submitted: auto-generated (x)"),
        ("Auto-Submitted: no\n", None),
        ("Precedence: first-class\n", None),
    ],
)
def test_who_is_a_machine(header: str, why: str | None) -> None:
    """By what it says of itself, and by who would get the answer."""
    assert letters.read(mail(more=header))["automatic_why"] == why


def test_the_limits_are_set() -> None:
    """The process has its own bounds on memory and processor time."""
    assert child.MEMORY <= 1024**3
    assert child.SECONDS <= 10


BOMBS = {
    "parts": b"From: a@b.c\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n"
    + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 20_000,
    "deep": b"From: a@b.c\r\n"
    + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(390)),
    "html": b"From: a@b.c\r\nContent-Type: text/html\r\n\r\n" + b"<div>" * 200_000,
    "ligature": b"From: a@b.c\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "\ufdfa".encode() * 1_000_000,
    "charset": b"From: a@b.c\r\nContent-Type: text/plain; charset=no-such\r\n\r\nhello \xff",
    "nothing": b"\r\n\r\n",
    "header": b"From: a@b.c\r\nSubject: " + b"x" * 1_000_000 + b"\r\n\r\nhi",
    "words": b"From: a@b.c\r\nSubject: " + b"=?utf-8?b?w6Q=?= " * 20_000 + b"\r\n\r\nhi",
    "pdf": b"From: a@b.c\r\nContent-Type: application/pdf; name=x.pdf\r\n\r\n%PDF-1.4 rubbish",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_mails_that_want_to_hurt(office: Office, name: str) -> None:
    """Each is an event with what could be read, and the next mail comes as ever."""
    cursor = await office.start()
    office.imap.deliver(BOMBS[name])
    office.imap.deliver(mail("after"))
    found, _ = await office.read(cursor, 2)

    assert len(found) == 2
    assert found[1].data["text"] == "It has not arrived."
    assert len(found[0].to_json()) < 600_000
