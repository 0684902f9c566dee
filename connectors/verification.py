"""
Whether a delivery comes from whom it claims. One verifier for all systems.

It works on raw bytes, compares in constant time, believes each live secret, and fails in one way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from connectors.contract import Delivery
from connectors.part import Header, Identifier, Part, Seconds
from penstock.clock import utc
from penstock.errors import Forged

_PIECES = re.compile(r"\{(timestamp|method|url|body)\}")
_NEWEST_UNIX = 253_402_300_799  # seconds; the end of the year 9999


class Stamp(Part):
    """
    A signed time that bounds how late a delivery may come.
    """

    header: Header
    form: Literal["iso8601", "unix", "unix-ms"]
    tolerance: Seconds = 300.0


class Verify(Part):
    """
    How a delivery proves its sender.
    """

    way: Literal["hmac", "standard-webhooks", "shared"] = "hmac"
    """`standard-webhooks`: as standardwebhooks.com has it; `shared`: the header is the secret itself."""
    hmac: Literal["sha256"] = "sha256"
    secret: Identifier
    """The setting that holds it: one secret, or [new, old]."""
    public: Identifier | None = None
    """The setting that holds our address as the system knows it: a proxy may have changed the one in the request."""
    message: str = "{body}"
    """What is signed, of `{timestamp}`, `{method}`, `{url}` and `{body}` (raw bytes)."""
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    header: Header = "webhook-signature"
    timestamp: Stamp | None = None

    @model_validator(mode="after")
    def _all_of_it(self) -> Self:
        if self.way != "hmac":
            if self.timestamp is not None or "message" in self.model_fields_set:
                raise ValueError(
                    f"'message' and 'timestamp' are for `way: hmac`; {self.way!r} says itself what is signed"
                )
            return self
        pieces = _PIECES.split(self.message)
        if other := re.search(r"[{}][^{}]*\}?", "".join(pieces[::2])):
            raise ValueError(
                f"'message' has {other[0]!r}; it knows '{{timestamp}}', '{{method}}', '{{url}}' and '{{body}}'"
            )
        if "body" not in pieces[1::2]:
            raise ValueError("'message' needs '{body}': what is not signed could be anything")
        if ("timestamp" in pieces[1::2]) != (self.timestamp is not None):
            raise ValueError(
                "'timestamp' and '{timestamp}' in 'message' go together: a time that is not signed bounds nothing"
            )
        return self


STANDARD = Stamp(header="webhook-timestamp", form="unix")


def verify(rule: Verify, delivery: Delivery, secrets: Sequence[str], settings: Mapping[str, Any] | None = None) -> None:
    """
    Raise `Forged` unless *delivery* was signed with one of *secrets*, and in time.
    """
    if rule.public is not None and (settings or {}).get(rule.public):
        delivery = replace(delivery, url=_at(str((settings or {})[rule.public]), delivery.url))
    given = delivery.headers.get(rule.header, "")
    if rule.way != "hmac":
        _verify_otherwise(rule, delivery, secrets, given)
        return
    stamp = delivery.headers.get(rule.timestamp.header, "") if rule.timestamp else ""
    if not given.startswith(rule.prefix):
        raise Forged(f"The delivery has no signature in {rule.header!r}.")
    message = _message(rule, delivery, stamp)
    claimed = given[len(rule.prefix) :].encode()
    fits = [hmac.compare_digest(_signature(rule, secret, message), claimed) for secret in secrets]
    if not any(fits):
        raise Forged(f"The signature in {rule.header!r} does not fit the body.")
    if rule.timestamp is not None:
        _check_time(rule.timestamp, stamp, delivery.received_ms)


def _verify_otherwise(rule: Verify, delivery: Delivery, secrets: Sequence[str], given: str) -> None:
    if rule.way == "shared":
        fits = [hmac.compare_digest(f"{rule.prefix}{secret}".encode(), given.encode()) for secret in secrets]
        if not any(fits):
            raise Forged(f"The header {rule.header!r} is not the secret we share.")
        return
    stamp = delivery.headers.get(STANDARD.header, "")
    wanted = [_standard(secret, delivery, stamp) for secret in secrets]
    fits = [hmac.compare_digest(one, claimed.encode()) for one in wanted for claimed in given.split(" ")]
    if not any(fits):
        raise Forged(f"No signature in {rule.header!r} fits the body.")
    _check_time(STANDARD, stamp, delivery.received_ms)


def _standard(secret: str, delivery: Delivery, stamp: str) -> bytes:
    """
    Return a signature as standardwebhooks.com has it: `v1,` and base64 of an HMAC over id, time and body.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = secret.encode()
    message = f"{delivery.headers.get('webhook-id', '')}.{stamp}.".encode() + delivery.body
    return b"v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest())


