"""
One connection to Slack.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

import orjson

from connectors.contract import (
    Call,
    Decision,
    Delivery,
    Health,
    JsonSchema,
    Lookup,
    Page,
    Received,
    Record,
    Reply,
    Sample,
    Source,
)
from connectors.settings import Settled
from connectors.slack import socket
from connectors.slack.actions import Actions, form
from connectors.slack.client import Slack
from connectors.slack.declaration import EVENTS, LOOKUPS, SOURCE
from connectors.slack.events import Edit, Meant, Ourselves, Stranger, meant, pressed
from connectors.slack.threads import Threads
from connectors.slack.words import place, plain
from connectors.verification import Stamp, Verify, verify
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, NotFound, Rejected, Unavailable
from penstock.http import Http
from schemas.events import Event

log = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"
PRESSED = b"payload="
"""What the form of a button begins with; everything else is a JSON object."""
VERIFY = Verify(
    secret="signing_secret",  # noqa: S106  # the name of a setting
    message="v0:{timestamp}:{body}",
    encoding="hex",
    prefix="v0=",
    header="x-slack-signature",
    timestamp=Stamp(header="x-slack-request-timestamp", form="unix", tolerance=300),
)
"""https://api.slack.com/authentication/verifying-requests-from-slack"""
TTL = {"thread": 0.0, "user": 300.0, "channel": 300.0}  # seconds
TIMEOUT = 10.0  # seconds of a lookup
LONGEST_TEXT = 20_000  # characters of one message that leaves a lookup


