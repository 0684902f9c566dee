"""
What we write in Slack.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from connectors.contract import Action, Approval, Call, Decision, Progress, WriteMode, Written
from connectors.slack.client import Slack
from connectors.slack.declaration import ACTIONS
from connectors.slack.threads import Threads, editable
from connectors.slack.words import channel_of, escaped, in_bytes, pieces, place
from connectors.specs import made
from penstock.errors import NotFound, Rejected

TIMEOUT = 20.0  # seconds
SECTION = 2_900  # bytes of one block; Slack takes 3,000 characters
SECTIONS = 4  # of one message: its blocks are refused from about 13,000 characters together, github.com/slackapi/bolt-js/issues/2509
EDITABLE = 2_900  # characters a form takes


class Actions:
    """
    The actions of one connection.
    """

    def __init__(self, slack: Slack, threads: Threads, review: str | None) -> None:
        self._slack = slack
        self._threads = threads
        self._review = review

    def all(self) -> Mapping[str, Action]:
        """
        Return every action by its name.
        """
        return {
            "reply": self._made(
                "reply",
                self._reply,
                functools.partial(self._find, thread=True),
                progress=Progress(show=self._show, clear=self._clear),
            ),
            "post": self._made("post", self._post, functools.partial(self._find, thread=False)),
            "update": self._made("update", self._update),
            "react": self._made("react", self._react),
            "approval": self._made(
                "approval",
                self._draft,
                self._find_draft,
                approval=Approval(publish=self._publish, find=self._find_published, close=self._close),
            ),
        }

    def _made(self, name: str, write: Any, find: Any = None, **more: Any) -> Action:
        return made(ACTIONS[name], timeout=TIMEOUT, write=write, find=find, **more)

    # ---- replies ----------------------------------------------------------------------------------

    async def _reply(self, record: str, args: Mapping[str, Any], mode: WriteMode, call: Call) -> Written:
        channel, thread = place(record)
        text = _text(args)
        if mode == "replace-own":
            earlier = await self._threads.of_slot(channel, thread, call)
            if earlier is not None:
                if earlier.get("text") == escaped(text):
                    await self._threads.tidy(call)
                    return Written(remote_id=f"{channel}/{earlier['ts']}", version=str(earlier["ts"]), already=True)
                if editable(text):
                    written = await self._threads.change(channel, str(earlier["ts"]), text, call, state="done")
                    await self._threads.tidy(call)
                    return written
                with suppress(NotFound):
                    await self._threads.remove(channel, str(earlier["ts"]), call)
        return await self._threads.answer(channel, thread, text, call)

    async def _post(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        return await self._threads.answer(channel_of(record), None, _text(args), call)

    async def _find(self, record: str, _mode: WriteMode, call: Call, *, thread: bool) -> Written | None:
        channel, root = place(record) if thread else (channel_of(record), None)
        return await self._found(channel, root, call)

    async def _found(self, channel: str, thread: str | None, call: Call) -> Written | None:
        found = await self._threads.find(channel, thread, call, key=call.key)
        if found is None or found[1] != "done":
            return None
        return Written(remote_id=f"{channel}/{found[0]}", version=found[0], already=True)

    async def _show(self, record: str, call: Call) -> None:
        await self._threads.show(*place(record), call)

    async def _clear(self, record: str, call: Call) -> None:
        channel, thread = place(record)
        await self._threads.find(channel, thread, call, key=call.key)
        await self._threads.tidy(call)

    # ---- what is there already --------------------------------------------------------------------

    async def _update(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        channel, ts = place(record)
        text = _text(args)
        blocks = None if editable(text) else _sections("penstock_text", text)
        return await self._threads.change(channel, ts, text, call, state=None, blocks=blocks)

    async def _react(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        channel, ts = place(record)
        emoji = str((args.get("fields") or {}).get("emoji") or "").strip(":")
        if not emoji:
            raise Rejected("'react' was given no emoji.")
        try:
            await self._slack.tell("reactions.add", call, channel=channel, timestamp=ts, name=emoji)
        except Rejected as error:
            if "already_reacted" not in str(error):
                raise
            return Written(remote_id=f"{channel}/{ts}/{emoji}", already=True)
        return Written(remote_id=f"{channel}/{ts}/{emoji}")

    # ---- drafts -----------------------------------------------------------------------------------

    async def _draft(self, record: str, args: Mapping[str, Any], _mode: WriteMode, call: Call) -> Written:
        channel, thread = place(record)
        text, review = _text(args), self._room()
        return await self._threads.post(
            review,
            None,
            f"A draft for <#{channel}>",
            call,
            state="draft",
            blocks=_waiting(channel, thread, text, call.key),
        )

    async def _find_draft(self, _record: str, _mode: WriteMode, call: Call) -> Written | None:
        found = await self._threads.find(self._room(), None, call, key=call.key)
        return (
            None if found is None else Written(remote_id=f"{self._room()}/{found[0]}", version=found[0], already=True)
        )

    async def _publish(self, record: str, args: Mapping[str, Any], decision: Decision, call: Call) -> Written:
        channel, thread = place(record)
        text = decision.text if decision.text is not None else _text(args)
        return await self._threads.answer(channel, thread, text, call)

    async def _find_published(self, record: str, call: Call) -> Written | None:
        return await self._found(*place(record), call)

    async def _close(self, record: str, decision: Decision | None, call: Call) -> None:
        channel, thread = place(record)
        known = self._threads.known(call.key)
        if known is None:
            found = await self._threads.find(self._room(), None, call, key=call.key)
            if found is None:
                raise NotFound(f"there is no draft {call.key[:8]} in {self._room()}")
            known = self._room(), found[0]
        says = _decided(decision)
        blocks = [_section("penstock_closed", f"{_where(channel, thread)}\n{says}")]
        if decision is not None and decision.choice == "approve" and decision.text is not None:
            blocks.append(_section("penstock_sent", escaped(decision.text, SECTION, in_bytes)))
        await self._threads.change(*known, says, call, state="draft", blocks=blocks)

    def _room(self) -> str:
        if self._review is None:
            raise Rejected("Drafts need `review_channel` in the settings of the connection.")
        return self._review


def _text(args: Mapping[str, Any]) -> str:
    text = args.get("text")
    if not isinstance(text, str) or not text.strip():
        raise Rejected("There is nothing to write.")
    return text


def _where(channel: str, thread: str) -> str:
    return f"Reply in <#{channel}>, <https://slack.com/archives/{channel}/p{thread.replace('.', '')}|thread>"


def _waiting(channel: str, thread: str, text: str, key: str) -> list[dict[str, Any]]:
    buttons = [_button("approve", "Approve", key, style="primary"), _button("discard", "Discard", key, style="danger")]
    if len(text) <= EDITABLE:
        buttons.insert(1, _button("edit", "Edit", key))
    return [
        _section("penstock_about", f"*Draft* · {_where(channel, thread)}"),
        *_sections("penstock_draft", text),
        {"type": "actions", "block_id": "penstock_buttons", "elements": buttons},
    ]


def _sections(block: str, text: str) -> list[dict[str, Any]]:
    """
    Return *text* as blocks; what Slack cannot show is named.
    """
    parts = [*pieces(text, SECTION, in_bytes)]
    shown = [_section(f"{block}_{number}", part) for number, part in enumerate(parts[:SECTIONS])]
    if len(parts) > SECTIONS:
        more = sum(len(html.unescape(part)) for part in parts[SECTIONS:])
        shown.append(_section(f"{block}_more", f"_{more:,} characters more than Slack can show here: see the run._"))
    return shown


def _section(block: str, text: str) -> dict[str, Any]:
    return {"type": "section", "block_id": block, "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def _button(choice: str, label: str, key: str, **more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    return {"type": "button", "action_id": f"penstock_{choice}", "text": text, "value": key, **more}


def _decided(decision: Decision | None) -> str:
    if decision is None:
        return "Nobody decided in time: it was not sent."
    if decision.choice == "discard":
        return f"Discarded by <@{decision.by}>."
    return f"Approved {'with changes ' if decision.text is not None else ''}by <@{decision.by}>, and sent."


def form(key: str, text: str) -> dict[str, Any]:
    """
    Return the form in which a draft is changed.
    """
    field = {"type": "plain_text_input", "action_id": "text", "multiline": True, "initial_value": text}
    return {
        "type": "modal",
        "callback_id": "penstock_edit",
        "private_metadata": key,
        "title": {"type": "plain_text", "text": "Edit the reply"},
        "submit": {"type": "plain_text", "text": "Send"},
        "close": {"type": "plain_text", "text": "Cancel"},
        "blocks": [
            {
                "type": "input",
                "block_id": "penstock_text",
                "label": {"type": "plain_text", "text": "Reply"},
                "element": field,
            }
        ],
    }
