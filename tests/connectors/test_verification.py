"""
The one verifier, in each of the shapes vendors use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.contract import Delivery
from connectors.verification import Stamp, Verify, sign, signed, verify
from penstock.errors import Forged

NOW = 1_767_603_600_000  # ms
SECRET = "secret"
BODY = b'{"a": "\xc3\xbc", "b":  1}\n'


def delivery(
    headers: dict[str, str] | None = None, body: bytes = BODY, url: str = "https://hub.example/in/x"
) -> Delivery:
    return Delivery(method="POST", url=url, headers=headers or {}, body=body, received_ms=NOW)


def digest(message: bytes) -> bytes:
    return hmac.new(SECRET.encode(), message, hashlib.sha256).digest()


SLACK = Verify(
    secret="s",
    message="v0:{timestamp}:{body}",
    encoding="hex",
    prefix="v0=",
    header="x-slack-signature",
    timestamp=Stamp(header="x-slack-request-timestamp", form="unix"),
)
HUBSPOT = Verify(
    secret="s",
    message="{method}{url}{body}{timestamp}",
    encoding="base64",
    header="x-hubspot-signature-v3",
    timestamp=Stamp(header="x-hubspot-request-timestamp", form="unix-ms"),
)
XERO = Verify(secret="s", encoding="base64", header="x-xero-signature")


@pytest.mark.parametrize(
    ("rule", "headers"),
    [
        (
            SLACK,
            {
                "x-slack-request-timestamp": "1767603600",
                "x-slack-signature": "v0=" + digest(b"v0:1767603600:" + BODY).hex(),
            },
        ),
        (
            HUBSPOT,
            {
                "x-hubspot-request-timestamp": "1767603600000",
                "x-hubspot-signature-v3": base64.b64encode(
                    digest(b"POSThttps://hub.example/in/x" + BODY + b"1767603600000")
                ).decode(),
            },
        ),
        (XERO, {"x-xero-signature": base64.b64encode(digest(BODY)).decode()}),
    ],
)
def test_vendor_shapes(rule: Verify, headers: dict[str, str]) -> None:
    """Signatures worked out by hand are believed, are what `sign` gives, and fit no other body or URL."""
    verify(rule, delivery(headers), [SECRET])

    assert headers == sign(rule, delivery(), SECRET)
    with pytest.raises(Forged):
        verify(rule, delivery(headers, BODY + b" "), [SECRET])
    if "{url}" in rule.message:
        with pytest.raises(Forged):
            verify(rule, delivery(headers, url="https://other.example/in/x"), [SECRET])


def test_slack_published_value() -> None:
    """The value Slack publishes in its documentation is believed."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    came = Delivery(method="POST", url="", headers=headers, body=body, received_ms=1_531_420_620_000)
    verify(SLACK, came, ["8f742231b10e8888abcd99yyyzzz85a5"])


@pytest.mark.parametrize("late", [-301_000, -300_000, 0, 300_000, 301_000])
def test_tolerance(late: int) -> None:
    """A delivery may be as old or as early as the tolerance, and not a second more."""
    came = Delivery(method="POST", url="", headers={}, body=BODY, received_ms=NOW)
    headers = dict(signed(SLACK, came, SECRET))
    arrived = Delivery(method="POST", url="", headers=headers, body=BODY, received_ms=NOW + late)
    if abs(late) > 300_000:
        with pytest.raises(Forged):
            verify(SLACK, arrived, [SECRET])
    else:
        verify(SLACK, arrived, [SECRET])


@pytest.mark.parametrize("stamp", ["", "x", "-5", "9" * 400, "1e9", "١٧٦٧٦٠٣٦٠٠", "1767603600.5"])
def test_broken_times_are_forged(stamp: str) -> None:
    """A time that cannot be read is `Forged` even when it is signed."""
    headers = {
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": "v0=" + digest(b"v0:" + stamp.encode() + b":" + BODY).hex(),
    }
    if stamp == "١٧٦٧٦٠٣٦٠٠":  # digits of another script are a number to Python, and the time is right
        verify(SLACK, delivery(headers), [SECRET])
        return
    with pytest.raises(Forged):
        verify(SLACK, delivery(headers), [SECRET])


def test_no_secret_believes_nobody() -> None:
    """Without a live secret nothing is believed."""
    headers = sign(XERO, delivery(), SECRET)
    with pytest.raises(Forged):
        verify(XERO, delivery(headers), [])


def test_every_secret_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """All secrets are compared each time, so that the time taken tells nothing about which one fits."""
    compared: list[bytes] = []
    real = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return real(left, right)

    monkeypatch.setattr("connectors.verification.hmac.compare_digest", counting)
    verify(XERO, delivery(sign(XERO, delivery(), SECRET)), [SECRET, "old"])

    assert 2 == len(compared)


STAMP = {"header": "x-time", "form": "unix"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"message": "{timestamp}", "timestamp": STAMP}, "needs '{body}'"),
        ({"timestamp": STAMP}, "go together"),  # anybody could send an old delivery with a new time
        ({"message": "{timestamp}.{body}"}, "go together"),
        ({"message": "{timestamp}.{bdy}", "timestamp": STAMP}, "has '{bdy}'"),
        ({"message": "{body}}"}, "has '}'"),
        ({"message": "{{body}"}, "has '{'"),
        ({"way": "shared", "timestamp": STAMP}, "way: hmac"),
        ({"way": "standard-webhooks", "message": "{body}"}, "way: hmac"),
    ],
)
def test_rules_that_would_believe_too_much(wrong: dict[str, Any], says: str) -> None:
    """A description whose signature does not cover the body, or the time it is bounded by, is a mistake."""
    with pytest.raises(ValidationError, match=says):
        Verify.model_validate({"secret": "s", "header": "x-sig", **wrong})
