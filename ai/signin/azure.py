"""
Access tokens of Microsoft Entra for Azure OpenAI: for a client with a secret, a workload's identity, or the machine's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from ai.errors import AIError
from penstock.clock import Clock, SystemClock
from penstock.http import Http
from penstock.redaction import LIVE
from penstock.secrets.stores.contract import NotGiven
from penstock.secrets.stores.entra import Entra

PUBLIC = "https://cognitiveservices.azure.com"
_CLOUDS = {".azure.cn": "https://cognitiveservices.azure.cn", ".azure.us": "https://cognitiveservices.azure.us"}
"""What tokens are for, by the end of the resource's host; the public cloud's else."""


class EntraTokens:
    """
    The tokens of a process. Each is fetched once, however many wait for it, and replaced shortly before its end.
    """

    def __init__(self, http: Http, *, environment: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._entra = Entra(environment, http=http, clock=clock or SystemClock(), redactor=LIVE)

    async def token(self, url: str, *, refused: str | None = None) -> str:
        """
        Return a token for the resource at *url*; never the *refused* one.

        Raises `AIError`: `auth` when no token is given, `connection` when nobody could be asked.
        """
        token = self._entra.token(_audience(url))
        try:
            found = await token()
            if found == refused:
                token.forget()
                found = await token()
        except NotGiven as error:
            away = error.why == "away"
            message = f"an access token {LIVE.hide(error.problem)}"
            raise AIError(message, error_class="connection" if away else "auth") from None
        return found


def _audience(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return next((audience for end, audience in _CLOUDS.items() if host.endswith(end)), PUBLIC)
