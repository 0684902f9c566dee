"""
Slack: what it sends, what we write, what it does twice. Payloads are ours, shaped like the vendor's reference.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import html
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jsonschema_rs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from connectors import catalog, open_call
from connectors.bench import KEY, NASTY, OTHER_KEY, SLOT, Receiver
from connectors.contract import Call, Decision, Delivery
from connectors.double import serving
from connectors.listening import listening
from connectors.slack.connector import FORM, SlackConnector
from connectors.slack.double import APP, BOT, BOT_USER, TOKEN, SlackDouble
from penstock import errors
from penstock.clock import SystemClock
from penstock.errors import Forged, Rejected
from penstock.redaction import Redactor
from penstock.secrets import Secrets
from schemas.events import Event

SECRETS = {"BOT": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old", "APP": "xapp-canary"}
THREAD = "C0SUPPORT1"


def connect(url: str = "https://slack.example/api", **more: Any) -> SlackConnector:
    environment = {**SECRETS, **more.pop("environment", {})}
    given = {
        "bot_token": "${env:BOT}",
        "signing_secret": ["${env:HOOK}", "${env:HOOK_OLD}"],
        "review_channel": "C0REVIEW01",
        "url": url,
        **more,
    }
    found = catalog.open(
        "slack",
        given,
        secrets=Secrets(environment, redactor=Redactor()),
        http=None,  # type: ignore[arg-type]  # slack-sdk sends
        clock=SystemClock(),
    )
    assert isinstance(found, SlackConnector)
    return found


def signed(body: bytes, *, secret: str = "canary-hook-new", late: int = 0, kind: str = "application/json") -> Delivery:
    """Return a delivery signed as the vendor describes it, worked out by hand."""
    now = SystemClock().now_ms()
    stamp = str(now // 1000 - late)
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    headers = {"content-type": kind, "x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
    return Delivery(method="POST", url="https://hub.example/in/chat", headers=headers, body=body, received_ms=now)


def callback(event: dict[str, Any], **more: Any) -> bytes:
    payload = {"team_id": "T0ACME001", "api_app_id": APP, "type": "event_callback", "event": event, "event_id": "Ev1"}
    return orjson.dumps(payload | more)


def message(**more: Any) -> dict[str, Any]:
    plain = {"type": "message", "channel": "C0SUPPORT1", "user": "U0NADIA01", "text": "hi", "ts": "1767603600.000100"}
    return plain | more


def interaction(payload: dict[str, Any], **how: Any) -> Delivery:
    return signed(urlencode({"payload": json.dumps(payload)}).encode(), kind=FORM, **how)


@dataclass
class Bench:
    """
    A workspace and a connection to it.
    """

    double: SlackDouble
    url: str
    connector: SlackConnector

    def call(self, key: str = KEY, *, slot: str = SLOT, timeout: float = 5.0, fence: Any = None) -> Call:
        return open_call(
            self.connector,
            None,  # type: ignore[arg-type]
            key=key,
            slot=slot,
            timeout=timeout,
            fence=fence,
            clock=SystemClock(),
        )

    async def fault(self, **fault: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.url}/_faults", json=fault)
            assert answer.status_code == 204, answer.text

    def question(self, text: str = "Where is my parcel?") -> str:
        said = self.double.say(text)
        return f"C0SUPPORT1/{said['ts']}"

    def answers(self, record: str) -> list[str]:
        channel, _, thread = record.partition("/")
        ours = [one for one in self.double.channels[channel] if one.get("bot_id") == BOT]
        return [one["text"] for one in ours if one.get("thread_ts") == thread]

    async def reply(self, record: str, text: str = "It left yesterday.", key: str = KEY, **more: Any) -> Any:
        return await self.connector.actions["reply"].write(record, {"text": text}, "add", self.call(key, **more))

    def writes(self) -> int:
        return len([call for call in self.double.calls if call["path"].endswith(("postMessage", "update"))])

    @contextlib.asynccontextmanager
    async def hearing(self) -> AsyncIterator[list[Delivery]]:
        got: list[Delivery] = []
        async with listening(Receiver(got, SystemClock())) as url:
            self.double.hooks.subscribe(f"{url}/in/chat", SECRETS["HOOK"])
            yield got


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    double = SlackDouble()
    async with serving(double) as url:
        connector = connect(f"{url}/api")
        yield Bench(double, url, connector)
        await connector.close()


@pytest.fixture
def connector() -> SlackConnector:
    return connect()


# ---- deliveries --------------------------------------------------------------------------------------


def test_samples_give_their_events(connector: SlackConnector) -> None:
    """Each sample gives what it promises, valid against the declared schema."""
    assert len(connector.samples) == 5
    for sample in connector.samples:
        events = connector.receive(signed(sample.body)).events

        assert len(events) == len(sample.events)
        for event, expected in zip(events, sample.events, strict=True):
            found = event.model_dump()
            assert {name: found[name] for name in expected} == dict(expected)
            jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)


def test_text_becomes_plain(connector: SlackConnector) -> None:
    """Mentions, links and entities are read as people read them."""
    text = "<@U1|nadia> in <#C1|general>: <!here> &lt;b&gt; <https://x.example|the order> <https://y.example> <@U2>"
    [event] = connector.receive(signed(callback(message(text=text)))).events

    assert event.data["text"] == ("@nadia in #general: @here <b> the order (https://x.example) https://y.example @U2")


def test_a_duplicate_with_another_event_id_is_one_event(connector: SlackConnector) -> None:
    """Slack sends again with another `event_id`, and with retry headers: the id comes from the message."""
    first = connector.receive(signed(callback(message(), event_id="Ev1"))).events
    again = signed(callback(message(), event_id="Ev2", event_time=1))
    noisy = Delivery(
        method="POST", url=again.url, headers={**again.headers, "x-slack-retry-num": "1"}, body=again.body,
        received_ms=again.received_ms,
    )  # fmt: skip

    assert [event.id for event in connector.receive(noisy).events] == [event.id for event in first]


def test_two_messages_within_a_second_are_two(connector: SlackConnector) -> None:
    """So are two edits of one message, and a message and its mention."""
    bodies = [
        callback(message(ts="1767603600.000100")),
        callback(message(ts="1767603600.000200")),
        callback(message(type="app_mention")),
    ]
    for number in (1, 2):
        body = {"user": "U0NADIA01", "text": f"edit {number}", "ts": "1767603600.000100"}
        body["edited"] = {"user": "U0NADIA01", "ts": f"176760361{number}.000000"}  # type: ignore[assignment]
        bodies.append(callback(message(subtype="message_changed", message=body, previous_message={"text": "hi"})))
    ids = [connector.receive(signed(body)).events[0].id for body in bodies]

    assert len(set(ids)) == 5


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (message(subtype="channel_join"), "channel_join"),
        (message(bot_id="B0OTHER01", app_id="A0OTHER01"), "another bot"),
        (message(subtype="bot_message", bot_id="B0OTHER01", user=None), "another bot"),
        ({"type": "channel_rename", "channel": {}}, "channel_rename"),
        (
            message(subtype="message_changed", message={"text": "a", "ts": "1.0"}, previous_message={"text": "a"}),
            "same",
        ),
        (
            {"type": "reaction_added", "item": {"type": "file"}, "user": "U1", "reaction": "x", "event_ts": "1.0"},
            "file",
        ),
    ],
)
def test_what_makes_no_event_has_a_reason(connector: SlackConnector, event: dict[str, Any], why: str) -> None:
    """It is taken, and ignored with words."""
    received = connector.receive(signed(callback(event)))

    assert received.events == ()
    assert why in str(received.ignored)


def test_other_bots_may_be_answered() -> None:
    """With `other_bots: answer` they are people."""
    found = connect(other_bots="answer").receive(signed(callback(message(bot_id="B0OTHER01")))).events

    assert [event.actor for event in found] == ["U0NADIA01"]


def test_the_challenge_is_answered_to_slack_alone(connector: SlackConnector) -> None:
    """A signed handshake is echoed; an unsigned one is forged."""
    body = orjson.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"})
    reply = connector.receive(signed(body)).reply

    assert reply is not None
    assert reply.body == b"3eZbrw1a"
    with pytest.raises(Forged):
        connector.receive(signed(body, secret="somebody else's"))


@pytest.mark.parametrize("secret", ["HOOK", "HOOK_OLD"])
def test_both_live_secrets(connector: SlackConnector, secret: str) -> None:
    """During a rotation the new and the old secret are believed."""
    assert connector.receive(signed(callback(message()), secret=SECRETS[secret])).events


GOOD = signed(callback(message()))
STAMPS = ["abc", "", "1.5", "inf", "9" * 5000, "-1", "NaN", "1767603600 "]
SIGNATURES = ["", "v0=", "v1=" + GOOD.headers["x-slack-signature"][3:], "ü" * 67, "v0=" + "0" * 64, "0" * 5000]


@pytest.mark.parametrize(
    "changed",
    [{"x-slack-request-timestamp": stamp} for stamp in STAMPS]
    + [{"x-slack-signature": signature} for signature in SIGNATURES]
    + [{"x-slack-signature": GOOD.headers["x-slack-signature"].upper()}],
)
def test_forgeries(connector: SlackConnector, changed: dict[str, str]) -> None:
    """All of them are `Forged`, also those at which slack-sdk's own verifier raises."""
    forged = Delivery(
        method="POST", url=GOOD.url, headers={**GOOD.headers, **changed}, body=GOOD.body, received_ms=GOOD.received_ms
    )
    with pytest.raises(Forged):
        connector.receive(forged)


