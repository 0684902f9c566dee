"""
Slack's Web API through slack-sdk: one request per call, no retries, our deadline, our fence, our errors.

slack-sdk repeats a request whose connection broke, which posts twice (its default `retry_handlers`). Nothing here is
repeated: the engine looks first, and tries again later.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from connectors.budget import Budget, BudgetRule
from connectors.calling import WAITING
from connectors.contract import Call
from connectors.settings import Settled
from connectors.slack.session import session
from penstock.clock import Clock
from penstock.errors import (
    AuthFailed,
    Away,
    Conflict,
    Crowded,
    EdgeError,
    NotFound,
    Rejected,
    Unavailable,
    UnknownOutcome,
)
from penstock.retry import parse_retry_after

CHANNELS = 1_000  # channels whose pace is remembered
PER_CHANNEL = BudgetRule(name="Slack messages per channel", requests=3, per=3.0, concurrency=1)
"""About one message a second and channel, with short bursts: api.slack.com/apis/rate-limits."""
TIERS: Mapping[str, BudgetRule] = {
    "conversations.replies": BudgetRule(name="Slack tier 3 (threads)", requests=50, per=60.0),
    "conversations.history": BudgetRule(name="Slack tier 3 (history)", requests=50, per=60.0),
    "conversations.info": BudgetRule(name="Slack tier 3 (channels)", requests=50, per=60.0),
    "users.info": BudgetRule(name="Slack tier 4 (people)", requests=100, per=60.0),
    "chat.update": BudgetRule(name="Slack tier 3 (updates)", requests=50, per=60.0),
    "chat.delete": BudgetRule(name="Slack tier 3 (deletes)", requests=50, per=60.0),
    "reactions.add": BudgetRule(name="Slack tier 3 (reactions)", requests=50, per=60.0),
}
_OTHERS = BudgetRule(name="Slack", requests=100, per=60.0)

_AUTH = frozenset(
    [
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "token_expired",
        "account_inactive",
        "not_allowed_token_type",
        "org_login_required",
        "team_access_not_granted",
    ]
)
"""Of the token. What an app may not do to one channel (`missing_scope`, `no_permission`) is refused, and stops no other."""
_GONE = frozenset(
    [
        "channel_not_found",
        "message_not_found",
        "thread_not_found",
        "user_not_found",
        "users_not_found",
        "not_in_channel",
        "cant_update_message",
        "cant_delete_message",
    ]
)
_LATER = frozenset(["ratelimited", "rate_limited", "service_unavailable", "team_added_to_org"])
_UNKNOWN = frozenset(["fatal_error", "internal_error", "request_timeout"])


class Slack:
    """
    One app in one workspace.
    """

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self._settled = settled
        self._clock = clock
        self._url = str(settled.values["url"]).rstrip("/") + "/"
        self._session: aiohttp.ClientSession | None = None
        self._budgets = {method: Budget(rule, clock) for method, rule in TIERS.items()}
        self._others = Budget(_OTHERS, clock)
        self._channels: OrderedDict[str, Budget] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Slack at {self._url}>"

    async def ask(self, method: str, call: Call, **words: Any) -> Mapping[str, Any]:
        """
        Read; raises an `EdgeError`.
        """
        words = {name: value for name, value in words.items() if value is not None}
        return await self._exchange(method, call, None, write=False, words=words)

    async def tell(self, method: str, call: Call, *, channel: str | None = None, **words: Any) -> Mapping[str, Any]:
        """
        Write, once; raises an `EdgeError`, `UnknownOutcome` when the answer was lost.
        """
        words = {name: value for name, value in words.items() if value is not None}
        if channel is not None:
            words["channel"] = channel
        return await self._exchange(method, call, channel, write=True, words=words)

    def now(self) -> float:
        """
        Return the time as Slack writes it: seconds since 1970.
        """
        return self._clock.now_ms() / 1000

    def web(self, token: str) -> AsyncWebClient:
        """
        Return a client with *token* that repeats nothing.
        """
        if self._session is None or self._session.closed:
            self._session = session()
        return AsyncWebClient(token=token, base_url=self._url, session=self._session, retry_handlers=[])

    async def _exchange(
        self, method: str, call: Call, channel: str | None, *, write: bool, words: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        budget = self._budgets.get(method, self._others)
        if method == "chat.postMessage" and channel is not None:
            budget = self._channel(channel)
        refused: AuthFailed | None = None
        for attempt in range(2):
            now = self._clock.monotonic()
            async with budget.turn(now + max(0.0, call.deadline - now) * WAITING):  # the rest is the request's own
                token = self._settled.secrets("bot_token")
                try:
                    return await self._once(method, call, token[min(attempt, len(token) - 1)], budget, write, words)
                except AuthFailed as error:
                    refused = error
            if len(token) < 2:
                break
        assert refused is not None
        await self._settled.renew("bot_token")
        raise refused

    async def _once(
        self, method: str, call: Call, token: str, budget: Budget, write: bool, words: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        left = call.deadline - self._clock.monotonic()
        if left <= 0:
            raise Crowded(f"{method}: no time was left to send it")
        client = self.web(token)
        call.fence()
        try:
            async with asyncio.timeout(left):
                if write:
                    response = await client.api_call(method, json=dict(words))
                else:
                    response = await client.api_call(method, http_verb="GET", params=dict(words))
        except SlackApiError as error:
            raise self._meant(method, error, budget, write=write) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unavailable(f"{method}: Slack cannot be reached: {self._clean(error)}") from None
        except (aiohttp.ClientError, TimeoutError, OSError, SlackClientError, ValueError) as error:
            kind = UnknownOutcome if write else Unavailable
            raise kind(f"{method}: no answer came: {self._clean(error) or 'it took too long'}") from None
        data = response.data
        if not isinstance(data, dict):
            raise (UnknownOutcome if write else Unavailable)(f"{method}: the answer is not JSON")
        return data

    def _meant(self, method: str, error: SlackApiError, budget: Budget, *, write: bool) -> EdgeError:
        response = error.response
        status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0)
        data = getattr(response, "data", None)
        code = str(data.get("error") or "") if isinstance(data, dict) else ""
        said = f"{method}: {status} {self._clean(code)}".rstrip()
        wait = self._wait(getattr(response, "headers", None) or {})
        busy = status == 503 and not code and (wait is not None or not write)  # else a proxy may say it, all being sent
        if status == 429 or code in _LATER or busy:
            if wait is not None:
                budget.pause(wait)
            return Unavailable(said, retry_after=wait)
        if code in _AUTH or status == 401:
            return AuthFailed(said)
        if code in _GONE or status == 404:
            return NotFound(said)
        if status == 409:
            return Conflict(said)
        if code in _UNKNOWN or not code or status >= 500:
            if 400 <= status < 500:
                return Rejected(said)
            unknown = Away if status == 503 and not code else UnknownOutcome
            return (unknown if write else Unavailable)(f"{said} (no proper answer)" if not code else said)
        return Rejected(said)

    def _wait(self, headers: Mapping[str, str]) -> float | None:
        asked = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        return parse_retry_after(asked, datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC))

    def _channel(self, channel: str) -> Budget:
        found = self._channels.pop(channel, None) or Budget(PER_CHANNEL, self._clock)
        self._channels[channel] = found
        while len(self._channels) > CHANNELS:
            self._channels.popitem(last=False)
        return found

    def _clean(self, error: object) -> str:
        said = " ".join(str(error).split())[:200]
        for secret in self._settled.revealed():
            said = said.replace(secret, "***")
        return said

    async def close(self) -> None:
        """
        Give the connections back.
        """
        if self._session is not None:
            await self._session.close()
