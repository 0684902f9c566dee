"""
Our messages in Slack: each carries who wrote it and for which step, so that it is found before another is written.

Slack has no idempotency key. A message of ours has `metadata` with the step's key, the slot of its delivery, and
whether it is a placeholder or the answer; it is read back with `include_all_metadata`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Literal

from connectors.contract import Call, Written
from connectors.slack.client import Slack
from connectors.slack.events import MARK
from connectors.slack.words import EDITED, escaped, in_bytes
from penstock.errors import EdgeError, NotFound, Unavailable, UnknownOutcome

log = logging.getLogger(__name__)

State = Literal["progress", "done", "draft"]
PAGE = 200  # messages
PAGES = 50  # of one thread or channel that are looked through
LOOKS_BACK = 7 * 86_400.0  # seconds of a channel that are looked through for a message of ours
KNOWN = 2_000  # placeholders and drafts whose place is remembered
WAIT = "⏳ An answer is being written …"
_AS_IT_STANDS = {"parse": "none", "link_names": False}
"""Nothing becomes a mention or a link: `chat.update` would, unless told."""


class Threads:
    """
    Reads and writes our messages.
    """

    def __init__(self, slack: Slack) -> None:
        self._slack = slack
        self._places: OrderedDict[str, tuple[tuple[str, str], ...]] = OrderedDict()
        """Channel and ts of placeholders and drafts, by key."""
        self._doubts: OrderedDict[str, None] = OrderedDict()
        """Keys whose placeholder may stand somewhere: it was sent, and no answer came."""

    async def post(
        self, channel: str, thread: str | None, text: str, call: Call, *, state: State, blocks: Any = None
    ) -> Written:
        """
        Post a message with the key of *call*.
        """
        answer = await self._slack.tell(
            "chat.postMessage",
            call,
            channel=channel,
            thread_ts=thread,
            text=escaped(text),
            blocks=blocks,
            metadata=_metadata(call, state),
            unfurl_links=False,
            unfurl_media=False,
            **_AS_IT_STANDS,
        )
        return self._written(channel, answer, call.key, state)

    async def change(
        self, channel: str, ts: str, text: str, call: Call, *, state: State | None, blocks: Any = None
    ) -> Written:
        """
        Let a message of ours say something else, in *blocks* where its text is longer than `EDITED`. Without a *state*
        it stays the message of the step that wrote it.
        """
        answer = await self._slack.tell(
            "chat.update",
            call,
            channel=channel,
            ts=ts,
            text=escaped(text, EDITED, in_bytes),
            blocks=blocks or [],  # those it had stay, unless none are given
            metadata=None if state is None else _metadata(call, state),  # without any, what it has stays
            **_AS_IT_STANDS,
        )
        return self._written(channel, answer, call.key, state or "done")

    async def show(self, channel: str, thread: str, call: Call) -> None:
        """
        Leave a placeholder with the key of *call*, unless there is one, or the answer.
        """
        if await self.find(channel, thread, call, key=call.key) is not None:
            return
        self._doubts[call.key] = None
        _bound(self._doubts)
        await self.post(channel, thread, WAIT, call, state="progress")
        self._doubts.pop(call.key, None)

    async def answer(self, channel: str, thread: str | None, text: str, call: Call) -> Written:
        """
        Let the placeholder with the key of *call* become the answer, or post it where there is none. One whose own
        answer was lost is looked for.

        A new message may be longer than a changed one: a long answer takes the placeholder's place.
        """
        if call.key in self._doubts:
            with suppress(UnknownOutcome):  # too much to look through: at worst a placeholder stays
                await self.find(channel, thread, call, key=call.key)
            self._doubts.pop(call.key, None)
        written: Written | None = None
        if places := self._places.get(call.key, ()):
            with suppress(NotFound):  # somebody deleted the placeholder
                if editable(text):
                    written = await self.change(*places[0], text, call, state="done")
                else:
                    await self.remove(*places[0], call)
            self._places[call.key] = places[1:]
        written = written or await self.post(channel, thread, text, call, state="done")
        await self.tidy(call)
        return written

    async def tidy(self, call: Call) -> None:
        """
        Take away the placeholders with the key of *call* that became no answer. What was written stays written.
        """
        for channel, ts in self._places.pop(call.key, ()):
            try:
                await self.remove(channel, ts, call)
            except EdgeError as error:
                log.info("a placeholder stays in %s: %s", channel, error)

    async def remove(self, channel: str, ts: str, call: Call) -> None:
        """
        Delete a message of ours.
        """
        await self._slack.tell("chat.delete", call, channel=channel, ts=ts)

    async def find(self, channel: str, thread: str | None, call: Call, *, key: str) -> tuple[str, State] | None:
        """
        Return ts and state of our message with *key*; None when there is none. A placeholder counts only where no
        answer follows it.

        Raises `UnknownOutcome` when there is too much to look through.
        """
        waiting: tuple[str, State] | None = None
        async for message, payload in self._ours(channel, thread, call):
            if payload.get("key") == key:
                found: tuple[str, State] = str(message["ts"]), payload.get("state", "done")
                if found[1] != "done":
                    self._remember(key, channel, found[0])
                if found[1] != "progress":
                    return found
                waiting = waiting or found
        return waiting

    async def of_slot(self, channel: str, thread: str, call: Call) -> Mapping[str, Any] | None:
        """
        Return our newest answer of the same delivery to the same record; placeholders with the key are met as well.
        """
        found: Mapping[str, Any] | None = None
        async for message, payload in self._ours(channel, thread, call):
            if payload.get("slot") == call.slot and payload.get("state") == "done":
                found = message
            elif payload.get("key") == call.key and payload.get("state") == "progress":
                self._remember(call.key, channel, str(message["ts"]))
        self._doubts.pop(call.key, None)
        return found

    def known(self, key: str) -> tuple[str, str] | None:
        """
        Return where the placeholder or draft with *key* is, when this process knows.
        """
        return next(iter(self._places.get(key, ())), None)

    async def messages(self, channel: str, thread: str | None, call: Call) -> AsyncIterator[list[dict[str, Any]]]:
        """
        Yield pages of messages, of a channel only those of late; raises `UnknownOutcome` after too many.
        """
        cursor: str | None = None
        method = "conversations.replies" if thread else "conversations.history"
        oldest = None if thread else f"{self._slack.now() - LOOKS_BACK:.6f}"
        for _ in range(PAGES):
            answer = await self._slack.ask(
                method,
                call,
                channel=channel,
                ts=thread,
                oldest=oldest,
                cursor=cursor,
                limit=PAGE,
                include_all_metadata=True,
            )
            found = answer.get("messages")
            if not isinstance(found, list):
                raise Unavailable(f"{method}: the answer holds no messages")
            yield found
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or None
            if cursor is None:
                return
        raise UnknownOutcome(f"there is too much in {channel} to look through it all")

    async def _ours(
        self, channel: str, thread: str | None, call: Call
    ) -> AsyncIterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        async for page in self.messages(channel, thread, call):
            for message in page:
                metadata = message.get("metadata") or {}
                if metadata.get("event_type") == MARK and message.get("bot_id"):
                    yield message, metadata.get("event_payload") or {}

    def _written(self, channel: str, answer: Mapping[str, Any], key: str, state: State) -> Written:
        ts = answer.get("ts")
        if not isinstance(ts, str):
            raise UnknownOutcome("Slack's answer does not say which message it is")
        if state != "done":
            self._remember(key, channel, ts)
        return Written(remote_id=f"{channel}/{ts}", version=ts)

    def _remember(self, key: str, channel: str, ts: str) -> None:
        self._places[key] = tuple(dict.fromkeys((*self._places.get(key, ()), (channel, ts))))
        _bound(self._places)


def editable(text: str) -> bool:
    """
    Say whether a message can be changed to say the whole *text*.
    """
    return in_bytes(escaped(text)) <= EDITED


def _bound(known: OrderedDict[str, Any]) -> None:
    while len(known) > KNOWN:
        known.popitem(last=False)


def _metadata(call: Call, state: State) -> dict[str, Any]:
    payload = {"key": call.key, "slot": call.slot, "state": state, "mark": f"penstock:{call.key}"}
    return {"event_type": MARK, "event_payload": payload}
