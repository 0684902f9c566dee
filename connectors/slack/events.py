"""
From what Slack sends to events and decisions. Ids are made of channel and ts: a duplicate comes with a new event id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from connectors.contract import Decision
from connectors.slack.words import plain
from penstock.errors import Rejected
from schemas.events import Event

PLAIN = (None, "file_share", "thread_broadcast", "me_message", "bot_message")
"""Subtypes of messages somebody wrote."""
MARK = "penstock_reply"
"""`metadata.event_type` of our messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ourselves:
    """
    Who we are in the workspace.
    """

    user: str | None = None
    bot: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """
    Somebody wants to change a draft before it is sent.
    """

    key: str
    trigger: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """
    Somebody decided who may not.
    """

    channel: str
    user: str


Meant = Event | Decision | Edit | Stranger | str
"""What a payload means; a text says why it is none of these."""


def meant(payload: Mapping[str, Any], *, we: Ourselves, bots: Literal["ignore", "answer"]) -> Meant:
    """
    Return what an `event_callback` means. Raises `Rejected` when it does not look like one.
    """
    if payload.get("type") != "event_callback":
        return f"nothing is made of {payload.get('type')!r}"
    event = payload.get("event")
    if not isinstance(event, Mapping):
        raise Rejected("The event callback has no event.")
    kind = event.get("type")
    try:
        if kind in ("message", "app_mention"):
            return _message(payload, event, we, bots)
        if kind == "reaction_added":
            return _reaction(payload, event)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Rejected(f"The event is not a proper {kind!r}: {error}") from error
    return f"nothing is made of events of type {kind!r}"


def _message(
    payload: Mapping[str, Any], event: Mapping[str, Any], we: Ourselves, bots: Literal["ignore", "answer"]
) -> Event | str:
    subtype = event.get("subtype")
    kind, body = "message.posted", event
    if event["type"] == "app_mention":
        kind = "app.mentioned"
    elif subtype == "message_changed":
        kind, body = "message.edited", event["message"]
        if body.get("text") == (event.get("previous_message") or {}).get("text"):
            return "a message was changed, and says the same: a link was unfurled, or a reply came"
    elif subtype == "message_deleted":
        kind, body = "message.deleted", event.get("previous_message") or {}
        body = {**body, "ts": event["deleted_ts"]}
    elif subtype not in PLAIN:
        return f"nothing is made of messages of subtype {subtype!r}"
    ours = _ours(payload, body, we)
    if body.get("bot_id") and not ours and bots == "ignore":
        return f"it was written by another bot, {body['bot_id']!r} (`other_bots: answer` takes those)"
    return _event(payload, event, body, kind, ours=ours)


def _event(
    payload: Mapping[str, Any], event: Mapping[str, Any], body: Mapping[str, Any], kind: str, *, ours: bool
) -> Event:
    channel, ts = str(event["channel"]), str(body["ts"])
    thread = str(body.get("thread_ts") or ts)
    changed = ["text"] if kind == "message.edited" else []
    last = {
        "message.posted": "",
        "app.mentioned": "/mentioned",
        "message.edited": f"/edited/{_edition(event, body)}",
        "message.deleted": "/deleted",
    }[kind]
    data = {
        "channel": channel,
        "channel_type": _text(event.get("channel_type")),
        "ts": ts,
        "thread": thread,
        "in_thread": thread != ts,
        "user": _text(body.get("user")),
        "bot": _text(body.get("bot_id")),
        "text": plain(str(body.get("text") or "")),
        "files": [str(file.get("name") or "") for file in body.get("files") or () if isinstance(file, Mapping)],
        "ours": ours,
        "changed": changed,
    }
    return Event(
        id=f"{channel}/{ts}{last}",
        source=_source(payload),
        type=kind,
        subject=f"{channel}/{thread}",
        time=moment(ts if not last.startswith("/edited") else _edition(event, body)),
        actor=_text(body.get("user")) or _text(body.get("bot_id")),
        data=data,
    )


def _edition(event: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """
    Return when a message got its present text: the same for every delivery of that change.
    """
    edited = body.get("edited")
    return str(edited["ts"] if isinstance(edited, Mapping) else event["ts"])


def _reaction(payload: Mapping[str, Any], event: Mapping[str, Any]) -> Event | str:
    item = event["item"]
    if item.get("type") != "message":
        return f"nothing is made of reactions to {item.get('type')!r}"
    channel, ts, name, user = str(item["channel"]), str(item["ts"]), str(event["reaction"]), str(event["user"])
    return Event(
        id=f"{channel}/{ts}/{name}/{user}/{event['event_ts']}",
        source=_source(payload),
        type="reaction.added",
        subject=f"{channel}/{ts}",
        time=moment(str(event["event_ts"])),
        actor=user,
        data={
            "channel": channel,
            "ts": ts,
            "reaction": name,
            "user": user,
            "item_user": _text(event.get("item_user")),
        },
    )


def _ours(payload: Mapping[str, Any], body: Mapping[str, Any], we: Ourselves) -> bool:
    """
    Tell whether our own app wrote *body*: by what Slack signed, also before anybody told us who we are.
    """
    app = body.get("app_id") or (body.get("bot_profile") or {}).get("app_id")
    if app and app == payload.get("api_app_id"):
        return True
    if we.bot and body.get("bot_id") == we.bot:
        return True
    if we.user and body.get("user") == we.user:
        return True
    return bool(body.get("bot_id")) and (body.get("metadata") or {}).get("event_type") == MARK


def _source(payload: Mapping[str, Any]) -> str:
    return f"https://app.slack.com/client/{payload['team_id']}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def moment(ts: str) -> datetime:
    """
    Return the time in a message's id.
    """
    return datetime.fromtimestamp(float(ts), UTC)


def pressed(payload: Mapping[str, Any], approvers: Collection[str] | None) -> Meant:
    """
    Return what an interaction means: a decision, a wish to edit, or nothing of ours. Raises `Rejected`.
    """
    try:
        user = str(payload["user"]["id"])
        if payload["type"] == "view_submission":
            return _submitted(payload["view"], user, approvers)
        if payload["type"] != "block_actions":
            return f"nothing is made of interactions of type {payload['type']!r}"
        pressed = next(
            (one for one in payload["actions"] if str(one.get("action_id", "")).startswith("penstock_")), None
        )
        if pressed is None:
            return "no button of ours was pressed"
        if approvers and user not in approvers:
            return Stranger(channel=str(payload["channel"]["id"]), user=user)
        key, choice = str(pressed["value"]), pressed["action_id"].removeprefix("penstock_")
        if choice == "edit":
            return Edit(key=key, trigger=str(payload["trigger_id"]), text=draft_in(payload["message"]))
        if choice in ("approve", "discard"):
            return Decision(key=key, choice=choice, by=user)
    except (KeyError, TypeError, AttributeError) as error:
        raise Rejected(f"The interaction is not a proper one: {error!r}") from error
    return "no button of ours was pressed"


def _submitted(view: Mapping[str, Any], user: str, approvers: Collection[str] | None) -> Meant:
    if view.get("callback_id") != "penstock_edit" or (approvers and user not in approvers):
        return "no form of ours was sent"
    text = str(view["state"]["values"]["penstock_text"]["text"]["value"])
    return Decision(key=str(view["private_metadata"]), choice="approve", text=text, by=user)


def draft_in(message: Mapping[str, Any]) -> str:
    """
    Return the draft that stands in a message of ours.
    """
    blocks = message.get("blocks") or ()
    parts = [block["text"]["text"] for block in blocks if str(block.get("block_id", "")).startswith("penstock_draft")]
    return plain("".join(parts))
