"""
A mail's bytes as bounded data. Runs in a process of its own: nothing in a mail can hurt more than that.

Imports nothing of ours: the process that reads a mail needs no more than this file.
"""

from __future__ import annotations

import contextlib
import email.policy
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

TEXT = 60_000  # characters of a mail's own text
QUOTED = 20_000  # characters of what it quotes
ATTACHED = 20_000  # characters of one attachment
ATTACHMENTS = 30  # that are told
PARTS = 400  # of one mail
DEPTH = 30  # levels of parts
HEADER = 2_000  # characters of one header
PAGES = 30  # of a PDF
_BOUNDARY = re.compile(rb"boundary\s*=", re.IGNORECASE)
_ON_WROTE = re.compile(
    r"^\s*(On .{5,200} wrote:|Am .{5,200} schrieb .{0,200}:|Le .{5,200} a écrit\s*:|El .{5,200} escribió:|-{2,}\s*Original Message\s*-{2,}|_{20,}|From: .{3,200})\s*$"
)
_SPACE = re.compile(r"[ \t\u00a0]+")
_LINES = re.compile(r"\n{3,}")
_STABLE = ("message-id", "date", "from", "to", "subject")
_MACHINES = re.compile(r"^(mailer-daemon|postmaster|no-?reply|do-?not-?reply|bounces?)([+@.-]|$)", re.IGNORECASE)


def read(raw: bytes, *, whole: bool = True) -> dict[str, Any]:
    """
    Return a mail as data; *whole* is False when only its beginning was fetched.
    """
    problem = None if whole else "it is too large: only its beginning was read"
    message = _headers(raw)
    found = envelope(message) | {"text": "", "quoted": "", "attachments": [], "problem": problem}
    found["digest"] = digest(raw, message)
    if len(_BOUNDARY.findall(raw)) > PARTS:
        return found | {"problem": "it has too many parts to be read"}
    try:
        parsed = BytesParser(policy=email.policy.compat32).parsebytes(raw)
        texts, attachments = _contents(parsed)
    except (RecursionError, ValueError, LookupError, KeyError, TypeError, AttributeError, IndexError) as error:
        return found | {"problem": f"its content cannot be read: {type(error).__name__}"}
    text, quoted = split("\n\n".join(texts))
    return found | {"text": _cut(text, TEXT), "quoted": _cut(quoted, QUOTED), "attachments": attachments}


def digest(raw: bytes, message: Message) -> str:
    """
    Return what tells this mail from every other, whatever servers it passed: not its trace, but what it says.
    """
    body = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[-1]
    said = hashlib.sha256(body.replace(b"\r\n", b"\n").rstrip()).hexdigest()
    stable = [f"{name}:{_header(message, name)}" for name in _STABLE]
    return hashlib.sha256("\n".join([*stable, said]).encode(errors="replace")).hexdigest()[:32]


def _headers(raw: bytes) -> Message:
    head = re.split(rb"\r?\n\r?\n", raw[: 256 * 1024], maxsplit=1)[0]
    return BytesParser(policy=email.policy.compat32).parsebytes(head + b"\r\n\r\n", headersonly=True)


def _header(message: Message, name: str) -> str:
    value = message.get(name)
    if value is None:
        return ""
    text = str(value)[: HEADER * 4]
    with contextlib.suppress(Exception):
        text = str(make_header(decode_header(text)))
    return _SPACE.sub(" ", _clean(text).replace("\n", " ").replace("\r", " ")).strip()[:HEADER]


def _addresses(message: Message, header: str) -> list[tuple[str, str]]:
    values = [str(value)[: HEADER * 10] for value in message.get_all(header, [])][:20]
    found = []
    for name, address in getaddresses(values)[:100]:
        shown = name
        with contextlib.suppress(Exception):
            shown = str(make_header(decode_header(name)))
        if "@" in address:
            found.append((_clean(shown)[:200], _clean(address)[:320].lower()))
    return found


def ids(text: str) -> list[str]:
    """
    Return the Message-IDs in a header.
    """
    return re.findall(r"<([^<>\s]{1,990})>", text)


def envelope(message: Message) -> dict[str, Any]:
    own = (ids(_header(message, "message-id")) or [""])[0]
    answered = next(iter(ids(_header(message, "in-reply-to"))), None)
    references = ids(_header(message, "references"))
    name, sender = (_addresses(message, "from") or [("", "")])[0]
    reply_to = [address for _, address in _addresses(message, "reply-to")]
    why = automatic(message, sender)
    return {
        "id": own,
        "thread": (references or [answered or own])[0],
        "from": sender,
        "from_name": name,
        "to": [address for _, address in _addresses(message, "to")],
        "cc": [address for _, address in _addresses(message, "cc")],
        "subject": _header(message, "subject"),
        "date": _date(message),
        "in_reply_to": answered,
        "automatic": why is not None,
        "automatic_why": why,
        "reply_to": reply_to or [sender],
        "references": references[-20:],
        "marked": _header(message, "x-penstock-run"),
    }


def _date(message: Message) -> str | None:
    try:
        return parsedate_to_datetime(str(message.get("date"))).isoformat()
    except (ValueError, TypeError, OverflowError):
        return None


