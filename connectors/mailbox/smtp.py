"""
Sends one mail over SMTP, through aiosmtplib, and says how certain its end is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import aiosmtplib

from connectors.mailbox.imap import Server, for_now
from connectors.mailbox.signing_in import SigningIn, trust
from penstock.errors import AuthFailed, Rejected, Unavailable, UnknownOutcome

NOBODY = ""
"""The sender of what nobody shall answer, not even with a bounce (RFC 3834, RFC 5321)."""
_TROUBLE = (aiosmtplib.SMTPException, OSError, ValueError)


class Post:
    """
    The SMTP server of one mailbox.
    """

    def __init__(self, server: Server, user: str, signing_in: SigningIn) -> None:
        self._server = server
        self._user = user
        self._signing_in = signing_in

    async def send(
        self, raw: bytes, *, sender: str, recipients: Sequence[str], within: float, last: Callable[[], None]
    ) -> None:
        """
        Hand a mail over; *last* is called right before its content leaves.

        Raises `Unavailable`, `Rejected` and `AuthFailed` when nothing was taken, `UnknownOutcome` when nobody can tell.
        """
        client: aiosmtplib.SMTP | None = None
        stage: Literal["before", "content", "taken"] = "before"
        try:
            async with asyncio.timeout(within):
                client = await self._connected(within)
                await self._envelope(client, sender, recipients, raw)
                last()
                stage = "content"
                await client.data(raw)
                stage = "taken"
        except aiosmtplib.SMTPDataError as error:
            if not 200 <= error.code < 300:  # as good as 250
                raise await self._failure(error) from None
        except _TROUBLE as error:
            if stage == "content":
                said = self._said(error)
                raise UnknownOutcome(f"{self._server.host}: the mail was sent, and no answer came: {said}") from None
            if stage == "before":
                raise await self._failure(error) from None
        finally:
            if client is not None:
                client.close()

    async def greet(self, within: float) -> None:
        """
        Sign in, and nothing more; raises `Unavailable`, `Rejected` and `AuthFailed`.
        """
        try:
            async with asyncio.timeout(within):
                (await self._connected(within)).close()
        except _TROUBLE as error:
            raise await self._failure(error) from None

    async def _connected(self, within: float) -> aiosmtplib.SMTP:
        *others, last = await self._signing_in.secrets()
        for secret in others:  # during a rotation
            try:
                return await self._opened(secret, within)
            except aiosmtplib.SMTPAuthenticationError as error:
                if error.code < 500:
                    raise
        return await self._opened(last, within)

    async def _opened(self, secret: str, within: float) -> aiosmtplib.SMTP:
        client = self._client(within)
        try:
            await client.connect()
            await client.ehlo()  # `connect` says it for STARTTLS only, and its answer tells what the server can do
            await self._sign_in(client, secret)
        except BaseException:
            client.close()
            raise
        self._signing_in.worked(secret)
        return client

    def _client(self, within: float) -> aiosmtplib.SMTP:
        security = self._server.security
        return aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            use_tls=security == "tls",
            start_tls=security == "starttls",
            tls_context=None if security == "none" else trust(),
            timeout=within,
        )

    async def _sign_in(self, client: aiosmtplib.SMTP, secret: str) -> None:
        if self._signing_in.by_token:
            await client.auth_xoauth2(self._user, secret)
        elif client.supports_extension("auth"):
            await client.login(self._user, secret)

    async def _envelope(self, client: aiosmtplib.SMTP, sender: str, recipients: Sequence[str], raw: bytes) -> None:
        options = [f"SIZE={len(raw)}"] if client.supports_extension("size") else []
        if not raw.isascii() and client.supports_extension("8bitmime"):
            options.append("BODY=8BITMIME")
        try:
            await client.mail(sender, options=options)
        except aiosmtplib.SMTPSenderRefused as error:
            if sender == NOBODY and error.code >= 500:
                hint = "it takes no mail without a sender: set `return_path: address`"
                raise aiosmtplib.SMTPSenderRefused(error.code, f"{error.message} ({hint})", sender) from None
            raise
        for recipient in recipients:
            await client.rcpt(recipient)

    async def _failure(self, error: Exception) -> Unavailable | Rejected | AuthFailed:
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            text = f"{self._server.host} refuses to let us in: {error.code}"
            if error.code < 500 or for_now(error.message):
                return Unavailable(text)
            await self._signing_in.refused()
            return AuthFailed(text)
        if isinstance(error, aiosmtplib.SMTPResponseException):
            return self._refusal(error.code, error.message)
        if isinstance(error, OSError):  # lost connections and timeouts are, in aiosmtplib too
            return Unavailable(f"{self._server.host}: {self._said(error)}")
        return Rejected(f"{self._server.host}: {self._said(error)}")

    def _refusal(self, code: int, said: str) -> Unavailable | Rejected | AuthFailed:
        text = f"{self._server.host}: {code} {self._signing_in.hidden(' '.join(said.split()))[:300]}"
        if code in {530, 534, 535, 538}:
            return AuthFailed(text)
        return Rejected(text) if 500 <= code < 600 else Unavailable(text)

    def _said(self, error: BaseException) -> str:
        return self._signing_in.hidden(" ".join(str(error).split()))[:200] or type(error).__name__
