"""
One connection to a mailbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imapclient import IMAPClient

from connectors.contract import Action, Call, Delivery, Health, JsonSchema, Lookup, Received, Sample, Source
from connectors.mailbox import folders
from connectors.mailbox.declaration import EVENTS, SOURCE
from connectors.mailbox.finding import Finding
from connectors.mailbox.imap import Desk, Imap, Server
from connectors.mailbox.inbox import Inbox
from connectors.mailbox.reader import Reader
from connectors.mailbox.sent import Sent
from connectors.mailbox.signing_in import SigningIn
from connectors.mailbox.smtp import Post
from connectors.mailbox.writing import Writing
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, Invalid, Rejected, Unavailable
from penstock.http import Http
from schemas.events import Event

IMAP_PORTS = {"tls": 993, "starttls": 143, "none": 143}
SMTP_PORTS = {"tls": 465, "starttls": 587, "none": 25}
LOCAL = ("127.0.0.1", "localhost")


class MailboxConnector:
    """
    IMAP in, SMTP and IMAP out; mails are read in processes of their own.
    """

    name = "mailbox"
    accepts: frozenset[str] = frozenset()
    events: Mapping[str, JsonSchema] = EVENTS
    samples: Sequence[Sample] = ()

    def __init__(self, settled: Settled, http: Http, clock: Clock) -> None:
        self.acts_as: str | None = None
        self._settings = settled.values
        self._clock = clock
        settings, user = self._settings, self._settings["user"]
        server = _server(settings["imap"], settings["security"], IMAP_PORTS)
        signing_in = SigningIn(settled, http, clock)
        self._post = Post(_server(settings["smtp"], settings["smtp_security"], SMTP_PORTS), user, signing_in)
        self._desk = Desk(lambda: Imap(server, user, signing_in, clock), clock)
        self._watch = Imap(server, user, signing_in, clock)
        self._readers = (Reader(), Reader())
        """For new mails, and for lookups and actions: a mail that takes its time holds up one of them."""
        sent = Sent(self._desk, settings["sent"], clock)
        finding = Finding(settings, desk=self._desk, reader=self._readers[1])
        self._writing = Writing(
            settings, desk=self._desk, sent=sent, post=self._post, clock=clock, original=finding.original
        )
        self._inbox = Inbox(settings, self._watch, self._readers[0], clock)
        self.actions: Mapping[str, Action] = self._writing.all()
        self.lookups: Mapping[str, Lookup] = finding.all()
        source = Source(name=SOURCE.name, description=SOURCE.description, every=SOURCE.every, read=self._inbox.read)
        self.sources: Mapping[str, Source] = {SOURCE.name: source}

    def __repr__(self) -> str:
        return f"<mailbox {self._inbox.place}>"

    def receive(self, delivery: Delivery) -> Received:
        """
        Refuse: a mailbox delivers nothing.
        """
        del delivery
        raise Rejected(f"{self.name!r} takes no deliveries.")

    def own(self, event: Event) -> str | None:
        """
        Return why a mail is our own; None when it is not.
        """
        if event.actor == self._settings["address"].lower():
            return f"actor={event.actor}"
        return "its Message-ID is one of ours" if self._writing.ours(str(event.data.get("id") or "")) else None

    async def health(self, call: Call) -> Health:
        """
        Look at the folders, and sign in where mails go out.
        """
        started = self._clock.monotonic()
        try:
            await self._desk.do(self._folders, call.deadline)
            await self._post.greet(max(0.0, call.deadline - self._clock.monotonic()))
        except AuthFailed as error:
            return Health(state="auth", detail=str(error))
        except Unavailable as error:
            return Health(state="down", detail=str(error))
        except EdgeError as error:
            return Health(state="degraded", detail=str(error))
        self.acts_as = self._settings["address"].lower()
        return Health(
            state="ok",
            detail=f"reads {self._settings['folder']} of {self._settings['address']}",
            acts_as=self.acts_as,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
        )

    def _folders(self, client: IMAPClient) -> None:
        for setting in ("sent", "drafts", "folder"):
            folders.select(client, self._settings[setting])

    async def close(self) -> None:
        """
        Give connections, threads and processes back.
        """
        await self._desk.close()
        await self._watch.close()
        for reader in self._readers:
            await reader.close()


def _server(written: str, security: str, usual: dict[str, int]) -> Server:
    server = Server.read(written, security, usual)
    if security == "none" and server.host not in LOCAL:
        raise Invalid("`security: none` is for servers on this machine only", hint="use `tls` or `starttls`")
    return server


def open(settled: Settled, *, http: Http, clock: Clock) -> MailboxConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection to a mailbox; raises `Invalid`.
    """
    return MailboxConnector(settled, http, clock)
