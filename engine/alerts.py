"""
Alerts on their way to people: a log entry, and a signed webhook where one is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.heartbeat import told_in_words
from ledger.parcels import Parcel
from penstock import signing
from penstock.clock import Clock, utc
from penstock.errors import Unavailable
from penstock.http import Http, NotSent, Request, SentNoAnswer
from penstock.units import usd

log = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds
ANSWER_MOST = 64 * 1024  # bytes of an answer nobody reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """
    Where alerts are sent.
    """

    url: str
    secrets: Callable[[], Sequence[str]]
    """The live secrets, newest first; each signs."""
    http: Http


class Alerts:
    """
    Sends what the ledger put into its outbox: a threshold was passed, a gate shut because we are refused,
    a fuse blew, a source is silent.
    """

    def __init__(self, clock: Clock, webhook: Webhook | None = None) -> None:
        self._clock = clock
        self._webhook = webhook
        self._told: set[str] = set()
        """Alerts that were logged here and did not arrive yet."""

    async def send(self, parcel: Parcel) -> None:
        """
        Tell of one threshold; raises when the webhook did not arrive, so that it is sent again.
        """
        alert = orjson.loads(parcel.body)
        if parcel.id not in self._told:
            self._tell(alert)
            self._told.add(parcel.id)
        if self._webhook is not None:
            await self._post(self._webhook, parcel, "budget.alert", alert, in_words(alert))
        self._told.discard(parcel.id)

    async def blown(self, parcel: Parcel) -> None:
        """
        Tell of one fuse that blew; raises as `send` does.
        """
        alert = orjson.loads(parcel.body)
        words = (
            f"the fuse of {alert['pipeline']} blew for {alert['lane']!r}: more runs than {alert['limit']}; "
            f"its events end dead until {utc(alert['until']):%Y-%m-%d %H:%M:%S} UTC"
        )
        await self._report(parcel, "fuse.blown", alert, words)

    async def silent(self, parcel: Parcel) -> None:
        """
        Tell of one source that is silent; raises as `send` does.
        """
        alert = orjson.loads(parcel.body)
        await self._report(parcel, "source.silent", alert, told_in_words(alert))

    async def _report(self, parcel: Parcel, kind: str, alert: dict[str, Any], words: str) -> None:
        if parcel.id not in self._told:
            log.warning("%s", words, extra={f"penstock.{name}": value for name, value in alert.items() if name != "at"})
            self._told.add(parcel.id)
        if self._webhook is not None:
            await self._post(self._webhook, parcel, kind, alert, words)
        self._told.discard(parcel.id)

    async def refused(self, parcel: Parcel) -> None:
        """
        Tell of one gate that shut because we are refused, which the log has said; raises as `send` does.
        """
        if self._webhook is not None:
            alert = orjson.loads(parcel.body)
            words = f"gate {alert['gate']} is shut until somebody sees to it: {alert['reason']}"
            await self._post(self._webhook, parcel, "gate.refused", alert, words)

    def _tell(self, alert: dict[str, Any]) -> None:
        scope, period = alert["scope"], alert["period"]
        extra = {f"penstock.{name}": value for name, value in alert.items() if name != "at"}
        log.warning("budget alert: %s", in_words(alert), extra=extra | {"penstock.alert": f"{scope}/{period}"})

    async def _post(self, webhook: Webhook, parcel: Parcel, kind: str, alert: dict[str, Any], words: str) -> None:
        body = orjson.dumps(
            {
                "type": kind,
                "timestamp": utc(alert["at"]).isoformat(),
                "data": {name: value for name, value in alert.items() if name != "at"} | {"text": words},
            }
        )
        at = self._clock.now_ms() // 1000
        signed = signing.headers(message=f"msg_{parcel.id}", at=at, body=body, secrets=webhook.secrets())
        request = Request.to("POST", webhook.url, content=body, headers=signed | {"content-type": "application/json"})
        try:
            response = await webhook.http.send(request, timeout=TIMEOUT, max_body=ANSWER_MOST)
        except (NotSent, SentNoAnswer) as error:
            raise Unavailable(f"the webhook for alerts did not arrive: {error}") from error
        if not 200 <= response.status < 300:
            raise Unavailable(f"the webhook for alerts was answered with {response.status}")


def in_words(alert: dict[str, Any]) -> str:
    """
    Return an alert as one sentence.
    """
    scope, period, threshold = alert["scope"], alert["period"], alert["threshold"]
    money = f"{usd(alert['spent'])} spent of {usd(alert['limit'])}"
    if threshold == "overrun":
        return f"a call under {scope} cost more than was reserved for it; in {period} {money}"
    if threshold == "100%":
        return f"{scope} is used up for {period}: {money}"
    return f"{scope} has reached {threshold} for {period}: {money}"
