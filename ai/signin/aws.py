"""
Credentials of AWS, as botocore finds them: a role of the machine or the pod, variables, a profile.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from ai.errors import AIError
from penstock.redaction import LIVE

KEPT = 60.0  # seconds before botocore is asked again; it renews a role's credentials 15 minutes before their end


class AwsCredentials:
    """
    The credentials of a process. They are looked for once, however many wait for them.
    """

    def __init__(self) -> None:
        self._found: Any = None
        self._text = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def text(self, *, refused: str | None = None) -> str:
        """
        Return them as AWS writes them in JSON; never the *refused* ones, if others can be found.

        Raises `AIError`: `auth` when there are none, `connection` when nobody could be asked.
        """
        async with self._lock:
            if refused is not None and self._text == refused:
                self._found, self._until = None, 0.0
            if time.monotonic() >= self._until:
                self._found, self._text = await asyncio.to_thread(_look, self._found)
                self._until = time.monotonic() + KEPT
            return self._text


def _look(found: Any) -> tuple[Any, str]:
    """
    Return botocore's credentials, and what they are now; runs in a thread.
    """
    try:
        from botocore import exceptions, session
    except ImportError:
        message = "Bedrock without a key needs botocore: install penstock[bedrock]"
        raise AIError(message, error_class="auth") from None
    try:
        found = found or session.Session().get_credentials()
        now = found.get_frozen_credentials() if found else None
    except exceptions.HTTPClientError as error:
        raise AIError(f"AWS's sign-in cannot be reached: {error}", error_class="connection") from None
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise AIError(f"AWS gives no credentials: {LIVE.hide(str(error))}", error_class="auth") from None
    if now is None or not now.access_key:
        message = "no AWS credentials were found: give the machine a role, or set AWS_PROFILE, or give the model a key"
        raise AIError(message, error_class="auth")
    given = {"AccessKeyId": now.access_key, "SecretAccessKey": now.secret_key}
    if now.token:
        given["SessionToken"] = now.token
    for secret in (now.secret_key, now.token):
        if secret:
            LIVE.add_passing(secret)
    return found, orjson.dumps(given).decode()
