"""
What a connection to Slack offers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.contract import JsonSchema
from connectors.described import Described
from connectors.settings import Setting, check_shapes, settings_schema
from connectors.specs import ActionSpec, ConnectorSpec, LookupSpec, SourceSpec

NAME = "slack"
DESCRIPTION = "Slack: messages and reactions in, threaded replies and drafts for approval out."
URL = "https://slack.com/api"

SETTINGS: Mapping[str, Setting] = {
    "bot_token": Setting(description="Bot token of the app, `xoxb-…`.", secret=True, example="${env:SLACK_BOT_TOKEN}"),
    "signing_secret": Setting(
        description="Signing secret of the app, for deliveries over HTTP.", secret=True, optional=True
    ),
    "app_token": Setting(
        description="App-level token, `xapp-…`, for Socket Mode: no public address is needed.",
        secret=True,
        optional=True,
    ),
    "review_channel": Setting(
        description="Id of the channel where drafts wait for approval.",
        optional=True,
        pattern="^[CG][A-Z0-9]{2,}$",
        example="C0123REVIEW",
    ),
    "approvers": Setting(
        description="Ids of the people who may decide on drafts; everybody in the review channel when not set.",
        optional=True,
        shape={"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[UW][A-Z0-9]{2,}$"}},
    ),
    "other_bots": Setting(
        description="`ignore` or `answer`: what to do with messages of other bots.",
        default="ignore",
        pattern="^(ignore|answer)$",
    ),
    "url": Setting(
        description="Base URL of the Web API; only for tests and proxies.",
        default=URL,
        pattern="^(https://|http://(127\\.0\\.0\\.1|localhost|\\[::1\\])(:|$))",
    ),
}

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}


def _record(fields: Mapping[str, tuple[Any, str]]) -> JsonSchema:
    properties = {name: {**kind, "description": words} for name, (kind, words) in fields.items()}
    return {"type": "object", "additionalProperties": False, "required": [*fields], "properties": properties}


_MESSAGE = {
    "channel": (_TEXT, "Id of the channel."),
    "channel_type": (_MAYBE, "`channel`, `group`, `im` or `mpim`."),
    "ts": (_TEXT, "Id of the message in its channel."),
    "thread": (_TEXT, "Id of the message that began its thread; its own when it is in none."),
    "in_thread": ({"type": "boolean"}, "Whether it is a reply."),
    "user": (_MAYBE, "Id of who wrote it."),
    "bot": (_MAYBE, "Id of the bot that wrote it."),
    "text": (_TEXT, "What it says, as plain text."),
    "files": ({"type": "array", "items": {"type": "string"}}, "Names of its files."),
    "ours": ({"type": "boolean"}, "Whether our own app wrote it."),
    "changed": ({"type": "array", "items": {"type": "string"}}, "Names of the fields that changed."),
}
_REACTION = {
    "channel": (_TEXT, "Id of the channel."),
    "ts": (_TEXT, "Id of the message in its channel."),
    "reaction": (_TEXT, "Name of the emoji."),
    "user": (_MAYBE, "Id of who added it."),
    "item_user": (_MAYBE, "Id of who wrote the message."),
}
EVENTS: Mapping[str, JsonSchema] = {
    "message.posted": {**_record(_MESSAGE), "description": "Somebody wrote a message."},
    "message.edited": {**_record(_MESSAGE), "description": "Somebody changed what a message says."},
    "message.deleted": {**_record(_MESSAGE), "description": "A message was deleted; its text is what it said."},
    "app.mentioned": {**_record(_MESSAGE), "description": "Somebody mentioned our app."},
    "reaction.added": {**_record(_REACTION), "description": "Somebody added an emoji to a message."},
}
LOOKUPS: Mapping[str, LookupSpec] = {
    "thread": LookupSpec(
        name="thread",
        description="Messages of the thread of a record, newest first.",
        fields=_record({name: _MESSAGE[name] for name in ("ts", "user", "bot", "text", "files", "ours")})["properties"],
        many=True,
    ),
    "user": LookupSpec(
        name="user",
        description="A person.",
        fields=_record(
            {
                "id": (_TEXT, "Their id."),
                "name": (_TEXT, "Their name."),
                "title": (_MAYBE, "What they do."),
                "timezone": (_MAYBE, "Where they are, e.g. `Europe/Berlin`."),
                "is_bot": ({"type": "boolean"}, "Whether it is a bot."),
                "is_guest": ({"type": "boolean"}, "Whether they are a guest."),
            }
        )["properties"],
        many=False,
    ),
    "channel": LookupSpec(
        name="channel",
        description="A channel.",
        fields=_record(
            {
                "id": (_TEXT, "Its id."),
                "name": (_MAYBE, "Its name."),
                "topic": (_MAYBE, "Its topic."),
                "purpose": (_MAYBE, "Its purpose."),
                "is_private": ({"type": "boolean"}, "Whether it is private."),
            }
        )["properties"],
        many=False,
    ),
}


def _text_action(name: str, description: str, **more: Any) -> ActionSpec:
    values: dict[str, Any] = {
        "idempotency": "read-back",
        "takes": frozenset({"text"}),
        "modes": ("add",),
        "sets": None,
        "emits": frozenset({"message.posted"}),
        "touches": frozenset(),
        "reads": None,
    }
    return ActionSpec(name=name, description=description, **values | more)


ACTIONS: Mapping[str, ActionSpec] = {
    "reply": _text_action(
        "reply",
        "Answer in the thread of the record.",
        modes=("add", "replace-own"),
        emits=frozenset({"message.posted", "message.edited", "message.deleted"}),
        progress=True,
    ),
    "post": _text_action("post", "Write a message into the channel whose id the record is."),
    "update": _text_action(
        "update",
        "Change what a message of ours says; the record is channel/ts.",
        idempotency="keyed",
        emits=frozenset({"message.edited"}),
        touches=frozenset({"text"}),
    ),
    "react": _text_action(
        "react",
        "Add an emoji to the message of the record.",
        idempotency="keyed",
        takes=frozenset({"fields"}),
        sets=frozenset({"emoji"}),
        emits=frozenset({"reaction.added"}),
    ),
    "approval": _text_action(
        "approval",
        "Put a draft of a reply into the review channel; who approves it there sends it into the thread.",
        approval=True,
    ),
}
SOURCE = SourceSpec(
    name="socket", description="Socket Mode: what Slack sends to the app, without a public address.", every=0.0
)


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
        delivers=not settings or "signing_secret" in settings,
        sources={SOURCE.name: SOURCE} if not settings or "app_token" in settings else {},
    )


DECLARED = Described(name=NAME, settings=SETTINGS, spec=spec)
