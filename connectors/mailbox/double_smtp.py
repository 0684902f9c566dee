"""
One connection to the pretended SMTP server: what our client says and no more (RFC 5321, 4954).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from dataclasses import dataclass, field
from typing import Protocol

LARGEST = 32 * 1024 * 1024  # bytes of a mail
GREETING = ("here", f"SIZE {LARGEST}", "8BITMIME", "AUTH PLAIN")


@dataclass
class Envelope:
    """
    A mail as it was handed over.
    """

    mail_from: str
    rcpt_tos: list[str] = field(default_factory=list)
    content: bytes = b""


class Office(Protocol):
    """
    What the connections have in common.
    """

    trouble: list[str]
    """What the next mails meet: an answer, one to `rcpt`, `drop-before`, `drop-after`, `garbage` or `hang`."""
    refuses_nobody: bool
    """Whether it takes no mail without a sender."""

    def admits(self, user: str, password: str) -> bool:
        """
        Say whether that is who may come in.
        """
        ...

    def post(self, envelope: Envelope) -> None:
        """
        Take a mail.
        """
        ...


class Smtp:
    """
    One connection.
    """

    def __init__(self, office: Office, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._office = office
        self._reader = reader
        self._writer = writer
        self._in = False
        self._envelope: Envelope | None = None

    async def serve(self) -> None:
        """
        Answer until the client leaves.
        """
        await self._say("220 a pretended post office")
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await self._reader.readline():
                verb, _, rest = line.decode("latin-1").strip().partition(" ")
                if verb.upper() == "DATA" and self._envelope is not None and self._envelope.rcpt_tos:
                    await self._data(self._envelope)
                elif not await self._answer(verb.upper(), rest):
                    return

    async def _answer(self, verb: str, rest: str) -> bool:
        """
        Answer one command; False when it was the last.
        """
        match verb:
            case "EHLO":
                last = len(GREETING) - 1
                await self._say(*(f"250{' ' if n == last else '-'}{word}" for n, word in enumerate(GREETING)))
            case "AUTH":
                await self._say(self._authenticated(rest))
            case "NOOP" | "RSET":
                self._envelope = None
                await self._say("250 done")
            case "QUIT":
                await self._say("221 goodbye")
            case "MAIL" | "RCPT" if not self._in:
                await self._say("530 5.7.0 Authentication required")
            case "MAIL":
                await self._say(self._from(_address(rest)))
            case "RCPT" if self._envelope is not None:
                await self._say(self._to(self._envelope, _address(rest)))
            case _:
                await self._say("503 5.5.1 not now")
        return verb != "QUIT"

    def _authenticated(self, rest: str) -> str:
        mechanism, _, proof = rest.partition(" ")
        with contextlib.suppress(binascii.Error, ValueError):
            _, user, password = base64.b64decode(proof, validate=True).decode().split("\x00")
            self._in = mechanism.upper() == "PLAIN" and self._office.admits(user, password)
        return "235 2.7.0 welcome" if self._in else "535 5.7.8 Authentication credentials invalid"

    def _from(self, address: str) -> str:
        if self._office.refuses_nobody and not address:
            return "550 5.7.1 no sender"
        self._envelope = Envelope(mail_from=address)
        return "250 2.1.0 done"

    def _to(self, envelope: Envelope, address: str) -> str:
        trouble = self._office.trouble
        if trouble and trouble[0].startswith("rcpt "):
            return trouble.pop(0).removeprefix("rcpt ")
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 done"

    async def _data(self, envelope: Envelope) -> None:
        self._envelope = None
        await self._say("354 go on")
        lines: list[bytes] = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line.endswith(b"\n"):
                return
            lines.append(line[1:] if line.startswith(b".") else line)
        envelope.content = b"".join(lines)
        trouble = self._office.trouble.pop(0) if self._office.trouble else ""
        if trouble in ("", "drop-after", "hang", "garbage"):
            self._office.post(envelope)
        if trouble == "hang":
            await asyncio.sleep(3.0)
        if trouble.startswith("drop") or trouble == "hang":
            self._writer.transport.abort()
        elif trouble == "garbage":
            await self._say("what did you say?")
        else:
            await self._say(trouble or "250 2.0.0 queued")

    async def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self._writer.drain()


def _address(said: str) -> str:
    return said.partition("<")[2].partition(">")[0]
