"""
What we write: mails that say they are automatic, named by the step's key, and found by that name again.

A reply is put among the sent mails, marked as not sent yet, before it is handed over; when the server has taken it the
mark goes. So a worker that died leaves a trace whenever a mail may have left: it is never sent twice, and when nobody can
tell, a person decides.
"""

from __future__ import annotations

import email.policy
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.parser import BytesParser
from email.utils import format_datetime, formataddr
from typing import Any

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

from connectors.contract import Action, ActionSpec, Call, WriteMode, Written
from connectors.mailbox import imap, smtp
from connectors.mailbox.declaration import ACTIONS
from connectors.mailbox.imap import UNSENT, Imap, Server
from connectors.mailbox.signing_in import SigningIn
from penstock.clock import Clock
from penstock.errors import NotFound, Rejected, Unavailable, UnknownOutcome

TIMEOUT = 45.0  # seconds
RUN = "X-Penstock-Run"
SLOT = "X-Penstock-Slot"
REFERENCES = 20  # Message-IDs at most

Found = Callable[[str, float], Any]


class Writing:
    """
    The actions of one mailbox.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        work: Imap,
        post: Server,
        signing_in: SigningIn,
        clock: Clock,
        original: Callable[[str, float], Any],
    ) -> None:
        self._settings = settings
        self._imap = work
        self._post = post
        self._signing_in = signing_in
        self._clock = clock
        self._original = original
        self._address: str = settings["address"]
        self._domain = self._address.rpartition("@")[2]

    def all(self) -> Mapping[str, Action]:
        """
        Return every action by its name.
        """
        sent, drafts = self._settings["sent"], self._settings["drafts"]
        return {
            "reply": self._made("reply", self._reply, functools.partial(self._find, sent)),
            "draft": self._made("draft", self._draft, functools.partial(self._find, drafts)),
            "forward": self._made("forward", self._forward, functools.partial(self._find, sent)),
        }

    def _made(self, name: str, write: Any, find: Any) -> Action:
        spec: ActionSpec = ACTIONS[name]
        return Action(
            name=name,
            description=spec.description,
            idempotency=spec.idempotency,
            takes=spec.takes,
            modes=spec.modes,
            sets=spec.sets,
            emits=spec.emits,
            touches=spec.touches,
            reads=spec.reads,
            key_lifetime=None,
            timeout=TIMEOUT,
            write=write,
            find=find,
        )

    def message_id(self, key: str) -> str:
        """
        Return the Message-ID of what the step with *key* writes.
        """
        return f"{key}@penstock.{self._domain}"

    def ours(self, message_id: str) -> bool:
        """
        Tell whether a Message-ID is one of ours.
        """
        return message_id.endswith(f"@penstock.{self._domain}")

    # ---- actions ----------------------------------------------------------------------------------

    async def _reply(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        original = (await self._original(record, call.deadline))[0]
        to = self._answerable(original)
        await self._not_too_many(to, call)
        return await self._send(self._answer(original, to, _text(args), call), [to], call)

    async def _draft(self, record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        original = (await self._original(record, call.deadline))[0]
        message = self._answer(original, self._answerable(original), _text(args), call)
        folder, slot = self._settings["drafts"], call.slot
        raw = message.as_bytes(policy=email.policy.SMTP)

        def put(client: IMAPClient) -> None:
            _, _ = imap.select(client, folder, write=True)
            earlier = imap.with_header(client, SLOT, slot) if mode == "replace-own" and slot else []
            call.fence()
            client.append(folder, raw, flags=(b"\\Draft", b"\\Seen"))
            if earlier:
                client.delete_messages(earlier)
                client.expunge(earlier)

        await self._surely(put, call)
        return Written(remote_id=self.message_id(call.key))

    async def _forward(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        recipients = self._settings.get("forward_to")
        if not recipients:
            raise Rejected("'forward' needs `forward_to` in the settings of the connection.")
        original, raw = await self._original(record, call.deadline)
        message = MIMEMultipart()
        self._head(message, call, subject=f"Fwd: {original['subject']}"[:900], to=recipients)
        message.attach(MIMEText(_text(args), "plain", "utf-8"))
        message.attach(MIMEMessage(BytesParser(policy=email.policy.compat32).parsebytes(raw)))
        return await self._send(message, recipients, call)

    async def _find(self, folder: str, _record: str, _mode: WriteMode, call: Call) -> Written | None:
        message_id = self.message_id(call.key)

        def look(client: IMAPClient) -> list[imap.Fetched]:
            imap.select(client, folder)
            return imap.fetch(client, imap.with_header(client, "Message-ID", f"<{message_id}>")[:1])

        found = await self._imap.do(look, call.deadline)
        if not found:
            return None
        if UNSENT in found[0].flags and folder == self._settings["sent"]:
            raise UnknownOutcome(f"the mail {message_id} was about to be sent; nobody can tell whether it was")
        return Written(remote_id=message_id, already=True)

    # ---- what they are made of --------------------------------------------------------------------

    def _answerable(self, original: Mapping[str, Any]) -> str:
        """
        Return who to answer; raises `Rejected` for what no machine may answer (RFC 3834).
        """
        if original["automatic"]:
            raise Rejected(f"Automatic mail is never answered: {original['automatic_why']}.")
        to = str((original["reply_to"] or [original["from"]])[0])
        if not to or to.lower() == self._address.lower() or self.ours(original["id"]):
            raise Rejected("We do not answer ourselves.")
        return to

    async def _not_too_many(self, to: str, call: Call) -> None:
        most, folder = int(self._settings["replies_per_day"]), self._settings["sent"]

        def count(client: IMAPClient) -> int:
            imap.select(client, folder)
            wanted = ["SINCE", imap.today(), "TO", to, "HEADER", RUN, ""]
            return len(client.search(wanted))

        if await self._imap.do(count, call.deadline) >= most:
            raise Rejected(f"{to} got {most} automatic replies today already (`replies_per_day`).")

    def _answer(self, original: Mapping[str, Any], to: str, text: str, call: Call) -> EmailMessage:
        message = EmailMessage()
        subject = str(original["subject"])
        self._head(message, call, subject=subject if subject.lower().startswith("re:") else f"Re: {subject}", to=[to])
        if original["id"]:
            message["In-Reply-To"] = f"<{original['id']}>"
            known = [*original["references"], original["id"]][-REFERENCES:]
            message["References"] = " ".join(f"<{one}>" for one in known)
        message.set_content(text)
        return message

    def _head(self, message: Any, call: Call, *, subject: str, to: Sequence[str]) -> None:
        message["From"] = formataddr(("", self._address))
        message["To"] = ", ".join(to)
        message["Subject"] = " ".join(subject.split())[:900]
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = f"<{self.message_id(call.key)}>"
        message["Auto-Submitted"] = "auto-replied"
        message["X-Auto-Response-Suppress"] = "All"
        message[RUN] = f"penstock:{call.key[:16]}"
        message[SLOT] = call.slot or "none"

    async def _send(self, message: Any, recipients: Sequence[str], call: Call) -> Written:
        folder, message_id = self._settings["sent"], self.message_id(call.key)
        raw = message.as_bytes(policy=email.policy.SMTP)
        call.fence()
        await self._surely(lambda client: self._keep(client, folder, raw), call)
        left = max(0.5, call.deadline - self._clock.monotonic())
        try:
            await smtp.send(
                self._post,
                self._settings["user"],
                self._signing_in,
                sender=self._address,
                recipients=recipients,
                raw=raw,
                within=left,
                last=call.fence,
            )
        except UnknownOutcome:
            raise
        except BaseException:
            await self._settled(folder, message_id, sent=False)
            raise
        await self._settled(folder, message_id, sent=True)
        return Written(remote_id=message_id)

    def _keep(self, client: IMAPClient, folder: str, raw: bytes) -> None:
        try:
            client.append(folder, raw, flags=(UNSENT, b"\\Seen"))
        except IMAPClientError as error:
            if not client.folder_exists(folder):
                raise NotFound(f"there is no folder {folder!r} for what is sent (`sent`)") from None
            raise Unavailable(f"nothing can be kept in {folder!r}: {type(error).__name__}") from None

    async def _settled(self, folder: str, message_id: str, *, sent: bool) -> None:
        """
        Let the copy say that it was sent, or take it away; when that fails, a person decides about it.
        """

        def settle(client: IMAPClient) -> None:
            imap.select(client, folder, write=True)
            found = imap.with_header(client, "Message-ID", f"<{message_id}>")
            if sent:
                client.remove_flags(found, (UNSENT,))
            elif found:
                client.delete_messages(found)
                client.expunge(found)

        try:
            await self._imap.do(settle, self._clock.monotonic() + TIMEOUT)
        except (Unavailable, NotFound, Rejected):
            if sent:
                raise UnknownOutcome(f"the mail {message_id} was sent, and its copy could not say so") from None

    async def _surely(self, work: Callable[[IMAPClient], None], call: Call) -> None:
        """
        Do what leaves something behind: a lost answer is not known to have done nothing.
        """
        try:
            await self._imap.do(work, call.deadline)
        except Unavailable as error:
            raise UnknownOutcome(str(error)) from None


def _text(args: Mapping[str, Any]) -> str:
    text = args.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Rejected("There is nothing to write.")
    return text
