"""
Sends one mail over SMTP, through aiosmtplib, and says how certain its end is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiosmtplib

from connectors.mailbox.imap import Server
from connectors.mailbox.signing_in import SigningIn, context
from penstock.errors import AuthFailed, Rejected, Unavailable, UnknownOutcome


async def send(
    server: Server,
    user: str,
    signing_in: SigningIn,
    *,
    sender: str,
    recipients: Sequence[str],
    raw: bytes,
    within: float,
    last: Callable[[], None],
) -> None:
    """
    Hand a mail over; *last* is called right before its content leaves.

    Raises `Unavailable` and `Rejected` when nothing was taken, `UnknownOutcome` when nobody can tell.
    """
    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.security == "tls",
        start_tls=server.security == "starttls",
        tls_context=None if server.security == "none" else context(),
        timeout=within,
    )
    content = False
    try:
        async with asyncio.timeout(within):
            await client.connect()
            await _sign_in(client, user, signing_in)
            await client.mail(sender)
            for recipient in recipients:
                await client.rcpt(recipient)
            last()
            content = True
            await client.data(raw)
            content = False
    except (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, TimeoutError, OSError) as error:
        if content:
            raise UnknownOutcome(f"{server.host}: the mail was sent, and no answer came: {_said(error)}") from None
        raise Unavailable(f"{server.host}: {_said(error)}") from None
    except aiosmtplib.SMTPAuthenticationError as error:
        await signing_in.refused()
        raise AuthFailed(f"{server.host} refuses to let us in: {error.code}") from None
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _refused(server, error.recipients[0].code, _said(error.recipients[0])) from None
    except aiosmtplib.SMTPResponseException as error:
        raise _refused(server, error.code, error.message) from None
    except (aiosmtplib.SMTPException, ValueError) as error:
        raise Rejected(f"{server.host}: {_said(error)}") from None
    finally:
        client.close()


async def _sign_in(client: aiosmtplib.SMTP, user: str, signing_in: SigningIn) -> None:
    secret = await signing_in.secret()
    if signing_in.by_token:
        await client.auth_xoauth2(user, secret)
    elif client.supports_extension("auth"):
        await client.login(user, secret)


def _refused(server: Server, code: int, said: str) -> Unavailable | Rejected | AuthFailed:
    text = f"{server.host}: {code} {' '.join(said.split())[:200]}"
    if code in (530, 534, 535, 538):
        return AuthFailed(text)
    return Unavailable(text) if 400 <= code < 500 else Rejected(text)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