@pytest.mark.parametrize("late", [301, -301])
def test_stale_and_early_deliveries(connector: SlackConnector, late: int) -> None:
    """More than five minutes away from our clock is forged."""
    with pytest.raises(Forged):
        connector.receive(signed(callback(message()), late=late))


async def test_the_vendors_own_verifier_agrees(bench: Bench) -> None:
    """What our double signs slack-sdk believes, and what it believes we believe."""
    verifier = SignatureVerifier(SECRETS["HOOK"])
    async with bench.hearing() as got:
        bench.question()
        await bench.double.hooks.settled()

    [delivery] = got
    assert verifier.is_valid_request(delivery.body, dict(delivery.headers))
    assert bench.connector.receive(delivery).events


@pytest.mark.parametrize("kind", ["application/json", FORM, "text/plain"])
def test_the_body_alone_says_what_it_means(connector: SlackConnector, kind: str) -> None:
    """Nobody makes a decision of a message, or a message of a decision, by a header that is not signed."""
    pressed: dict[str, Any] = {
        "type": "block_actions",
        "user": {"id": "U0NADIA01"},
        "trigger_id": "t",
        "channel": {"id": "C0REVIEW01"},
    }
    pressed["actions"] = [{"action_id": "penstock_approve", "value": KEY}]
    form = urlencode({"payload": json.dumps(pressed)})
    said = connector.receive(signed(callback(message(text=f"x&{form}&y")), kind=kind))
    decided = connector.receive(signed(form.encode(), kind=kind))

    assert (1, 0) == (len(said.events), len(said.decisions))
    assert (0, 1) == (len(decided.events), len(decided.decisions))


