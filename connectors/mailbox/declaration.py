"""
What a mailbox offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.contract import JsonSchema
from connectors.described import Described
from connectors.settings import Setting, check_shapes, settings_schema
from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec, SourceSpec

NAME = "mailbox"
DESCRIPTION = "A mailbox: mails in over IMAP; replies, drafts and forwards out."
_SERVER = r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
_ADDRESS = r"^[^@\s<>\x22]+@[^@\s<>\x22]+$"

SETTINGS: Mapping[str, Setting] = {
    "address": Setting(
        description="Our own address: replies come from it.", pattern=_ADDRESS, example="support@acme.example"
    ),
    "imap": Setting(
        description="IMAP server, with a port when it is not 993.", pattern=_SERVER, example="imap.acme.example"
    ),
    "smtp": Setting(
        description="SMTP server, with a port when it is not 465.", pattern=_SERVER, example="smtp.acme.example"
    ),
    "user": Setting(description="Name to sign in with; `address` by default.", default="{address}"),
    "password": Setting(description="Password, or an app password.", secret=True, optional=True),
    "client_secret": Setting(description="Secret of the OAuth 2 client.", secret=True, optional=True),
    "refresh_token": Setting(
        description="Refresh token; without one the client signs in by itself.", secret=True, optional=True
    ),
    "oauth": Setting(
        description="OAuth 2 in place of a password: where tokens come from.",
        optional=True,
        shape={
            "type": "object",
            "additionalProperties": False,
            "required": ["token_url", "client_id"],
            "properties": {
                "token_url": {"type": "string", "pattern": "^(https://|http://(127\\.0\\.0\\.1|localhost)(:|/))"},
                "client_id": {"type": "string", "minLength": 1},
                "scope": {"type": "string"},
            },
        },
    ),
    "security": Setting(
        description="`tls`, `starttls`, or `none`, which is for this machine only.",
        default="tls",
        pattern="^(tls|starttls|none)$",
    ),
    "smtp_security": Setting(
        description="The same for SMTP; as `security` by default.",
        default="{security}",
        pattern="^(tls|starttls|none)$",
    ),
    "folder": Setting(description="The folder that is read.", default="INBOX"),
    "sent": Setting(description="The folder with what was sent.", default="Sent"),
    "drafts": Setting(description="The folder for drafts.", default="Drafts"),
    "replies_per_day": Setting(
        description="Replies to one correspondent and day at most.", default="3", pattern="^[0-9]{1,3}$"
    ),
    "return_path": Setting(
        description="Who gets bounces of replies: `nobody`, or our `address` where the server wants a sender.",
        default="nobody",
        pattern="^(nobody|address)$",
    ),
    "reply_to": Setting(
        description="Whose `Reply-To` an answer follows: one in the `domain` of who wrote, that of `anybody`, `nobody`'s.",
        default="domain",
        pattern="^(domain|anybody|nobody)$",
    ),
    "scan": Setting(
        description="Seconds between looks at the folder, whether the server tells of new mails or not.",
        default="60",
        pattern="^[1-9][0-9]{0,3}$",
    ),
    "rescan_days": Setting(
        description="Days of mails that are read again when the folder was made anew.",
        default="30",
        pattern="^[0-9]{1,3}$",
    ),
    "forward_to": Setting(
        description="Addresses that `forward` sends to; nothing else may choose one.",
        optional=True,
        shape={"type": "array", "minItems": 1, "maxItems": 20, "items": {"type": "string", "pattern": _ADDRESS}},
    ),
}

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}
_LIST = {"type": "array", "items": {"type": "string"}}


def _record(fields: Mapping[str, tuple[Any, str]]) -> JsonSchema:
    properties = {name: {**kind, "description": words} for name, (kind, words) in fields.items()}
    return {"type": "object", "additionalProperties": False, "required": [*fields], "properties": properties}


MAIL: Mapping[str, tuple[Any, str]] = {
    "id": (_TEXT, "Its Message-ID; empty when it has none."),
    "thread": (_TEXT, "Message-ID of the mail that began the conversation."),
    "from": (_TEXT, "Address of who wrote it."),
    "from_name": (_TEXT, "Name of who wrote it."),
    "to": (_LIST, "Addresses it went to."),
    "cc": (_LIST, "Addresses that got a copy."),
    "subject": (_TEXT, "Its subject."),
    "date": (_MAYBE, "When it was written."),
    "text": (_TEXT, "What it says, without what it quotes."),
    "quoted": (_TEXT, "What it quotes."),
    "attachments": (
        {"type": "array", "items": {"type": "object"}},
        "Its attachments: `name`, `type`, `size`, and `text` where it can be read.",
    ),
    "reply_to": (_TEXT, "Address that an answer is asked to go to; not always that of who wrote it."),
    "in_reply_to": (_MAYBE, "Message-ID of the mail it answers."),
    "automatic": (_FLAG, "Whether a machine sent it: such mail is never answered."),
    "automatic_why": (_MAYBE, "How that is known."),
    "problem": (_MAYBE, "What of it could not be read."),
}
EVENTS: Mapping[str, JsonSchema] = {
    "mail.received": {**_record(MAIL), "description": "A mail came."},
}
LOOKUPS: Mapping[str, LookupSpec] = {
    "mail": LookupSpec(
        name="mail", description="The mail of a record.", fields=_record(MAIL)["properties"], many=False
    ),
    "thread": LookupSpec(
        name="thread",
        description="The other mails of the conversation of a record, newest first.",
        fields=_record(MAIL)["properties"],
        many=True,
    ),
    "from_sender": LookupSpec(
        name="from_sender",
        description="Mails of one address, newest first.",
        fields=_record(MAIL)["properties"],
        many=True,
    ),
}


def _action(name: str, description: str, *, modes: Any = ("add",)) -> ActionSpec:
    return ActionSpec(
        name=name,
        description=description,
        idempotency="read-back",
        takes=frozenset({"text"}),
        modes=modes,
        sets=None,
        emits=frozenset(),
        touches=frozenset(),
        reads=None,
    )


ACTIONS: Mapping[str, ActionSpec] = {
    "reply": _action("reply", "Answer the mail of the record, marked as an automatic reply."),
    "draft": _action("draft", "Leave a reply among the drafts, for a person to send.", modes=("add", "replace-own")),
    "forward": _action("forward", "Send the mail of the record on to `forward_to`, with a text before it."),
}
SOURCE = SourceSpec(name="inbox", description="New mails, told by IDLE and looked for from time to time.", every=0.0)


def spec(settings: Mapping[str, Any]) -> ConnectorSpec:
    """
    Return what a connection with *settings* offers; raises `SettingError`.
    """
    check_shapes(SETTINGS, settings)
    return ConnectorSpec(
        name=NAME,
        description=DESCRIPTION,
        settings=settings_schema(SETTINGS),
        events=EVENTS,
        lookups=LOOKUPS,
        actions=ACTIONS,
        guarded=True,
        delivers=False,
        sources={SOURCE.name: SOURCE},
    )


DECLARED = Described(name=NAME, settings=SETTINGS, spec=spec)
