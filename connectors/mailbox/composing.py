"""
The bytes of the mails we write.

Headers are written here, not by the standard library: it encodes a Message-ID that is longer than a line, as
Outlook's are, so that no mail program finds its thread again.
"""

from __future__ import annotations

import email.policy
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Literal

from penstock.errors import Rejected

RUN = "X-Penstock-Run"
SLOT = "X-Penstock-Slot"
REFERENCES = 20  # Message-IDs at most
LINE = 998  # bytes of a line (RFC 5322)
_BREAKS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")
_PLAIN_ADDRESS = re.compile(r"[!#-'*+\-/-9=?A-Z^-~.]+@[A-Za-z0-9.\-\[\]:]+")


def answer(
    original: Mapping[str, Any],
    text: str,
    *,
    sender: str,
    to: str,
    message_id: str,
    key: str,
    at: datetime,
    automatic: bool,
    slot: str = "",
) -> bytes:
    """
    Return an answer to *original*, in its thread; raises `Rejected` for an address that is none.
    """
    subject = str(original["subject"])
    headers = _head(sender, [to], message_id, key, at)
    headers.append(("Subject", _words(subject if subject.lower().startswith("re:") else f"Re: {subject}")))
    if original["id"]:
        known = [*original["references"], original["id"]]
        known = known[:1] + known[1:][-REFERENCES + 1 :]  # the first is what programs know the thread by
        headers += [("In-Reply-To", f"<{original['id']}>"), ("References", "\r\n ".join(f"<{one}>" for one in known))]
    if automatic:
        headers += _automatic("auto-replied")
    body = _text(text)
    if slot:
        written = body.partition(b"\r\n\r\n")[2]
        headers.append((SLOT, f"{slot} {imprint(written)}"))
    return _lines(headers) + body


def forward(
    original: Mapping[str, Any],
    raw: bytes,
    text: str,
    *,
    sender: str,
    to: Sequence[str],
    message_id: str,
    key: str,
    at: datetime,
) -> bytes:
    """
    Return a mail with *text* and the original as it is: it is not read for this.
    """
    boundary = f"penstock-{hashlib.sha256(raw + key.encode()).hexdigest()}"
    headers = [*_head(sender, to, message_id, key, at), ("Subject", _words(f"Fwd: {original['subject']}"))]
    headers += [*_automatic("auto-generated"), ("MIME-Version", "1.0")]
    headers.append(("Content-Type", f'multipart/mixed; boundary="{boundary}"'))
    mark = f"--{boundary}".encode()
    inner = _text(text).replace(b"MIME-Version: 1.0\r\n", b"")
    return b"\r\n".join([_lines(headers), mark, inner, mark, _enclosed(raw), mark + b"--", b""])


def imprint(body: bytes) -> str:
    """
    Return by what a draft is known to be as we wrote it: a person may have gone on with it.
    """
    return hashlib.sha256(b"".join(body.split())).hexdigest()[:16]


def _enclosed(raw: bytes) -> bytes:
    """
    Return the part that holds a mail; one that no line-wise transport takes goes as a file.
    """
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", raw)
    if b"\x00" not in lines and all(len(line) <= LINE for line in lines.split(b"\r\n")):
        how = b"7bit" if lines.isascii() else b"8bit"
        return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: " + how + b"\r\n\r\n" + lines
    part = EmailMessage()
    part.add_attachment(raw, maintype="application", subtype="octet-stream", filename="original.eml")
    return part.get_payload(0).as_bytes(policy=email.policy.SMTP)  # type: ignore[union-attr]


def _head(sender: str, to: Sequence[str], message_id: str, key: str, at: datetime) -> list[tuple[str, str]]:
    for address in (sender, *to):
        if not _PLAIN_ADDRESS.fullmatch(address):
            raise Rejected(f"{address!r} is no address that a mail can be sent to.")
    return [
        ("From", sender),
        ("To", ",\r\n ".join(to)),
        ("Date", format_datetime(at)),
        ("Message-ID", f"<{message_id}>"),
        (RUN, key[:16]),
    ]


def _automatic(how: Literal["auto-replied", "auto-generated"]) -> list[tuple[str, str]]:
    return [("Auto-Submitted", how), ("X-Auto-Response-Suppress", "All")]


def _words(subject: str) -> str:
    text = " ".join(_BREAKS.sub(" ", subject).split())[:500]
    return Header(text, None if text.isascii() else "utf-8", header_name="Subject", maxlinelen=76).encode(
        linesep="\r\n"
    )


def _text(text: str) -> bytes:
    part = EmailMessage()
    part.set_content(text, cte="quoted-printable")
    return part.as_bytes(policy=email.policy.SMTP)


def _lines(headers: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