def test_rubbish_is_rejected(connector: SlackConnector) -> None:
    """Well-signed bytes that are no delivery raise `Rejected` or are ignored, and nothing else happens."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=12,
    )
    samples = [orjson.loads(sample.body) for sample in connector.samples]

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=60)
        | json_values.map(lambda data: json.dumps(data).encode())
        | st.tuples(st.sampled_from(samples), st.sampled_from(["event", "team_id", "type"]), json_values).map(
            lambda made: json.dumps({**made[0], made[1]: made[2]}).encode()
        )
        | st.tuples(
            st.sampled_from(samples), st.sampled_from(["ts", "channel", "text", "message", "subtype"]), json_values
        ).map(lambda made: json.dumps({**made[0], "event": {**made[0]["event"], made[1]: made[2]}}).encode()),
        st.sampled_from(["application/json", FORM]),
    )
    def check(body: bytes, kind: str) -> None:
        with contextlib.suppress(Rejected):
            for event in connector.receive(signed(body, kind=kind)).events:
                jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)

    check()


# ---- own writes --------------------------------------------------------------------------------------


async def test_own_messages_are_recognised(bench: Bench) -> None:
    """By our app's id before anybody told us who we are; and what a person said is not ours."""
    record = bench.question()
    async with bench.hearing() as got:
        await bench.reply(record)
        await bench.double.hooks.settled()
        ours = [event for delivery in got for event in bench.connector.receive(delivery).events]
        got.clear()
        bench.double.say("thanks!", thread=record.partition("/")[2])
        await bench.double.hooks.settled()
        theirs = [event for delivery in got for event in bench.connector.receive(delivery).events]

    assert [bool(bench.connector.own(event)) for event in ours] == [True]
    assert [bench.connector.own(event) for event in theirs] == [None]
    assert {event.subject for event in (*ours, *theirs)} == {record}
    await bench.connector.health(bench.call())
    assert bench.connector.own(ours[0]) == f"actor={BOT_USER}"


async def test_edits_of_our_own_are_recognised(bench: Bench) -> None:
    """Our placeholder becomes the answer: an edit of ours."""
    record = bench.question()
    action = bench.connector.actions["reply"]
    assert action.progress
    async with bench.hearing() as got:
        await action.progress.show(record, bench.call())
        await bench.reply(record)
        await bench.double.hooks.settled()

    events = [event for delivery in got for event in bench.connector.receive(delivery).events]
    assert [event.type for event in events] == ["message.posted", "message.edited"]
    assert all(bench.connector.own(event) for event in events)


# ---- replies -----------------------------------------------------------------------------------------


async def test_a_reply_stands_in_the_thread(bench: Bench) -> None:
    """As it was written: nothing in it mentions anybody or hides a link."""
    record = bench.question()
    written = await bench.reply(record, NASTY + " <!channel> <@U0NADIA01> <https://evil.example|harmless>")
    [said] = [one for one in bench.double.channels["C0SUPPORT1"] if one.get("bot_id")]

    assert said["thread_ts"] == record.partition("/")[2]
    assert "<" not in said["text"]
    assert "&lt;!channel&gt;" in said["text"]
    assert written.remote_id == f"C0SUPPORT1/{said['ts']}"


LONG = "Ünï & <co>\n" * 500
"""Longer than a message may become, not than a new one may be."""


@pytest.mark.parametrize("text", ["x" * 100_000, "&" * 30_000, "é" * 39_500])
async def test_an_answer_that_is_too_long_is_cut_and_says_so(bench: Bench, text: str) -> None:
    """Slack takes 40,000 characters, as they are sent; no character is torn apart."""
    record = bench.question()
    await bench.reply(record, text)
    said = bench.answers(record)[0]

    assert said.endswith(" […]")
    assert len(said) > 38_000
    assert html.unescape(said).rstrip(" […]").strip(text[0]) == ""


async def test_a_long_answer_takes_the_place_of_its_placeholder(bench: Bench) -> None:
    """A message cannot be changed to say so much: the whole answer is posted, and the placeholder is gone."""
    record = bench.question()
    progress = bench.connector.actions["reply"].progress
    assert progress
    await progress.show(record, bench.call())
    written = await bench.reply(record, LONG)

    assert [html.unescape(said) for said in bench.answers(record)] == [LONG]
    find = bench.connector.actions["reply"].find
    assert find
    found = await find(record, "add", bench.call())
    assert found is not None
    assert found.remote_id == written.remote_id


