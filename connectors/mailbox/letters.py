"""
A mail's bytes as bounded data. Runs in a process of its own: nothing in a mail can hurt more than that.

Imports nothing of ours: the process that reads a mail needs no more than this file.
"""

from __future__ import annotations

import contextlib
import email.policy
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
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
OUTLINE = 16 * 1024  # bytes of headers that are read of a mail that could not be
HEAD = 256 * 1024  # bytes of headers that are read
SAID = 20  # headers behind those that say who sent it
PAGES = 30  # of a PDF
REFERENCES = 40  # Message-IDs besides the first, which the thread is known by
_BOUNDARY = re.compile(rb"boundary\s*=", re.IGNORECASE)
_WROTE = re.compile(
    r"\s*(On .{5,300} wrote:|Am .{5,300} schrieb.{0,200}:|Le .{5,300} a écrit\s*:|El .{5,300} escribió:|Il .{5,300} ha scritto:)\s*"
)
_ORIGINAL = re.compile(
    r"\s*(-{2,}\s*(Original Message|Ursprüngliche Nachricht|Message d'origine)\s*-{2,})\s*", re.IGNORECASE
)
_FROM = re.compile(r"\s*\*?(From|Von|De|Da)\s*:\*? .+")
_SENT = re.compile(r"\s*\*?(Sent|Date|Gesendet|Datum|Envoyé|Fecha|Enviado|Inviato|Data)\s*:\*? .+")
_HIDDEN = re.compile(
    r"display:none|visibility:hidden|(?:^|;)(?:font-size|opacity|max-height|line-height):0(?:\.0+)?(?:[a-z%]*)(?:!important)?(?:;|$)"
)
_TRICKS = re.compile(r"punycode|idna|(raw.?)?unicode.?escape", re.IGNORECASE)
"""Codecs of Python's that are no charsets; some take the square of the time."""
_SPACE = re.compile(r"[ \t\u00a0]+")
_LINES = re.compile(r"\n{3,}")
_MACHINES = re.compile(
    r"^(mailer[._-]?daemon|postmaster|no[._-]?reply|do[._-]?not[._-]?reply|bounces?)([+@._-]|$)", re.IGNORECASE
)
ROBOTS = ("list-id", "list-unsubscribe", "list-post", "x-auto-response-suppress", "x-autoreply", "x-autorespond")
"""Headers that only machines write."""
_SAYS_SO = re.compile(
    rb"^(?:auto-submitted|return-path|precedence|content-type|%s):[^\r\n]{0,200}" % "|".join(ROBOTS).encode(),
    re.IGNORECASE | re.MULTILINE,
)


def read(raw: bytes, *, whole: bool = True, attached: bool = True) -> dict[str, Any]:
    """
    Return a mail as data; *whole* is False when only its beginning was fetched, *attached* when no attachment is read.
    """
    problem = None if whole else "it is too large: only its beginning was read"
    found = envelope(_headers(raw)) | {"text": "", "quoted": "", "attachments": [], "problem": problem}
    if len(_BOUNDARY.findall(raw)) > PARTS:
        return found | {"problem": "it has too many parts to be read"}
    try:
        parsed = BytesParser(policy=email.policy.compat32).parsebytes(raw)
        texts, attachments = _contents(parsed, attached=attached)
    except (RecursionError, ValueError, LookupError, KeyError, TypeError, AttributeError, IndexError) as error:
        return found | {"problem": f"its content cannot be read: {type(error).__name__}"}
    text, quoted = split("\n\n".join(texts))
    return found | {"text": _cut(text, TEXT), "quoted": _cut(quoted, QUOTED), "attachments": attachments}


def outline(raw: bytes, problem: str) -> dict[str, Any]:
    """
    Return what the first headers say of a mail that could not be read. Never raises.
    """
    try:
        found = envelope(_headers(_outlined(raw), 2 * OUTLINE))
    except Exception:  # noqa: BLE001  # whatever it is: one mail must not hold up the others
        found = envelope(Message())
    return {**found, "text": "", "quoted": "", "attachments": [], "problem": problem}


