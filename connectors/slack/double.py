"""
A pretended Slack workspace: the methods of the Web API that we use, and signed events for everything that happens.

    python -m connectors.slack.double --port 9030 --hook http://127.0.0.1:8080/in/chat --secret s
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import orjson

from connectors.double import Answered, Asked, Double
from connectors.double_hooks import Hooks
from connectors.double_stand import main
from connectors.verification import Stamp, Verify

TOKEN = "xoxb-pretended"  # noqa: S105  # of a pretended workspace
TEAM, APP, BOT, BOT_USER = "T0ACME001", "A0PENSTOCK", "B0HUB0001", "U0HUB0001"
SIGNED = Verify(
    secret="secret",  # noqa: S106  # the name of a setting
    message="v0:{timestamp}:{body}",
    encoding="hex",
    prefix="v0=",
    header="x-slack-signature",
    timestamp=Stamp(header="x-slack-request-timestamp", form="unix"),
)
LONGEST = 40_000  # characters of a new message
EDITED = 4_000  # bytes of one that is changed
SECTION, BLOCKS = 3_000, 13_000  # characters of one block, and of all
FORM = {"content-type": "application/x-www-form-urlencoded"}


class _Wrong(Exception):
    """
    Slack says `ok: false`.
    """


class SlackDouble(Double):
    """
    Channels, people, threads with metadata, reactions, drafts with buttons.
    """

    routes = tuple(
        (verb, rf"/api/{re.escape(method)}", "api")
        for verb in ("GET", "POST")
        for method in (
            "auth.test",
            "chat.postMessage",
            "chat.postEphemeral",
            "chat.update",
            "chat.delete",
            "conversations.replies",
            "conversations.history",
            "conversations.info",
            "users.info",
            "reactions.add",
            "views.open",
        )
    )
    desk = (
        ("POST", "/_double/say", "said"),
        ("POST", "/_double/press", "pressed"),
        ("POST", "/_double/again", "told_again"),
        ("GET", "/_double/state", "state"),
    )

    def __init__(
        self, *, hook: str | None = None, secret: str = "", token: str = TOKEN, calls: Path | None = None
    ) -> None:
        super().__init__(Hooks(SIGNED, url=hook, secret=secret), calls=calls)
        self._token = token
        self._moments = itertools.count(int(time.time() * 1_000_000), 100)
        self._events = itertools.count(1)
        self.channels: dict[str, list[dict[str, Any]]] = {"C0SUPPORT1": [], "C0REVIEW01": []}
        """Messages by channel, oldest first."""
        self.people: dict[str, dict[str, Any]] = {
            "U0NADIA01": {"id": "U0NADIA01", "name": "nadia", "real_name": "Nadia Haddad", "tz": "Europe/Berlin"},
            BOT_USER: {"id": BOT_USER, "name": "hub", "real_name": "Hub", "is_bot": True},
        }
        self.forms: list[dict[str, Any]] = []
        """Forms that were opened."""
        self.whispers: list[dict[str, Any]] = []
        """Messages that one person alone sees."""
        self._told: list[bytes] = []

    # ---- the Web API ------------------------------------------------------------------------------

    def authenticate(self, asked: Asked) -> str | None:
        """
        Believe everybody here: Slack says `invalid_auth` with status 200.
        """
        return asked.headers.get("authorization", "").removeprefix("Bearer ")

    def api(self, asked: Asked, actor: str) -> Answered:
        """
        Answer a method.
        """
        method = asked.path.removeprefix("/api/")
        if actor != self._token:
            return Answered(body={"ok": False, "error": "invalid_auth"})
        handler = getattr(self, "_" + re.sub(r"\W", "_", method))
        try:
            body, effect = handler(_words(asked))
        except _Wrong as error:
            return Answered(body={"ok": False, "error": str(error)})
        return Answered(body={"ok": True, **body}, effect=effect)

    def _auth_test(self, _words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        who = {"user": "hub", "user_id": BOT_USER, "bot_id": BOT, "team": "Acme", "team_id": TEAM}
        return {**who, "url": "https://acme.slack.com/"}, False

    def _chat_postMessage(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:  # noqa: N802  # Slack's word
        _bounded(words)
        message = self._write(
            self._channel(words),
            text=str(words.get("text") or ""),
            thread=words.get("thread_ts"),
            user=BOT_USER,
            bot_id=BOT,
            app_id=APP,
            **{name: words[name] for name in ("metadata", "blocks") if words.get(name)},
        )
        return {"channel": words["channel"], "ts": message["ts"], "message": message}, True

    def _chat_postEphemeral(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:  # noqa: N802  # Slack's word
        self._channel(words)
        self.whispers.append(dict(words))
        return {"message_ts": self._now()}, True

    def _chat_update(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        _bounded(words)
        if len(str(words.get("text") or "").encode()) > EDITED:
            raise _Wrong("msg_too_long")
        message = self._message(words, words.get("ts"))
        if message.get("bot_id") != BOT:
            raise _Wrong("cant_update_message")
        before = dict(message)
        message |= {name: words[name] for name in ("text", "metadata", "blocks") if words.get(name)}
        if words.get("blocks") == []:
            message.pop("blocks", None)
        self._changed(str(words["channel"]), message, before)
        return {"channel": words["channel"], "ts": message["ts"], "text": message["text"]}, True

    def _chat_delete(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        message = self._message(words, words.get("ts"))
        self._channel(words).remove(message)
        return {"channel": words["channel"], "ts": message["ts"]}, True

    def _conversations_replies(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        messages = self._channel(words)
        root = str(words.get("ts"))
        found = [one for one in messages if one["ts"] == root or one.get("thread_ts") == root]
        if not found:
            raise _Wrong("thread_not_found")
        return self._paged(found, words), False

    def _conversations_history(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        oldest = float(words.get("oldest") or 0)
        found = [one for one in self._channel(words) if one.get("thread_ts", one["ts"]) == one["ts"]]
        found = [one for one in found if float(one["ts"]) > oldest]
        return self._paged(found[::-1], words), False

    def _conversations_info(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        self._channel(words)
        found = {"id": words["channel"], "name": str(words["channel"]).lower(), "is_private": False}
        return {"channel": {**found, "topic": {"value": "Orders &amp; parcels"}, "purpose": {"value": ""}}}, False

    def _users_info(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        if words.get("user") not in self.people:
            raise _Wrong("user_not_found")
        return {"user": self.people[str(words["user"])]}, False

    def _reactions_add(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        message = self._message(words, words.get("timestamp"))
        users = message.setdefault("reactions", {}).setdefault(str(words["name"]), [])
        if BOT_USER in users:
            raise _Wrong("already_reacted")
        users.append(BOT_USER)
        item = {"type": "message", "channel": words["channel"], "ts": message["ts"]}
        self._tell({"type": "reaction_added", "user": BOT_USER, "reaction": words["name"], "item": item})
        return {}, True

    def _views_open(self, words: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        if words.get("trigger_id") is None:
            raise _Wrong("invalid_trigger_id")
        self.forms.append(dict(words["view"]))
        return {"view": {"id": f"V{len(self.forms)}"}}, True

    # ---- what people do ---------------------------------------------------------------------------

    def said(self, asked: Asked) -> Answered:
        return Answered(status=201, body=self.say(**asked.json()))

    def say(self, text: str, *, channel: str = "C0SUPPORT1", thread: str | None = None, **more: Any) -> dict[str, Any]:
        """
        Let somebody write a message.
        """
        return self._write(self.channels[channel], text=text, thread=thread, **{"user": "U0NADIA01", **more})

    def edit(self, message: dict[str, Any], text: str, *, channel: str = "C0SUPPORT1") -> None:
        """
        Let its author change a message.
        """
        before = dict(message)
        message |= {"text": text, "edited": {"user": message["user"], "ts": self._now()}}
        self._changed(channel, message, before)

    def pressed(self, asked: Asked) -> Answered:
        return Answered(status=202, body=self.press(**asked.json()))

    def press(
        self, choice: str, *, user: str = "U0NADIA01", text: str | None = None, which: int = -1
    ) -> dict[str, Any]:
        """
        Let somebody press a button of a draft; with *text*, send the form with it.
        """
        drafts = [one for one in self.channels["C0REVIEW01"] if one.get("blocks") and _buttons(one)]
        draft = drafts[which]
        key = _buttons(draft)[0]["value"]
        payload: dict[str, Any] = {"user": {"id": user}, "team": {"id": TEAM}, "api_app_id": APP}
        if text is None:
            payload |= {
                "type": "block_actions",
                "trigger_id": f"trigger.{next(self._events)}",
                "channel": {"id": "C0REVIEW01"},
                "message": draft,
                "actions": [{"action_id": f"penstock_{choice}", "value": key, "type": "button"}],
            }
        else:
            values = {"penstock_text": {"text": {"type": "plain_text_input", "value": text}}}
            view = {"callback_id": "penstock_edit", "private_metadata": key, "state": {"values": values}}
            payload |= {"type": "view_submission", "view": view}
        self.hooks.send(urlencode({"payload": orjson.dumps(payload).decode()}).encode(), FORM)
        return payload

    def told_again(self, asked: Asked) -> Answered:
        return Answered(status=202, body=self.tell_again(int(asked.query.get("last", "1"))))

    def tell_again(self, last: int = 1) -> int:
        """
        Send the last events once more, each with another event id and the header of a retry.
        """
        for body in self._told[-last:]:
            payload = {**orjson.loads(body), "event_id": f"Ev{next(self._events):010}"}
            self.hooks.emit(payload, {"x-slack-retry-num": "1", "x-slack-retry-reason": "http_timeout"})
        return last

    def state(self, _asked: Asked) -> Answered:
        return Answered(body={"channels": self.channels, "forms": self.forms, "whispers": self.whispers})

    # ---- state ------------------------------------------------------------------------------------

    def _now(self) -> str:
        moment = max(next(self._moments), int(time.time() * 1_000_000))
        return f"{moment // 1_000_000}.{moment % 1_000_000:06}"

    def _channel(self, words: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = self.channels.get(str(words.get("channel")))
        if found is None:
            raise _Wrong("channel_not_found")
        return found

    def _message(self, words: Mapping[str, Any], ts: Any) -> dict[str, Any]:
        found = next((one for one in self._channel(words) if one["ts"] == ts), None)
        if found is None:
            raise _Wrong("message_not_found")
        return found

    def _write(self, messages: list[dict[str, Any]], *, text: str, thread: Any, **more: Any) -> dict[str, Any]:
        message = {"type": "message", "ts": self._now(), "text": text, **more}
        if thread:
            message["thread_ts"] = str(thread)
        messages.append(message)
        channel = next(name for name, held in self.channels.items() if held is messages)
        kind = {"subtype": "bot_message"} if more.get("bot_id") and not more.get("user") else {}
        self._tell({**message, **kind, "channel": channel, "channel_type": "channel"})
        return message

    def _changed(self, channel: str, message: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        self._tell(
            {
                "type": "message",
                "subtype": "message_changed",
                "hidden": True,
                "channel": channel,
                "channel_type": "channel",
                "ts": self._now(),
                "message": dict(message),
                "previous_message": dict(before),
            }
        )

    def _tell(self, event: Mapping[str, Any]) -> None:
        payload = {
            "team_id": TEAM,
            "api_app_id": APP,
            "type": "event_callback",
            "event": {"event_ts": event.get("ts") or self._now(), **event},
            "event_id": f"Ev{next(self._events):010}",
            "event_time": int(time.time()),
        }
        self._told.append(orjson.dumps(payload))
        self.hooks.emit(payload, {})

    def _paged(self, found: list[dict[str, Any]], words: Mapping[str, Any]) -> dict[str, Any]:
        start, size = int(words.get("cursor") or 0), int(words.get("limit") or 100)
        page = found[start : start + size]
        if str(words.get("include_all_metadata")) not in ("1", "True", "true"):
            page = [{name: value for name, value in one.items() if name != "metadata"} for one in page]
        following = str(start + size) if start + size < len(found) else ""
        return {"messages": page, "has_more": bool(following), "response_metadata": {"next_cursor": following}}


def _words(asked: Asked) -> dict[str, Any]:
    words: dict[str, Any] = dict(asked.query)
    if asked.headers.get("content-type", "").startswith("application/json"):
        words |= orjson.loads(asked.body or b"{}")
    elif asked.body:
        words |= {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
    return words


def _bounded(words: Mapping[str, Any]) -> None:
    if not words.get("text") and not words.get("blocks"):
        raise _Wrong("no_text")
    if len(str(words.get("text") or "")) > LONGEST:
        raise _Wrong("msg_too_long")
    sections = [len(block["text"]["text"]) for block in words.get("blocks") or () if block["type"] == "section"]
    if max(sections, default=0) > SECTION:
        raise _Wrong("invalid_blocks")
    if sum(sections) > BLOCKS:
        raise _Wrong("msg_blocks_too_long")


def _buttons(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [element for block in message["blocks"] if block["type"] == "actions" for element in block["elements"]]


if __name__ == "__main__":
    main(SlackDouble)
