"""
The folders of a pretended mailbox, and what is looked for in them.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser

from connectors.mailbox.double_words import Word, numbers, text

_VALIDITIES = itertools.count(int(datetime.now(UTC).timestamp()))
_NEWLINE = re.compile(rb"\r?\n")
FLAGS = {"DELETED": "\\Deleted", "DRAFT": "\\Draft", "SEEN": "\\Seen", "ANSWERED": "\\Answered", "FLAGGED": "\\Flagged"}
_FIELDS = ("FROM", "TO", "CC", "SUBJECT")


@dataclass(eq=False)
class Mail:
    """
    One mail in one folder.
    """

    uid: int
    raw: bytes
    flags: set[str]
    came: datetime

    def header(self, name: str) -> list[str]:
        """
        Return the values of a header, as people read them.
        """
        return [_readable(str(value)) for value in BytesHeaderParser().parsebytes(self.raw).get_all(name) or ()]

    def head(self, names: Sequence[str]) -> bytes:
        """
        Return the lines of the headers *names*, and the empty one behind them.
        """
        wanted, lines, chosen = {name.lower() for name in names}, b"", False
        for line in self.raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            if line[:1] not in (b" ", b"\t"):
                chosen = line.partition(b":")[0].decode("latin-1").strip().lower() in wanted
            lines += line + b"\r\n" if chosen else b""
        return lines + b"\r\n"


@dataclass(eq=False)
class Folder:
    """
    One folder.
    """

    name: str
    mails: list[Mail] = field(default_factory=list)
    following: int = 1
    """The next UID."""
    validity: int = field(default_factory=lambda: next(_VALIDITIES))
    watching: set[asyncio.Event] = field(default_factory=set)
    """Of those who wait for news."""

    def put(self, raw: bytes, flags: set[str] | None = None, came: datetime | None = None) -> Mail:
        """
        Lay a mail into the folder.
        """
        lines = _NEWLINE.sub(b"\r\n", raw)
        mail = Mail(uid=self.following, raw=lines, flags=flags or set(), came=came or datetime.now(UTC))
        self.following += 1
        self.mails.append(mail)
        self._tell()
        return mail

    def take(self, gone: Sequence[Mail]) -> None:
        """
        Take mails out of the folder.
        """
        self.mails = [mail for mail in self.mails if mail not in gone]
        self._tell()

    def chosen(self, ranges: str) -> list[Mail]:
        """
        Return mails by their UIDs; raises `ValueError`.
        """
        wanted = set(numbers(ranges, [mail.uid for mail in self.mails]))
        return [mail for mail in self.mails if mail.uid in wanted]

    def search(self, criteria: Sequence[Word]) -> list[Mail]:
        """
        Return the mails that fit all *criteria*; raises `ValueError` for those that nobody here needs.
        """
        left, tests = list(criteria), []
        while left:
            tests.append(self._test(left))
        return [mail for mail in self.mails if all(test(mail) for test in tests)]

    def _test(self, left: list[Word]) -> Callable[[Mail], bool]:
        word = left.pop(0)
        if isinstance(word, list):
            inner = self.search(word)
            return lambda mail: mail in inner
        name = word.decode("latin-1").upper()
        if name == "ALL":
            return lambda _mail: True
        if name.removeprefix("UN") in FLAGS:
            flag, wanted = FLAGS[name.removeprefix("UN")], not name.startswith("UN")
            return lambda mail: (flag in mail.flags) == wanted
        if name == "OR":
            one, other = self._test(left), self._test(left)
            return lambda mail: one(mail) or other(mail)
        if name == "NOT":
            test = self._test(left)
            return lambda mail: not test(mail)
        return self._of_argument(name, left)

    def _of_argument(self, name: str, left: list[Word]) -> Callable[[Mail], bool]:
        if name == "UID":
            found = self.chosen(text(left.pop(0)))
            return lambda mail: mail in found
        if name == "SINCE":
            day = datetime.strptime(text(left.pop(0)), "%d-%b-%Y").date()  # noqa: DTZ007  # a day has no zone
            return lambda mail: mail.came.date() >= day
        if name == "HEADER" or name in _FIELDS:
            header = text(left.pop(0)) if name == "HEADER" else name
            part = text(left.pop(0)).lower()
            return lambda mail: any(part in value.lower() for value in mail.header(header))
        raise ValueError(f"nobody here searches by {name}")

    def _tell(self) -> None:
        for one in self.watching:
            one.set()


def _readable(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (LookupError, ValueError):
        return value