class SlackConnector:
    """
    Events over HTTP and Socket Mode, and the Web API through slack-sdk.
    """

    name = "slack"
    accepts = frozenset({"application/json", FORM})
    events: Mapping[str, JsonSchema] = EVENTS

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self.acts_as: str | None = None
        self._we = Ourselves()
        self._settled = settled
        self._clock = clock
        self._slack = Slack(settled, clock)
        self._threads = Threads(self._slack)
        self._bots: Literal["ignore", "answer"] = settled.values["other_bots"]
        self._approvers = frozenset(settled.values.get("approvers") or ())
        self.actions = Actions(self._slack, self._threads, settled.values.get("review_channel")).all()
        self.lookups: Mapping[str, Lookup] = {name: self._lookup(name) for name in LOOKUPS}
        self.samples: Sequence[Sample] = _samples()
        live = bool(settled.secrets("app_token"))
        source = Source(name=SOURCE.name, description=SOURCE.description, every=SOURCE.every, read=self._listen)
        self.sources: Mapping[str, Source] = {SOURCE.name: source} if live else {}

    def __repr__(self) -> str:
        return f"<slack: {self._slack!r}>"

    # ---- in ---------------------------------------------------------------------------------------

    def receive(self, delivery: Delivery) -> Received:
        """
        Verify and translate one delivery. Raises `Forged` or `Rejected`.
        """
        secrets = self._settled.secrets("signing_secret")
        if not secrets:
            raise Rejected("This connection takes no deliveries: it has no `signing_secret`.")
        verify(VERIFY, delivery, secrets)
        if delivery.body.startswith(PRESSED):  # the header that says so is not signed
            return self._interaction(delivery.body)
        return self.translate(delivery.body)

    def translate(self, body: bytes) -> Received:
        """
        Return what a body means whose sender is known already. Raises `Rejected`.
        """
        payload = _object(body)
        if payload.get("type") == "url_verification":
            return Received(
                reply=Reply(headers={"content-type": "text/plain"}, body=str(payload.get("challenge")).encode())
            )
        if payload.get("type") == "app_rate_limited":
            log.warning("Slack holds events of %s back: more than 30,000 came within an hour", payload.get("team_id"))
        return _received(meant(payload, we=self._we, bots=self._bots))

    def _interaction(self, body: bytes) -> Received:
        try:
            payload = parse_qs(body.decode(), max_num_fields=20)["payload"][0]
        except (KeyError, ValueError) as error:
            raise Rejected("The form holds no payload.") from error
        found = pressed(_object(payload.encode()), self._approvers)
        if isinstance(found, Edit | Stranger):
            return Received(reply=Reply(), follow=functools.partial(self._follow, found))
        if isinstance(found, Decision):
            return Received(decisions=(found,), reply=Reply())
        return Received(reply=Reply(), ignored=found if isinstance(found, str) else None)

    async def _listen(self, _cursor: bytes | None, _call: Call) -> AsyncIterator[Page]:
        async for page in socket.read(self._slack, self._settled.secrets("app_token")[0], self._meaning, self._follow):
            yield page

    def _meaning(self, kind: str, payload: Mapping[str, Any]) -> Meant:
        try:
            if kind == "events_api":
                return meant(payload, we=self._we, bots=self._bots)
            if kind == "interactive":
                return pressed(payload, self._approvers)
        except Rejected as error:
            log.warning("an envelope of Slack cannot be read: %s", error)
            return str(error)
        return f"nothing is made of {kind!r}"

    async def _follow(self, found: Meant, call: Call) -> None:
        """
        Open the form for whoever wants to edit; tell a stranger that they may not decide.
        """
        if isinstance(found, Edit):
            await self._slack.tell("views.open", call, trigger_id=found.trigger, view=form(found.key, found.text))
        elif isinstance(found, Stranger):
            text = "You are not one of those who decide on drafts here."
            await self._slack.tell("chat.postEphemeral", call, channel=found.channel, user=found.user, text=text)

    def own(self, event: Event) -> str | None:
        """
        Return why *event* is our own doing; None when it is not.
        """
        if self.acts_as is not None and event.actor == self.acts_as:
            return f"actor={event.actor}"
        return "our own app wrote it" if event.data.get("ours") is True else None

    # ---- out --------------------------------------------------------------------------------------

    async def health(self, call: Call) -> Health:
        """
        Ask who we are; remembers it.
        """
        started = self._clock.monotonic()
        try:
            who = await self._slack.ask("auth.test", call)
        except AuthFailed as error:
            return Health(state="auth", detail=str(error))
        except Unavailable as error:
            return Health(state="degraded" if error.retry_after is not None else "down", detail=str(error))
        except EdgeError as error:
            return Health(state="degraded", detail=str(error))
        user, bot = who.get("user_id"), who.get("bot_id")
        if not isinstance(user, str):
            return Health(state="auth", detail="Slack does not know whose token this is")
        self.acts_as = user
        self._we = Ourselves(user=user, bot=bot if isinstance(bot, str) else None)
        return Health(
            state="ok",
            detail=f"signed in to {who.get('team')} as {who.get('user')}",
            acts_as=user,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
        )

    async def close(self) -> None:
        """
        Give the connections back.
        """
        await self._slack.close()

    def _lookup(self, name: str) -> Lookup:
        spec = LOOKUPS[name]
        fetches = {"thread": self._thread, "user": self._user, "channel": self._channel}
        return Lookup(
            name=name,
            description=spec.description,
            fields=spec.fields,
            many=spec.many,
            ttl=TTL[name],
            timeout=TIMEOUT,
            fetch=fetches[name],
        )

    async def _thread(self, by: str, call: Call, most: int) -> list[Record]:
        channel, thread = place(by)
        newest: list[Mapping[str, Any]] = []
        async for page in self._threads.messages(channel, thread, call):
            newest = [*newest, *page][-max(1, most) :]
        return [self._message(message) for message in reversed(newest)]

    def _message(self, message: Mapping[str, Any]) -> Record:
        bot = message.get("bot_id")
        return {
            "ts": str(message.get("ts") or ""),
            "user": message.get("user"),
            "bot": bot,
            "text": plain(str(message.get("text") or ""))[:LONGEST_TEXT],
            "files": [str(file.get("name") or "") for file in message.get("files") or ()],
            "ours": bool(bot) and bot == self._we.bot,
        }

    async def _user(self, by: str, call: Call, _most: int) -> list[Record]:
        _one_word(by)
        found = (await self._slack.ask("users.info", call, user=by)).get("user") or {}
        profile = found.get("profile") or {}
        name = profile.get("real_name") or found.get("real_name") or found.get("name") or by
        return [
            {
                "id": str(found.get("id") or by),
                "name": str(name)[:LONGEST_TEXT],
                "title": (profile.get("title") or None),
                "timezone": found.get("tz") or None,
                "is_bot": bool(found.get("is_bot")),
                "is_guest": bool(found.get("is_restricted") or found.get("is_ultra_restricted")),
            }
        ]

    async def _channel(self, by: str, call: Call, _most: int) -> list[Record]:
        _one_word(by)
        found = (await self._slack.ask("conversations.info", call, channel=by)).get("channel") or {}
        return [
            {
                "id": str(found.get("id") or by),
                "name": found.get("name") or None,
                "topic": plain(str((found.get("topic") or {}).get("value") or ""))[:LONGEST_TEXT] or None,
                "purpose": plain(str((found.get("purpose") or {}).get("value") or ""))[:LONGEST_TEXT] or None,
                "is_private": bool(found.get("is_private")),
            }
        ]


def open(settled: Settled, *, http: Http, clock: Clock) -> SlackConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection to Slack.
    """
    del http
    return SlackConnector(settled, clock)


def _received(found: Meant) -> Received:
    if isinstance(found, Event):
        return Received(events=(found,))
    return Received(ignored=found if isinstance(found, str) else "nothing is made of it")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        payload = orjson.loads(body)
    except ValueError as error:
        raise Rejected(f"The body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Rejected("The body is not a JSON object.")
    return payload


def _one_word(by: str) -> None:
    if not by.isalnum():
        raise NotFound(f"{by!r} is no id of Slack")


@functools.cache
def _samples() -> tuple[Sample, ...]:
    folder = Path(__file__).parent / "samples"
    found: list[Sample] = []
    for file in sorted(folder.glob("*.json")):
        written = orjson.loads(file.read_bytes())
        found.append(
            Sample(
                name=written["name"],
                headers={},
                body=orjson.dumps(written["body"]),
                events=tuple(written["events"]),
            )
        )
    return tuple(found)
