"""
What gives alerts, and where they are posted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TypedDict

from engine import Webhook
from engine.heartbeat import Limit, limits_of
from penstock.errors import Invalid
from penstock.http import Http
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import SecretRefs, Secrets, is_reference
from pipelines.declaration import Declaration


class Alerting(TypedDict):
    """
    What the engine is told of alerts.
    """

    silence: Mapping[str, Limit]
    webhook: Webhook | None


def alerting(
    declaration: Declaration, secrets: Secrets, http: Http | None, stack: contextlib.AsyncExitStack
) -> Alerting:
    """
    Return how long connections may be silent, and where alerts go.
    """
    return {"silence": limits_of(declaration), "webhook": _webhook_of(declaration, secrets, http, stack)}


def _webhook_of(
    declaration: Declaration, secrets: Secrets, http: Http | None, stack: contextlib.AsyncExitStack
) -> Webhook | None:
    """
    Return where alerts go; a way out of its own sees to it that they stay out of our network.
    """
    wanted = declaration.hub.alerts
    if wanted is None:
        return None
    if http is None:
        http = AiohttpHttp(allow_private=wanted.allow_private)
        stack.push_async_callback(http.close)
    url = secrets.get(wanted.url).reveal() if is_reference(wanted.url) else wanted.url
    if not wanted.allow_private and not url.startswith("https://"):
        raise Invalid("alerts go to https:// only", where="hub.alerts.url", hint="or set `allow_private: true`")
    refs = SecretRefs.parse(wanted.secret)
    return Webhook(url=url, secrets=lambda: [each.reveal() for each in secrets.all(refs)], http=http)