def _outlined(raw: bytes) -> bytes:
    """
    Return the first headers of a mail, and of those behind them what says that a machine sent it.
    """
    head = re.split(rb"\r?\n\r?\n", raw[:HEAD], maxsplit=1)[0]
    if len(head) <= OUTLINE:
        return head
    first = head[:OUTLINE].rpartition(b"\n")[0].rstrip(b"\r") or head[:OUTLINE]
    return b"\r\n".join([first, *_SAYS_SO.findall(head, len(first))[:SAID]])


def _headers(raw: bytes, most: int = HEAD) -> Message:
    head = re.split(rb"\r?\n\r?\n", raw[:most], maxsplit=1)[0]
    return BytesParser(policy=email.policy.compat32).parsebytes(head + b"\r\n\r\n", headersonly=True)


def _header(message: Message, name: str, most: int = HEADER) -> str:
    value = message.get(name)
    if value is None:
        return ""
    text = str(value)[: most * 4]
    with contextlib.suppress(Exception):
        text = str(make_header(decode_header(text)))
    return _SPACE.sub(" ", _clean(text).replace("\n", " ").replace("\r", " ")).strip()[:most]


def _addresses(message: Message, header: str) -> list[tuple[str, str]]:
    values = [str(value)[: HEADER * 10] for value in message.get_all(header, [])][:20]
    found = []
    try:
        pairs = getaddresses(values)[:100]
    except (RecursionError, ValueError, TypeError, IndexError, AttributeError):  # a comment in a comment in a comment
        pairs = []
    for name, address in pairs:
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
    return re.findall(r"<([!-;=?-~]{1,990})>", text)


def envelope(message: Message) -> dict[str, Any]:
    """
    Return what the headers of a mail say.
    """
    own = (ids(_header(message, "message-id")) or [""])[0]
    answered = next(iter(ids(_header(message, "in-reply-to"))), None)
    references = ids(_header(message, "references", 10 * HEADER))
    name, sender = (_addresses(message, "from") or [("", "")])[0]
    reply_to = next((address for _, address in _addresses(message, "reply-to")), sender)
    why = automatic(message, sender)
    if why is None and _MACHINES.match(reply_to):
        why = f"Reply-To: {reply_to}"
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
        "reply_to": reply_to,
        "references": references[:1] + references[1:][-REFERENCES:],
        "marked": bool(_header(message, "x-penstock-run")),
    }


def _date(message: Message) -> str | None:
    try:
        return parsedate_to_datetime(str(message.get("date"))).isoformat()
    except (ValueError, TypeError, OverflowError, IndexError):
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
    for name in ROBOTS:
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


def _contents(message: Message, *, attached: bool) -> tuple[list[str], list[dict[str, Any]]]:
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
            charset = part.get_content_charset() if attached else None
            attachments.append(_attachment(name or "", kind, data, charset, read=attached))
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


def _attachment(name: str, kind: str, data: bytes, charset: str | None, *, read: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "type": _clean(kind)[:100], "size": len(data)}
    if not read:
        return found
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
    for name in (None if _TRICKS.match(charset or "") else charset, "utf-8", "latin-1"):
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
        if _HIDDEN.search(style):
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
    quotes = _only_quotes_from(lines)
    cut = next((number for number in range(len(lines)) if number >= quotes or _begins(lines, number)), len(lines))
    own = _LINES.sub("\n\n", "\n".join(lines[:cut])).strip()
    return own, _LINES.sub("\n\n", "\n".join(lines[cut:])).strip()


def _only_quotes_from(lines: Sequence[str]) -> int:
    """
    Return the line from which on every one is quoted or empty; what is answered in between belongs to the answer.
    """
    number = first = len(lines)
    while number and (lines[number - 1].startswith(">") or not lines[number - 1].strip()):
        number -= 1
        if lines[number].startswith(">"):
            first = number
    return first


def _begins(lines: Sequence[str], number: int) -> bool:
    """
    Say whether the line is one that mail programs write above what they quote.
    """
    line, following = lines[number], lines[number + 1 : number + 6]
    if _WROTE.fullmatch(line) or (following and _WROTE.fullmatch(f"{line} {following[0]}")):  # or wrapped
        return any(one.startswith(">") for one in following)
    if _ORIGINAL.fullmatch(line):
        return True
    return bool(_FROM.fullmatch(line)) and any(_SENT.fullmatch(one) for one in following[:3])


def _clean(text: str) -> str:
    """
    Return *text* without what is not seen: controls, zero-width and bidirectional marks, halves of characters.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co"))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + " […]"
