"""
One connection to the pretended IMAP server: what our client says and no more (RFC 3501, 2177, 4315, 6851).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from connectors.mailbox.double_folders import Folder, Mail
from connectors.mailbox.double_words import Word, announced, quoted, text, words

CAPABILITIES = "IMAP4rev1 IDLE UIDPLUS MOVE LITERAL+"
_LONGEST = 64 * 1024 * 1024  # bytes of a literal
_BODY = re.compile(r"BODY(\.PEEK)?\[(?:HEADER\.FIELDS \(([^)]*)\))?\](?:<(\d+)\.(\d+)>)?", re.IGNORECASE)
_TIME = "%d-%b-%Y %H:%M:%S %z"


class Refused(Exception):
    """
    The server says NO.
    """


class Mailbox(Protocol):
    """
    What the connections have in common.
    """

    folders: dict[str, Folder]

    def admits(self, user: str, password: str) -> bool:
        """
        Say whether that is who may come in.
        """
        ...


class Imap:
    """
    One connection.
    """

    def __init__(self, mailbox: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._writer = writer
        self._in = False
        self._folder: Folder | None = None
        self._writes = False
        """Whether the folder was opened to be changed."""
        self._shown: list[Mail] = []
        """The mails of the folder as the client knows them, by their places."""
        self._verbs: Mapping[str, Callable[[list[Word]], Awaitable[str]]] = {
            "CAPABILITY": self._capability,
            "LOGIN": self._login,
            "LOGOUT": self._logout,
            "NOOP": self._noop,
            "LIST": self._list,
            "CREATE": self._create,
            "SELECT": self._select,
            "EXAMINE": self._examine,
            "APPEND": self._append,
            "IDLE": self._idle,
            "EXPUNGE": self._expunge,
            "UID SEARCH": self._search,
            "UID FETCH": self._fetch,
            "UID STORE": self._store,
            "UID COPY": self._copy,
            "UID MOVE": self._move,
            "UID EXPUNGE": self._expunge,
        }

    async def serve(self) -> None:
        """
        Answer until the client leaves.
        """
        await self._say(f"* OK [CAPABILITY {CAPABILITIES}] a pretended mailbox")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):  # a line without end
            while (pieces := await self._heard()) is not None:
                tag, _, _ = pieces[0].partition(b" ")
                if await self._answer(tag.decode("latin-1").strip(), pieces):
                    return

    async def _heard(self) -> list[bytes] | None:
        """
        Return the lines of one command with the literals between them; None when the client is gone.
        """
        pieces = [await self._reader.readline()]
        while literal := announced(pieces[-1]):
            size, waits = literal
            if size > _LONGEST:
                return None
            if waits:
                await self._say("+ go on")
            pieces += [await self._reader.readexactly(size), await self._reader.readline()]
        return pieces if pieces[-1].endswith(b"\n") else None

    async def _answer(self, tag: str, pieces: Sequence[bytes]) -> bool:
        """
        Do what was asked; True when that was to leave.
        """
        name = ""
        try:
            _, verb, *rest = words(pieces)
            name = text(verb).upper()
            if name == "UID" and rest:
                name = f"UID {text(rest.pop(0)).upper()}"
            said = await self._verb(name)(rest)
            await self._news()
            await self._say(f"{tag} OK {said}")
        except Refused as refusal:
            await self._say(f"{tag} NO {refusal}")
        except (ValueError, IndexError) as error:
            await self._say(f"{tag} BAD {error}")
        return name == "LOGOUT"

    def _verb(self, name: str) -> Callable[[list[Word]], Awaitable[str]]:
        if not self._in and name not in ("CAPABILITY", "LOGIN", "LOGOUT", "NOOP"):
            raise ValueError("not before LOGIN")
        if name not in self._verbs:
            raise ValueError(f"nobody here knows {name}")
        return self._verbs[name]

    async def _say(self, *lines: str | bytes) -> None:
        for line in lines:
            self._writer.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        await self._writer.drain()

    async def _news(self) -> None:
        """
        Tell what became of the folder since the client heard of it.
        """
        if self._folder is None:
            return
        there = self._folder.mails
        for mail in [mail for mail in reversed(self._shown) if mail not in there]:
            await self._say(f"* {self._shown.index(mail) + 1} EXPUNGE")
            self._shown.remove(mail)
        if len(self._shown) != len(there):
            self._shown = list(there)
            await self._say(f"* {len(there)} EXISTS")

    # ---- who, and where ---------------------------------------------------------------------------

    async def _capability(self, _rest: list[Word]) -> str:
        await self._say(f"* CAPABILITY {CAPABILITIES}")
        return "done"

    async def _login(self, rest: list[Word]) -> str:
        if not self._mailbox.admits(text(rest[0]), text(rest[1])):
            raise Refused("[AUTHENTICATIONFAILED] Authentication failed.")
        self._in = True
        return f"[CAPABILITY {CAPABILITIES}] welcome"

    async def _logout(self, _rest: list[Word]) -> str:
        await self._say("* BYE goodbye")
        return "done"

    async def _noop(self, _rest: list[Word]) -> str:
        return "done"

    async def _list(self, rest: list[Word]) -> str:
        wanted = text(rest[1])
        for name in self._mailbox.folders:
            if wanted in ("*", "%", name):
                await self._say(b'* LIST (\\HasNoChildren) "/" ' + quoted(name))
        return "done"

    async def _create(self, rest: list[Word]) -> str:
        name = text(rest[0])
        if name in self._mailbox.folders:
            raise Refused("[ALREADYEXISTS] Mailbox already exists")
        self._mailbox.folders[name] = Folder(name)
        return "done"

    def _named(self, word: Word) -> Folder:
        folder = self._mailbox.folders.get(text(word))
        if folder is None:
            raise Refused(f"[TRYCREATE] Mailbox doesn't exist: {text(word)}")
        return folder

    async def _examine(self, rest: list[Word]) -> str:
        return await self._select(rest, writes=False)

    async def _select(self, rest: list[Word], *, writes: bool = True) -> str:
        self._folder, self._shown = None, []
        folder = self._named(rest[0])
        self._folder, self._writes, self._shown = folder, writes, list(folder.mails)
        kept = "\\Answered \\Flagged \\Deleted \\Seen \\Draft"
        await self._say(
            f"* FLAGS ({kept})",
            f"* OK [PERMANENTFLAGS ({kept if writes else ''})] kept",
            f"* {len(folder.mails)} EXISTS",
            "* 0 RECENT",
            f"* OK [UIDVALIDITY {folder.validity}] valid",
            f"* OK [UIDNEXT {folder.following}] next",
        )
        return "[READ-WRITE] selected" if writes else "[READ-ONLY] selected"

    @property
    def _open(self) -> Folder:
        if self._folder is None:
            raise ValueError("no folder is selected")
        return self._folder

    @property
    def _changed(self) -> Folder:
        if not self._writes:
            raise Refused("the folder was opened to be read")
        return self._open

    async def _idle(self, _rest: list[Word]) -> str:
        news = asyncio.Event()
        self._open.watching.add(news)
        ended = asyncio.ensure_future(self._reader.readline())
        try:
            await self._say("+ idling")
            while not ended.done():
                news.clear()
                await self._news()
                told = asyncio.ensure_future(news.wait())
                await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
                told.cancel()
            if ended.result().strip().upper() != b"DONE":
                raise ValueError("DONE was to come")
            return "done"
        finally:
            ended.cancel()
            self._open.watching.discard(news)

    # ---- mails ------------------------------------------------------------------------------------

    async def _search(self, rest: list[Word]) -> str:
        found = [str(mail.uid) for mail in self._open.search(rest)]
        await self._say(" ".join(["* SEARCH", *found]))
        return "done"

    async def _fetch(self, rest: list[Word]) -> str:
        items = rest[1] if isinstance(rest[1], list) else rest[1:]
        for mail in self._open.chosen(text(rest[0])):
            await self._give(mail, [text(item) for item in items])
        return "done"

    async def _give(self, mail: Mail, items: Sequence[str]) -> None:
        await self._news()  # so that it has a place
        parts = [b"UID %d" % mail.uid]
        for item in items:
            if found := _BODY.fullmatch(item):
                parts.append(_body(mail, found))
                if not found[1] and self._writes:
                    mail.flags.add("\\Seen")
            elif item.upper() == "RFC822.SIZE":
                parts.append(b"RFC822.SIZE %d" % len(mail.raw))
            elif item.upper() == "INTERNALDATE":
                parts.append(b"INTERNALDATE " + quoted(mail.came.strftime(_TIME)))
            elif item.upper() == "FLAGS":
                parts.append(_flags(mail))
            else:
                raise ValueError(f"nobody here fetches {item}")
        await self._say(b"* %d FETCH (%b)" % (self._shown.index(mail) + 1, b" ".join(parts)))

    async def _store(self, rest: list[Word]) -> str:
        folder, how = self._changed, text(rest[1]).upper()
        if how.removesuffix(".SILENT") not in ("+FLAGS", "-FLAGS") or not isinstance(rest[2], list):
            raise ValueError(f"nobody here stores {how}")
        flags = {text(flag) for flag in rest[2]}
        for mail in folder.chosen(text(rest[0])):
            mail.flags = mail.flags | flags if how[0] == "+" else mail.flags - flags
            if not how.endswith(".SILENT"):
                await self._give(mail, ["FLAGS"])
        return "done"

    async def _append(self, rest: list[Word]) -> str:
        folder, more, raw = self._named(rest[0]), rest[1:-1], rest[-1]
        if isinstance(raw, list):
            raise ValueError("there is no mail")  # noqa: TRY004  # it is the client's mistake
        flags = {text(flag) for one in more if isinstance(one, list) for flag in one}
        came = next((_instant(text(one)) for one in more if not isinstance(one, list)), None)
        mail = folder.put(raw, flags, came)
        return f"[APPENDUID {folder.validity} {mail.uid}] done"

    async def _copy(self, rest: list[Word]) -> str:
        return f"[COPYUID {self._copied(self._open.chosen(text(rest[0])), self._named(rest[1]))}] done"

    async def _move(self, rest: list[Word]) -> str:
        mails = self._changed.chosen(text(rest[0]))
        await self._say(f"* OK [COPYUID {self._copied(mails, self._named(rest[1]))}] moved")
        self._open.take(mails)
        return "done"

    def _copied(self, mails: Sequence[Mail], into: Folder) -> str:
        copies = [into.put(mail.raw, set(mail.flags), mail.came) for mail in mails]
        olds, news = (",".join(str(mail.uid) for mail in some) for some in (mails, copies))
        return f"{into.validity} {olds} {news}"

    async def _expunge(self, rest: list[Word]) -> str:
        some = self._changed.chosen(text(rest[0])) if rest else self._changed.mails
        self._open.take([mail for mail in some if "\\Deleted" in mail.flags])
        return "done"


def _instant(said: str) -> datetime:
    return datetime.strptime(said.strip(), _TIME).astimezone(UTC)


def _flags(mail: Mail) -> bytes:
    return f"FLAGS ({' '.join(sorted(mail.flags))})".encode()


def _body(mail: Mail, wanted: re.Match[str]) -> bytes:
    _, fields, begin, most = wanted.groups()
    raw = mail.raw if fields is None else mail.head(fields.split())
    label = "BODY[]" if fields is None else f"BODY[HEADER.FIELDS ({fields})]"
    if begin is not None:
        raw, label = raw[int(begin) : int(begin) + int(most)], f"{label}<{begin}>"
    return b"%b {%d}\r\n%b" % (label.encode(), len(raw), raw)