async def test_a_long_answer_takes_the_place_of_the_one_before(bench: Bench) -> None:
    """`replace-own` leaves one answer, however long each is."""
    record = bench.question()
    action = bench.connector.actions["reply"]
    for number, text in enumerate(["one", LONG, LONG + "more", "short"]):
        await action.write(record, {"text": text}, "replace-own", bench.call(str(number) * 64))
        assert [html.unescape(said) for said in bench.answers(record)] == [text]


async def test_a_long_update_is_shown_in_blocks(bench: Bench) -> None:
    """As much as Slack shows; what it does not show is named, and a short text later stands alone."""
    record = bench.question()
    written = await bench.reply(record)
    assert written.remote_id
    update = bench.connector.actions["update"]
    message = bench.double.channels["C0SUPPORT1"][-1]
    await update.write(written.remote_id, {"text": LONG}, "add", bench.call(OTHER_KEY))
    whole = "".join(html.unescape(block["text"]["text"]) for block in message["blocks"])
    await update.write(written.remote_id, {"text": LONG * 10}, "add", bench.call(OTHER_KEY))
    last = message["blocks"][-1]["text"]["text"]
    await update.write(written.remote_id, {"text": "short"}, "add", bench.call(OTHER_KEY))

    assert whole == LONG
    assert "characters more" in last
    assert "blocks" not in message


async def test_a_long_draft_is_shown_as_far_as_it_goes(bench: Bench) -> None:
    """It is sent whole, and says that it is not shown whole."""
    record = bench.question()
    await bench.connector.actions["approval"].write(record, {"text": LONG * 5}, "add", bench.call())
    blocks = bench.double.channels["C0REVIEW01"][-1]["blocks"]
    shown = "".join(html.unescape(b["text"]["text"]) for b in blocks if b["block_id"].startswith("penstock_draft_"))
    told = next(b["text"]["text"] for b in blocks if b["block_id"] == "penstock_draft_more")
    left = int(told.split()[0].strip("_").replace(",", ""))

    assert len(shown) - len(html.unescape(told)) + left == len(LONG * 5)


FAULTS = [
    ({"kind": "status", "status": 401}, errors.AuthFailed),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "token_revoked"}}, errors.AuthFailed),
    ({"kind": "status", "status": 403}, errors.Rejected),  # as of one channel: it stops no other
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "missing_scope"}}, errors.Rejected),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "no_permission"}}, errors.Rejected),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "ekm_access_denied"}}, errors.Rejected),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "channel_not_found"}}, errors.NotFound),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "is_archived"}}, errors.Rejected),
    ({"kind": "status", "status": 200, "body": {"ok": False, "error": "internal_error"}}, errors.UnknownOutcome),
    ({"kind": "status", "status": 500}, errors.UnknownOutcome),
    ({"kind": "status", "status": 503}, errors.UnknownOutcome),  # a proxy says it of what broke behind it
    ({"kind": "status", "status": 503, "retry_after": "1"}, errors.Unavailable),
    ({"kind": "drop-before"}, errors.UnknownOutcome),
    ({"kind": "drop-after"}, errors.UnknownOutcome),
    ({"kind": "garbage"}, errors.UnknownOutcome),
    ({"kind": "hang", "seconds": 2}, errors.UnknownOutcome),
]


@pytest.mark.parametrize(("fault", "error"), FAULTS)
@pytest.mark.parametrize("name", ["reply", "post", "update", "react", "approval"])
async def test_failing_writes(bench: Bench, name: str, fault: dict[str, Any], error: type[Exception]) -> None:
    """Each way a write can fail has its error, after one request: slack-sdk repeats nothing."""
    record = bench.question()
    await bench.connector.health(bench.call())
    before = len(bench.double.calls)
    args = {"fields": {"emoji": "eyes"}} if name == "react" else {"text": "hello"}
    place = {"post": "C0SUPPORT1"}.get(name, record)
    if name == "update":
        place = str((await bench.reply(record, key=OTHER_KEY)).remote_id)
        before = len(bench.double.calls)
    await bench.fault(match="^POST ", **fault)
    with pytest.raises(error):
        await bench.connector.actions[name].write(place, args, "add", bench.call(timeout=1.0))

    assert len(bench.double.calls) - before <= 1


@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "garbage"])
@pytest.mark.parametrize("name", ["reply", "post", "approval"])
async def test_a_lost_answer_leaves_one_message(bench: Bench, name: str, kind: str) -> None:
    """Looking first finds the message, or finds none and writes it: one effect."""
    record = bench.question() if name != "post" else "C0SUPPORT1"
    action = bench.connector.actions[name]
    assert action.find
    await bench.fault(kind=kind, match="chat.postMessage")
    with pytest.raises(errors.UnknownOutcome):
        await action.write(record, {"text": "hello"}, "add", bench.call())
    found = await action.find(record, "add", bench.call())
    if found is None:
        await action.write(record, {"text": "hello"}, "add", bench.call())
    ours = [one for held in bench.double.channels.values() for one in held if one.get("bot_id") == BOT]

    assert len(ours) == 1
    assert (found is None) == (kind == "drop-before")
    assert await action.find(record, "add", bench.call(OTHER_KEY)) is None


