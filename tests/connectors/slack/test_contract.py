"""
Slack keeps the connector contract. Socket Mode is tested beside this, in `test_socket.py`.
"""

from __future__ import annotations

import contextlib
import html
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

import orjson

from connectors.bench import Bench
from connectors.contract import Connector, Delivery, Reply, Sample
from connectors.double import Asked, serving
from connectors.slack.connector import VERIFY
from connectors.slack.double import APP, BOT, BOT_USER, TOKEN, SlackDouble
from connectors.slack.words import escaped
from connectors.testing import ConnectorContract
from connectors.testing_portrait import READ_FAULTS
from connectors.verification import Verify
from penstock.errors import Unavailable

ROOM, REVIEW = "C0SUPPORT1", "C0REVIEW01"


class Workspace(SlackDouble):
    """
    A workspace that notes down which tokens it refused.
    """

    def remark(self, asked: Asked) -> Mapping[str, Any]:
        return {"refused": self.authenticate(asked) != TOKEN}


class SlackBench(Bench):
    """
    Slack says with status 200 that it refuses a token.
    """

    def refused(self) -> list[Any]:
        return [call for call in self.requests() if call["refused"]]


class TestSlack(ConnectorContract):
    name = "slack"
    environment: ClassVar = {"BOT": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "BOT"
    lacks: ClassVar = {
        "sources": "Socket Mode is tested beside this",
        "cursors": "Socket Mode keeps no place: Slack sends again what was not taken",
        "late_commits": "Socket Mode keeps no place",
        "expiry": "Socket Mode keeps no place",
        "both_ways": "an app gets its events one way or the other",
        "subscriptions": "subscriptions of an app do not expire",
    }
    action = "reply"
    given: ClassVar = {"react": {"fields": {"emoji": "eyes"}}}
    lookup = "thread"
    listing = "thread"
    unknown = (
        "999999999",
        "..",
        "",
        "C0SUPPORT1",
        "C0SUPPORT1/..",
        "C0SUPPORT1/1.000001",
        "C0NOWHERE1/1767603600.000100",
    )
    benches = SlackBench
    refusal: ClassVar = {"kind": "status", "status": 200, "body": {"ok": False, "error": "invalid_auth"}}
    most_requests = 2  # aiohttp asks once more when a connection breaks under a read
    read_faults = (
        *(fault for fault in READ_FAULTS if fault[0].get("status") != 301 and fault[0]["kind"] != "drop-before"),
        ({"kind": "drop-before", "times": 2}, Unavailable),
        ({"kind": "status", "status": 301}, Unavailable),
        ({"kind": "status", "status": 200, "body": {"ok": False, "error": "ratelimited"}}, Unavailable),
    )

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "bot_token": "${env:BOT}",
            "signing_secret": ["${env:HOOK}", "${env:HOOK_OLD}"],
            "review_channel": REVIEW,
            "url": f"{url}/api",
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[SlackDouble, str]]:
        double = Workspace()
        async with serving(double) as url:
            yield double, url

    def record(self, double: SlackDouble, text: str) -> str:
        return f"{ROOM}/{double.say(escaped(text) if len(text) < 10_000 else text)['ts']}"

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["text"])

    def written(self, double: SlackDouble, record: str) -> list[str]:
        thread = record.partition("/")[2]
        ours = [one for one in double.channels[ROOM] if one.get("bot_id") == BOT and one.get("thread_ts") == thread]
        return [html.unescape(one["text"]) for one in ours]

    def comment_by_somebody(self, double: SlackDouble, record: str, text: str) -> None:
        copied = [one["metadata"] for one in double.channels[ROOM] if one["text"] == text and "metadata" in one]
        double.say(text, thread=record.partition("/")[2], **({"metadata": copied[0]} if copied else {}))

    def prepare(self, double: SlackDouble, action: str) -> str:
        if action == "post":
            return ROOM
        if action == "update":
            who = {"user": BOT_USER, "bot_id": BOT, "app_id": APP}
            return f"{ROOM}/{double.say('old', **who)['ts']}"
        return self.record(double, "text")

    def effects(self, double: SlackDouble, action: str, record: str) -> int:
        ours = [one for one in double.channels[ROOM] if one.get("bot_id") == BOT]
        match action:
            case "post" | "update":
                return len([one for one in ours if one["text"] == "hello" and "thread_ts" not in one])
            case "react":
                [message] = [one for one in double.channels[ROOM] if record.endswith(one["ts"])]
                return message.get("reactions", {}).get("eyes", []).count(BOT_USER)
            case "approval":
                return len(double.channels[REVIEW])
            case _:
                return len(self.written(double, record))

    def rule(self, connector: Connector) -> Verify:
        return VERIFY

    def handshakes(self, connector: Connector) -> list[tuple[Delivery, Reply | None]]:
        body = orjson.dumps({"type": "url_verification", "token": "t", "challenge": "3eZbrw1a"})
        return [(self.delivery(connector, body), Reply(headers={"content-type": "text/plain"}, body=b"3eZbrw1a"))]

    def packed(self, sample: Sample, data: Any) -> bytes:
        if sample.headers.get("content-type", "").startswith("application/x-www-form"):
            return urlencode({"payload": json.dumps(data)}).encode()
        return super().packed(sample, data)
