"""
Signatures of what we send, against the published example of Standard Webhooks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from penstock.signing import headers, key_of

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's own example
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'


def test_the_published_example() -> None:
    """The example of the specification gets the signature it has there."""
    assert headers(message=ID, at=1614265330, body=BODY, secrets=[SECRET]) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_during_a_rotation_both_secrets_sign() -> None:
    """A receiver that knows either secret believes the message."""
    found = headers(message=ID, at=5, body=BODY, secrets=["new", "old"])["webhook-signature"]
    wanted = [hmac.new(key, f"{ID}.5.".encode() + BODY, hashlib.sha256).digest() for key in (b"new", b"old")]

    assert found.split(" ") == [f"v1,{base64.b64encode(each).decode()}" for each in wanted]


def test_a_secret_that_is_no_base64_is_the_key_itself() -> None:
    """A prefix alone makes no base64."""
    assert (key_of("whsec_not base64!"), key_of("plain")) == (b"whsec_not base64!", b"plain")