async def test_slack_sdk_by_itself_posts_twice(bench: Bench) -> None:
    """Its default handlers repeat a request whose connection broke after it arrived; ours has none."""
    await bench.fault(kind="drop-after", match="chat.postMessage")
    naive = AsyncWebClient(token=TOKEN, base_url=f"{bench.url}/api/")
    await naive.chat_postMessage(channel="C0SUPPORT1", text="naive")
    await bench.fault(kind="drop-after", match="chat.postMessage")
    with pytest.raises(errors.UnknownOutcome):
        await bench.connector.actions["post"].write("C0SUPPORT1", {"text": "ours"}, "add", bench.call())
    texts = [one["text"] for one in bench.double.channels["C0SUPPORT1"]]

    assert texts == ["naive", "naive", "ours"]


@pytest.mark.parametrize(("asked", "low", "high"), [("7", 7, 7), ("date:9", 7, 9), (None, None, None)])
async def test_retry_after(bench: Bench, asked: str | None, low: float | None, high: float | None) -> None:
    """A wait asked for in seconds or as a date is passed on, and kept to by what follows."""
    record = bench.question()
    await bench.fault(kind="status", status=429, retry_after=asked, body={"ok": False, "error": "ratelimited"})
    with pytest.raises(errors.Unavailable) as raised:
        await bench.reply(record)
    wait = raised.value.retry_after

    assert wait is None if low is None or high is None else wait is not None and low <= wait <= high
    if asked is not None:
        calls = len(bench.double.calls)
        with pytest.raises(errors.Unavailable):
            await bench.reply(record, timeout=0.5)
        assert len(bench.double.calls) == calls, "nothing is sent while Slack wants to be left alone"


async def test_a_token_that_is_always_refused(bench: Bench) -> None:
    """At most three requests, and one clear error."""
    bench.double._token = "another"
    record = bench.question()
    with pytest.raises(errors.AuthFailed):
        await bench.reply(record)

    assert len(bench.double.calls) <= 3


async def test_a_rotation(bench: Bench) -> None:
    """While Slack does not know the new token yet, the one before is tried at once: one effect."""
    connector = connect(f"{bench.url}/api", bot_token=["${env:NEWER}", "${env:BOT}"], environment={"NEWER": "xoxb-new"})
    rotating = Bench(bench.double, bench.url, connector)
    record = bench.question()
    await rotating.reply(record)
    await connector.close()

    assert bench.answers(record) == ["It left yesterday."]


async def test_the_fence_is_asked_last(bench: Bench) -> None:
    """A worker that lost its lane sends nothing."""
    record = bench.question()

    def fence() -> None:
        raise errors.Fenced

    with pytest.raises(errors.Fenced):
        await bench.reply(record, fence=fence)
    assert bench.double.calls == []


async def test_replace_own_changes_what_we_said(bench: Bench) -> None:
    """A later run of the same delivery edits our answer; the same text changes nothing; another slot is another answer."""
    record = bench.question()
    action = bench.connector.actions["reply"]
    await action.write(record, {"text": "one"}, "replace-own", bench.call())
    await action.write(record, {"text": "two"}, "replace-own", bench.call(OTHER_KEY))
    same = await action.write(record, {"text": "two"}, "replace-own", bench.call("3" * 64))
    await action.write(record, {"text": "other"}, "replace-own", bench.call("4" * 64, slot="b" * 32))

    assert bench.answers(record) == ["two", "other"]
    assert same.already


async def test_a_reaction_twice_is_one(bench: Bench) -> None:
    """`already_reacted` is success."""
    record = bench.question()
    for _ in range(2):
        await bench.connector.actions["react"].write(record, {"fields": {"emoji": ":eyes:"}}, "add", bench.call())

    assert bench.double.channels["C0SUPPORT1"][0]["reactions"] == {"eyes": [BOT_USER]}


@pytest.mark.parametrize("record", ["", "..", "C0SUPPORT1", "C0SUPPORT1/..", "x/1.000001", "C0SUPPORT1/1767603600"])
async def test_records_that_are_none(bench: Bench, record: str) -> None:
    """They are `NotFound` before anything is sent."""
    with pytest.raises(errors.NotFound):
        await bench.reply(record)

    assert bench.double.calls == []


async def odd(answer: dict[str, Any], body: bytes) -> tuple[list[type[BaseException]], list[str]]:
    """Return what a read and a write are to us where Slack answers so, and which paths were asked for."""
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", **answer})
        await send({"type": "http.response.body", "body": body})

    raised: list[type[BaseException]] = []
    async with listening(app) as url:
        found = Bench(SlackDouble(), url, connect(f"{url}/api"))
        try:
            for work in (
                found.connector.lookups["user"].fetch("U0NADIA01", found.call(), 1),
                found.reply(f"{THREAD}/1.000000"),
            ):
                with pytest.raises(errors.EdgeError) as error:
                    await work
                raised.append(error.type)
        finally:
            await found.connector.close()
    return raised, asked


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    """It would take our token along, and a write would be made twice."""
    raised, asked = await odd({"status": status, "headers": [(b"location", b"/elsewhere")]}, b"{}")

    assert [errors.Unavailable, errors.UnknownOutcome] == raised
    assert ["/api/users.info", "/api/chat.postMessage"] == asked


