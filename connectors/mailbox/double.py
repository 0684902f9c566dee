"""
A pretended mailbox: an IMAP server and an SMTP server over real sockets, with the same folders behind them.

What is sent to its own address lies in its inbox; everything else that is sent is kept to be looked at. It says no more
than our client needs, and is held to the tests that a real Dovecot passes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default

from connectors.mailbox.double_folders import Folder
from connectors.mailbox.double_imap import Imap
from connectors.mailbox.double_smtp import LARGEST, Envelope, Smtp

ADDRESS, PASSWORD = "support@acme.example", "pretended-password"
FOLDERS = ("INBOX", "Sent", "Drafts", "Archive")


class MailboxDouble:
    """
    One mailbox with its servers.
    """

    def __init__(self, *, address: str = ADDRESS, password: str = PASSWORD) -> None:
        self.address = address
        self.folders = {name: Folder(name) for name in FOLDERS}
        self.sent: list[Envelope] = []
        """Every mail that was handed over, oldest first."""
        self.trouble: list[str] = []
        self.refuses_nobody = False
        self._password = password
        self._there: set[asyncio.StreamWriter] = set()

    def admits(self, user: str, password: str) -> bool:
        """
        Say whether that is who may come in.
        """
        return (user, password) == (self.address, self._password)

    def deliver(self, raw: bytes) -> None:
        """
        Let a mail arrive.
        """
        self.folders["INBOX"].put(raw)

    def post(self, envelope: Envelope) -> None:
        """
        Take a mail that is sent.
        """
        self.sent.append(envelope)
        if self.address in envelope.rcpt_tos:
            self.deliver(envelope.content)

    def read(self, folder: str) -> list[EmailMessage]:
        """
        Return what lies in a folder, oldest first.
        """
        mails = self.folders[folder].mails
        return [BytesParser(EmailMessage, policy=default).parsebytes(mail.raw) for mail in mails]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[int, int]]:
        """
        Serve it on this machine; yields the ports of IMAP and SMTP.
        """
        servers = [
            await asyncio.start_server(self._imap, "127.0.0.1", 0),
            await asyncio.start_server(self._smtp, "127.0.0.1", 0, limit=LARGEST),
        ]
        try:
            inward, outward = (int(server.sockets[0].getsockname()[1]) for server in servers)
            yield inward, outward
        finally:
            for server in servers:
                server.close()
            for writer in tuple(self._there):
                writer.transport.abort()

    async def _imap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._met(writer):
            await Imap(self, reader, writer).serve()

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._met(writer):
            await Smtp(self, reader, writer).serve()

    @contextlib.asynccontextmanager
    async def _met(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._there.add(writer)
        try:
            yield
        finally:
            self._there.discard(writer)
            writer.close()