def sign(rule: Verify, delivery: Delivery, secret: str) -> dict[str, str]:
    """
    Return the headers the system itself would send with *delivery*.
    """
    headers: dict[str, str] = {}
    stamp = ""
    if rule.way == "shared":
        return {rule.header: rule.prefix + secret}
    if rule.way == "standard-webhooks":
        stamp = _stamp(STANDARD, delivery.received_ms)
        named = {"webhook-id": f"msg_{hashlib.sha256(delivery.body).hexdigest()[:24]}", STANDARD.header: stamp}
        sent = replace(delivery, headers={**delivery.headers, **named})
        return named | {rule.header: _standard(secret, sent, stamp).decode()}
    if rule.timestamp is not None:
        stamp = _stamp(rule.timestamp, delivery.received_ms)
        headers[rule.timestamp.header] = stamp
    signature = _signature(rule, secret, _message(rule, delivery, stamp)).decode()
    return headers | {rule.header: rule.prefix + signature}


def signed(rule: Verify, delivery: Delivery, secret: str) -> Mapping[str, str]:
    """
    Return all headers of *delivery* with the signature added.
    """
    return {**delivery.headers, **sign(rule, delivery, secret)}


def _at(public: str, url: str) -> str:
    """
    Return *url* at the address *public*.
    """
    parts = urlsplit(url)
    return public.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")


def _message(rule: Verify, delivery: Delivery, stamp: str) -> bytes:
    pieces = {
        "timestamp": stamp.encode(),
        "method": delivery.method.encode(),
        "url": delivery.url.encode(),
        "body": delivery.body,
    }
    parts = _PIECES.split(rule.message)  # text and names take turns
    return b"".join(pieces[part] if place % 2 else part.encode() for place, part in enumerate(parts))


def _signature(rule: Verify, secret: str, message: bytes) -> bytes:
    digest = hmac.new(secret.encode(), message, hashlib.sha256)
    return digest.hexdigest().encode() if rule.encoding == "hex" else base64.b64encode(digest.digest())


def _check_time(rule: Stamp, stamp: str, received_ms: int) -> None:
    said = _moment(rule, stamp)
    if said is None or abs((utc(received_ms) - said).total_seconds()) > rule.tolerance:
        raise Forged(f"The time in {rule.header!r} is more than {rule.tolerance:g} seconds away from ours.")


def _moment(rule: Stamp, stamp: str) -> datetime | None:
    try:
        if rule.form == "iso8601":
            moment = datetime.fromisoformat(stamp)
            return moment if moment.tzinfo else None
        seconds = int(stamp) / (1000 if rule.form == "unix-ms" else 1)
        return datetime.fromtimestamp(seconds, UTC) if 0 <= seconds <= _NEWEST_UNIX else None
    except (ValueError, OverflowError):
        return None


def _stamp(rule: Stamp, now_ms: int) -> str:
    if rule.form == "iso8601":
        return utc(now_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(now_ms if rule.form == "unix-ms" else now_ms // 1000)