async def test_an_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is read up to a bound."""
    monkeypatch.setattr("connectors.slack.session.LONGEST", 100_000)
    json_type = [(b"content-type", b"application/json")]
    raised, _ = await odd(
        {"status": 200, "headers": json_type}, b'{"ok": true, "ts": "1.1", "x": "' + b"x" * 200_000 + b'"}'
    )

    assert [errors.Unavailable, errors.UnknownOutcome] == raised


# ---- progress ----------------------------------------------------------------------------------------


async def test_a_placeholder_becomes_the_answer(bench: Bench) -> None:
    """One message in the thread, also when another process writes the answer."""
    for elsewhere in (False, True):
        record = bench.question()
        progress = bench.connector.actions["reply"].progress
        assert progress
        await progress.show(record, bench.call())
        waiting = bench.answers(record)
        writer = bench
        if elsewhere:
            writer = Bench(bench.double, bench.url, connect(f"{bench.url}/api"))
            again = writer.connector.actions["reply"].progress
            assert again
            await again.show(record, bench.call())
        await writer.reply(record)

        assert "⏳" in waiting[0]
        assert bench.answers(record) == ["It left yesterday."]
        if elsewhere:
            await writer.connector.close()


async def test_a_placeholder_is_taken_away(bench: Bench) -> None:
    """When nothing will be written, it goes; an answer stays."""
    record, other = bench.question(), bench.question()
    progress = bench.connector.actions["reply"].progress
    assert progress
    await progress.show(record, bench.call())
    await progress.clear(record, bench.call())
    await bench.reply(other)
    await progress.clear(other, bench.call())

    assert bench.answers(record) == []
    assert bench.answers(other) == ["It left yesterday."]


async def test_a_placeholder_somebody_deleted(bench: Bench) -> None:
    """The answer is posted anew."""
    record = bench.question()
    progress = bench.connector.actions["reply"].progress
    assert progress
    await progress.show(record, bench.call())
    bench.double.channels["C0SUPPORT1"].pop()
    await bench.reply(record)

    assert bench.answers(record) == ["It left yesterday."]


async def shown(bench: Bench, record: str, key: str = KEY) -> None:
    progress = bench.connector.actions["reply"].progress
    assert progress
    await progress.show(record, bench.call(key))


async def test_a_placeholder_whose_answer_was_lost(bench: Bench) -> None:
    """It is looked for before anything is written, and becomes the answer: it does not stay for ever."""
    record = bench.question()
    await bench.fault(kind="drop-after", match="postMessage")
    with pytest.raises(errors.UnknownOutcome):
        await shown(bench, record)
    await bench.reply(record)

    assert ["It left yesterday."] == bench.answers(record)


async def test_an_answer_behind_a_placeholder_is_found(bench: Bench) -> None:
    """Another process wrote the answer and left the placeholder: there is an answer, and no second one is written."""
    record = bench.question()
    await shown(bench, record)
    other = Bench(bench.double, bench.url, connect(f"{bench.url}/api"))
    await bench.fault(kind="drop-after", match="postMessage")
    with pytest.raises(errors.UnknownOutcome):
        await other.reply(record)
    find = bench.connector.actions["reply"].find
    assert find
    found = await find(record, "add", bench.call())
    await other.connector.close()

    assert found is not None
    assert "It left yesterday." == bench.answers(record)[-1]


@pytest.mark.parametrize("second", ["It left yesterday.", "It arrived.", "long " * 2_000])
async def test_no_placeholder_stays_beside_an_answer_that_is_replaced(bench: Bench, second: str) -> None:
    """The answer of before is what changes, or stays as it is; the placeholder goes."""
    record = bench.question()
    reply = bench.connector.actions["reply"]
    await reply.write(record, {"text": "It left yesterday."}, "replace-own", bench.call())
    await shown(bench, record, OTHER_KEY)
    await reply.write(record, {"text": second}, "replace-own", bench.call(OTHER_KEY))

    assert [second] == bench.answers(record)


async def test_a_placeholder_that_cannot_be_taken_away(bench: Bench) -> None:
    """What was written is written, whatever becomes of the placeholder."""
    record = bench.question()
    reply = bench.connector.actions["reply"]
    await reply.write(record, {"text": "It left yesterday."}, "replace-own", bench.call())
    await shown(bench, record, OTHER_KEY)
    await bench.fault(kind="status", status=500, match="chat.delete")
    await reply.write(record, {"text": "It arrived."}, "replace-own", bench.call(OTHER_KEY))

    assert "It arrived." == bench.answers(record)[0]


async def test_an_update_leaves_a_reply_the_reply_it_is(bench: Bench) -> None:
    """Its key and its slot stay: it is found again, and replaced by the next one."""
    record = bench.question()
    reply, update = bench.connector.actions["reply"], bench.connector.actions["update"]
    wrote = await reply.write(record, {"text": "first"}, "replace-own", bench.call())
    await update.write(str(wrote.remote_id), {"text": "changed"}, "add", bench.call(OTHER_KEY, slot="other"))
    assert reply.find
    found = await reply.find(record, "add", bench.call())
    await reply.write(record, {"text": "second"}, "replace-own", bench.call("c" * 64))

    assert found is not None
    assert ["second"] == bench.answers(record)


async def test_a_placeholder_is_not_taken_for_the_answer(bench: Bench) -> None:
    """`find` after a crash between the placeholder and the answer says: not written."""
    record = bench.question()
    action = bench.connector.actions["reply"]
    assert action.progress
    assert action.find
    await action.progress.show(record, bench.call())

    assert await action.find(record, "add", bench.call()) is None


# ---- approval ----------------------------------------------------------------------------------------


async def drafted(bench: Bench, text: str = "Shall I?") -> str:
    record = bench.question()
    await bench.connector.actions["approval"].write(record, {"text": text}, "add", bench.call())
    return record


def received(bench: Bench, deliveries: list[Delivery]) -> list[Any]:
    return [bench.connector.receive(delivery) for delivery in deliveries if delivery.headers["content-type"] == FORM]


@pytest.mark.parametrize("choice", ["approve", "discard"])
async def test_a_decision(bench: Bench, choice: str) -> None:
    """The button gives a decision with the draft's key; what was decided stands on the draft, without buttons."""
    async with bench.hearing() as got:
        record = await drafted(bench)
        bench.double.press(choice)
        await bench.double.hooks.settled()
        [answer] = received(bench, got)
    approval = bench.connector.actions["approval"].approval
    assert approval
    assert approval.find
    [decision] = answer.decisions
    if choice == "approve":
        await approval.publish(record, {"text": "Shall I?"}, decision, bench.call(OTHER_KEY))
        assert await approval.find(record, bench.call(OTHER_KEY))
    await approval.close(record, decision, bench.call())
    [draft] = bench.double.channels["C0REVIEW01"]

    assert decision == Decision(key=KEY, choice=choice, by="U0NADIA01")  # type: ignore[arg-type]
    assert answer.reply.status == 200
    assert bench.answers(record) == (["Shall I?"] if choice == "approve" else [])
    assert not [block for block in draft["blocks"] if block["type"] == "actions"]
    assert "<@U0NADIA01>" in draft["blocks"][0]["text"]["text"]