def automatic(message: Message, sender: str) -> str | None:
    """
    Return why no person wrote a mail, None when one may have: RFC 3834, and what list and robots write.
    """
    said = _header(message, "auto-submitted").lower()
    if said and said.partition(";")[0].strip() != "no":
        return f"Auto-Submitted: {said[:60]}"
    if _header(message, "return-path") == "<>":
        return "Return-Path: <>"
    for name in (
        "list-id",
        "list-unsubscribe",
        "list-post",
        "x-auto-response-suppress",
        "x-autoreply",
        "x-autorespond",
    ):
        if message.get(name) is not None:
            return name.title()
    precedence = _header(message, "precedence").lower()
    if precedence in ("bulk", "list", "junk", "auto_reply"):
        return f"Precedence: {precedence}"
    if message.get_content_type() in ("multipart/report", "message/delivery-status"):
        return "it is a report"
    if not sender:
        return "nobody sent it"
    return f"From: {sender}" if _MACHINES.match(sender) else None


def _contents(message: Message) -> tuple[list[str], list[dict[str, Any]]]:
    texts: list[str] = []
    attachments: list[dict[str, Any]] = []
    room = TEXT + QUOTED
    for part in _leaves(message, 0):
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
        kind, name = part.get_content_type(), _name(part)
        if name is None and kind in ("text/plain", "text/html"):
            text = as_text(data, kind, part.get_content_charset())
            texts.append(text[:room])
            room -= len(texts[-1])
        elif len(attachments) < ATTACHMENTS:
            attachments.append(_attachment(name or "", kind, data, part.get_content_charset()))
    return texts, attachments


def _leaves(message: Message, depth: int) -> Iterator[Message]:
    """
    Yield the parts that say something: of alternatives the plain one.
    """
    if depth > DEPTH:
        return
    if not message.is_multipart():
        yield message
        return
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if message.get_content_type() == "multipart/alternative":
        plain = [part for part in parts if part.get_content_type() == "text/plain" and _said(part)]
        parts = plain[:1] or parts[-1:]
    for part in parts:
        yield from _leaves(part, depth + 1)


def _said(part: Message) -> bool:
    payload = part.get_payload(decode=True)
    return isinstance(payload, bytes) and bool(payload.strip())


def _name(part: Message) -> str | None:
    disposition = str(part.get("content-disposition") or "").lower()
    name = part.get_filename()
    if name is None and not disposition.startswith("attachment"):
        return None
    return _clean(str(name or ""))[:200]


def _attachment(name: str, kind: str, data: bytes, charset: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": kind, "size": len(data)}
    with contextlib.suppress(Exception):
        text = _pdf(data) if kind == "application/pdf" else ""
        if kind.startswith("text/"):
            text = as_text(data, kind, charset)
        if text.strip():
            found["text"] = _cut(_LINES.sub("\n\n", text.strip()), ATTACHED)
    return found


def _pdf(data: bytes) -> str:
    from pypdf import PdfReader

    text = ""
    for page in PdfReader(io.BytesIO(data)).pages[:PAGES]:
        text += page.extract_text() + "\n"
        if len(text) > ATTACHED:
            break
    return _clean(text)


def as_text(data: bytes, kind: str, charset: str | None) -> str:
    """
    Return the text of a part, of HTML what is seen of it.
    """
    data = data[: 4 * 1024 * 1024]
    text = ""
    for name in (charset, "utf-8", "latin-1"):
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            text = data.decode(name) if name else ""
            if text or not data:
                break
    return _clean(html(text) if kind == "text/html" else text)


def html(text: str) -> str:
    """
    Return what people see of HTML: no scripts, no hidden parts; links keep their addresses.
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text[: 2 * 1024 * 1024])
    for node in tree.css("script, style, head, title, noscript, template, [hidden], [aria-hidden=true]"):
        node.decompose()
    for node in tree.css("[style]"):
        style = (node.attributes.get("style") or "").replace(" ", "").lower()
        if "display:none" in style or "visibility:hidden" in style or "font-size:0" in style:
            node.decompose()
    for node in tree.css("a[href]"):
        target, shown = node.attributes.get("href") or "", node.text(strip=True)
        if target.startswith(("http://", "https://")) and shown != target:
            node.replace_with(f"{shown} ({target})")
    for node in tree.css("blockquote"):
        node.replace_with(
            "\n" + "\n".join(f"> {line}" for line in node.text(separator="\n").splitlines() if line.strip()) + "\n"
        )
    for node in tree.css("br"):
        node.replace_with("\n")
    for node in tree.css("p, div, tr, li, h1, h2, h3, h4, h5, h6, table"):
        node.insert_before("\n")
    body = tree.body
    said = body.text(separator="") if body is not None else ""
    return "\n".join(_SPACE.sub(" ", line).strip() for line in said.splitlines())


def split(text: str) -> tuple[str, str]:
    """
    Return what a mail says itself, and what it quotes below that.
    """
    lines = text.splitlines()
    cut = len(lines)
    for number, line in enumerate(lines):
        rest = lines[number:]
        if line.startswith(">") and all(one.startswith(">") or not one.strip() for one in rest):
            cut = number
            break
        if _ON_WROTE.match(line) and any(one.startswith(">") for one in rest[1:6]) | ("Original" in line):
            cut = number
            break
    own = _LINES.sub("\n\n", "\n".join(lines[:cut])).strip()
    return own, _LINES.sub("\n\n", "\n".join(lines[cut:])).strip()


def _clean(text: str) -> str:
    """
    Return *text* without what is not seen: controls, zero-width and bidirectional marks, halves of characters.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co"))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + " […]"
