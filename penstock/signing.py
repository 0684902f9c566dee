"""
Signatures of what we send, as Standard Webhooks has them: `v1,` and an HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def headers(*, message: str, at: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """
    Return the headers that prove *body* comes from us, signed with every one of *secrets*.

    Args:
        message: The message's id, the same at every attempt: receivers tell repetitions by it.
        at: Unix seconds of this attempt.
    """
    signed = f"{message}.{at}.".encode() + body
    signatures = (hmac.new(key_of(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(each).decode()}" for each in signatures),
    }


def key_of(secret: str) -> bytes:
    """
    Return the key in *secret*: after `whsec_` stands base64; anything else is the key itself.
    """
    if secret.startswith(PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