async def test_a_draft_is_edited(bench: Bench) -> None:
    """Edit opens a form with the whole draft; what is sent with it is what goes out."""
    text = 'A "draft" with <b> & 😀\nand lines'
    async with bench.hearing() as got:
        record = await drafted(bench, text)
        bench.double.press("edit")
        await bench.double.hooks.settled()
        [answer] = received(bench, got)
        assert answer.follow
        await answer.follow(bench.call())
        got.clear()
        bench.double.press("", text="Better so.")
        await bench.double.hooks.settled()
        [sent] = received(bench, got)
    approval = bench.connector.actions["approval"].approval
    assert approval
    [decision] = sent.decisions
    await approval.publish(record, {"text": text}, decision, bench.call(OTHER_KEY))

    [form] = bench.double.forms
    assert form["blocks"][0]["element"]["initial_value"] == text
    assert (decision.key, decision.choice, decision.text) == (KEY, "approve", "Better so.")
    assert bench.answers(record) == ["Better so."]


async def test_who_may_decide(bench: Bench) -> None:
    """With `approvers`, others are told that they may not, and nothing is decided."""
    strict = Bench(bench.double, bench.url, connect(f"{bench.url}/api", approvers=["U0BOSS001"]))
    async with bench.hearing() as got:
        await drafted(strict)
        for press in (
            {"choice": "approve"},
            {"choice": "", "text": "mine"},
            {"choice": "approve", "user": "U0BOSS001"},
        ):
            bench.double.press(**press)
            await bench.double.hooks.settled()
        answers = received(strict, got)
    assert answers[0].follow
    await answers[0].follow(strict.call())
    await strict.connector.close()

    assert [len(answer.decisions) for answer in answers] == [0, 0, 1]
    assert bench.double.whispers[0]["user"] == "U0NADIA01"


async def test_an_expired_draft(bench: Bench) -> None:
    """It says so, and has no buttons; found again also by another process."""
    record = await drafted(bench)
    other = connect(f"{bench.url}/api")
    approval = other.actions["approval"].approval
    assert approval
    await approval.close(record, None, bench.call())
    await other.close()
    [draft] = bench.double.channels["C0REVIEW01"]

    assert "Nobody decided" in draft["blocks"][0]["text"]["text"]
    assert len(draft["blocks"]) == 1


def test_interactions_of_others_are_ignored(connector: SlackConnector) -> None:
    """A button or form that is not ours decides nothing; an unsigned one is forged."""
    foreign = {"type": "block_actions", "user": {"id": "U1"}, "actions": [{"action_id": "other", "value": "x"}]}
    found = connector.receive(interaction(foreign))

    assert found.decisions == ()
    assert found.ignored
    ours = {"type": "block_actions", "user": {"id": "U1"}, "actions": [{"action_id": "penstock_approve", "value": KEY}]}
    assert connector.receive(interaction(ours)).decisions
    with pytest.raises(Forged):
        connector.receive(interaction(ours, secret="mine"))


async def test_drafts_need_a_channel(bench: Bench) -> None:
    """Without `review_channel` there is one clear error."""
    given = {"bot_token": "${env:BOT}", "url": f"{bench.url}/api"}
    found = catalog.open(
        "slack",
        given,
        secrets=Secrets(SECRETS, redactor=Redactor()),
        http=None,  # type: ignore[arg-type]
        clock=SystemClock(),
    )
    with pytest.raises(Rejected, match="review_channel"):
        await found.actions["approval"].write(bench.question(), {"text": "x"}, "add", bench.call())


# ---- lookups and health ------------------------------------------------------------------------------


async def test_a_thread_newest_first(bench: Bench) -> None:
    """Over several pages, as plain text, with declared fields only."""
    record = bench.question("first &amp; foremost")
    for number in range(250):
        bench.double.say(f"message {number}", thread=record.partition("/")[2])
    lookup = bench.connector.lookups["thread"]
    found = await lookup.fetch(record, bench.call(), 3)
    everything = await lookup.fetch(record, bench.call(), 1_000)

    assert [one["text"] for one in found] == ["message 249", "message 248", "message 247"]
    assert everything[-1]["text"] == "first & foremost"
    assert all(set(one) == set(lookup.fields) for one in everything)


async def test_people_and_channels(bench: Bench) -> None:
    """Each as declared."""
    for name, by in (("user", "U0NADIA01"), ("channel", "C0SUPPORT1")):
        lookup = bench.connector.lookups[name]
        [found] = await lookup.fetch(by, bench.call(), 1)

        assert set(found) == set(lookup.fields)
        for field, schema in lookup.fields.items():
            jsonschema_rs.validator_for(dict(schema)).validate(found[field])
        for wrong in ("U0NOBODY1", "../x", "", "a b"):
            with pytest.raises(errors.NotFound):
                await lookup.fetch(wrong, bench.call(), 1)


@pytest.mark.parametrize("name", ["post", "approval"])
async def test_a_channel_is_looked_through_as_far_as_it_may_help(bench: Bench, name: str) -> None:
    """A message of ours is looked for among those of the last days: a busy channel takes no more requests for it."""
    action, record = bench.connector.actions[name], bench.question()
    place = "C0SUPPORT1" if name == "post" else record
    await action.write(place, {"text": "hello"}, "add", bench.call())
    channel = bench.double.channels["C0SUPPORT1" if name == "post" else "C0REVIEW01"]
    channel[:0] = [
        {"type": "message", "ts": f"{1_600_000_000 + number}.000000", "text": "old"} for number in range(1_000)
    ]
    assert action.find
    before = len(bench.double.calls)
    found = [await action.find(place, "add", bench.call(key)) for key in (KEY, OTHER_KEY)]

    assert [True, False] == [one is not None for one in found]
    assert 2 == len(bench.double.calls) - before


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (None, "ok"),
        ({"kind": "status", "status": 200, "body": {"ok": False, "error": "account_inactive"}}, "auth"),
        ({"kind": "status", "status": 429, "retry_after": "5"}, "degraded"),
        ({"kind": "drop-before", "times": 5}, "down"),
    ],
)
async def test_health(bench: Bench, fault: dict[str, Any] | None, state: str) -> None:
    """Who we are, or why nobody can tell."""
    if fault:
        await bench.fault(**fault)
    health = await bench.connector.health(bench.call())

    assert health.state == state
    assert health.acts_as == (BOT_USER if state == "ok" else None)


async def test_health_of_what_is_down() -> None:
    """A Slack nobody can reach is `down`."""
    found = connect("http://127.0.0.1:9/api")
    call = open_call(found, None, key=KEY, slot="", timeout=3.0, clock=SystemClock())  # type: ignore[arg-type]
    health = await found.health(call)
    await found.close()

    assert health.state == "down"


async def test_secrets_stay_secret(bench: Bench) -> None:
    """No secret is in a repr, an error or an event, even when Slack echoes it."""
    record = bench.question()
    known = [SECRETS[name] for name in ("BOT", "HOOK", "HOOK_OLD")]
    seen = [repr(bench.connector), repr(vars(bench.connector)), repr(bench.connector._slack)]
    for status in (200, 401, 404, 409, 422, 500):
        echo = {"ok": False, "error": " ".join(known)}
        await bench.fault(kind="status", status=status, body=echo)
        with pytest.raises(errors.EdgeError) as raised:
            await bench.reply(record)
        seen.append(repr(raised.value))

    for secret in known:
        assert not [text for text in seen if secret in text]


async def test_waiting_for_a_turn_leaves_time_for_the_request(bench: Bench) -> None:
    """Half of the time may go by in our own line; then it is `Crowded`, and nothing was sent."""
    record = bench.question()
    reply = bench.connector.actions["reply"]
    bench.connector._slack._channel("C0SUPPORT1")._left = -6.0  # seven seconds until there is a turn
    for timeout in (10.0, 0.0):
        with pytest.raises(errors.Crowded):
            await reply.write(record, {"text": "x"}, "add", bench.call(timeout=timeout))

    assert 0 == bench.writes()


async def test_many_at_once_keep_to_the_pace_of_a_channel(bench: Bench) -> None:
    """A burst is sent, what is too much waits or is told to come later, and none is lost without a word."""
    record = bench.question()
    keys = [f"{number:064}" for number in range(6)]
    done = await asyncio.gather(
        *(bench.reply(record, f"{key}", key=key, timeout=1.0) for key in keys), return_exceptions=True
    )
    sent = [one for one in done if not isinstance(one, BaseException)]

    assert len(bench.answers(record)) == len(sent)
    assert all(isinstance(one, errors.Unavailable) for one in done if isinstance(one, BaseException))
    assert sent, "a burst goes through"


def test_events_of_the_catalog_are_those_it_gives(connector: SlackConnector) -> None:
    """Every sample's type is declared, and every declared type has a name of two words."""
    kinds = {event.type for sample in connector.samples for event in connector.translate(sample.body).events}

    assert kinds <= set(connector.events)
    assert all(
        isinstance(event, Event) for sample in connector.samples for event in connector.translate(sample.body).events
    )
