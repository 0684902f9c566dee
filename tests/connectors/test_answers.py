"""
What answers mean that no double gives by itself: those of proxies, of locked records, and odd ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from connectors import catalog, open_call
from connectors.bench import KEY, SLOT
from connectors.contract import Call
from connectors.declared import DeclaredConnector
from penstock import errors
from penstock.clock import SystemClock
from penstock.http import Request, Response
from penstock.redaction import Redactor
from penstock.secrets import Secrets

SYSTEMS: dict[str, dict[str, Any]] = {
    "github": {"token": "${env:TOKEN}", "webhook_secret": "${env:HOOK}"},
    "jira": {"site": "acme", "email": "hub@acme.example", "api_token": "${env:TOKEN}", "webhook_secret": "${env:HOOK}"},
    "hubspot": {"portal_id": "1", "app_id": "9", "access_token": "${env:TOKEN}", "client_secret": "${env:HOOK}"},
}
ISSUES = {"github": "acme/widgets/issues/7", "jira": "SUP-1", "hubspot": "contacts/1"}

Answers = Callable[[Request], Response]


def answered(body: Any = None, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status=status, headers=named, body=b"" if body is None else orjson.dumps(body))


class System:
    """
    An `Http` behind which a function answers, and one connection to it.
    """

    def __init__(self, name: str, answers: Answers | Response) -> None:
        self._answers = answers
        self.requests: list[Request] = []
        secrets = Secrets({"TOKEN": "canary-token-0123456789", "HOOK": "canary-hook"}, redactor=Redactor())
        found = catalog.open(name, SYSTEMS[name], secrets=secrets, http=self, clock=SystemClock())
        assert isinstance(found, DeclaredConnector)
        self.connector = found
        self.record = ISSUES[name]

    async def send(
        self, request: Request, *, timeout: float, fence: Callable[[], None] | None = None, max_body: int = 0
    ) -> Response:
        self.requests.append(request)
        return self._answers if isinstance(self._answers, Response) else self._answers(request)

    async def close(self) -> None:
        pass

    def call(self, key: str = KEY, slot: str = SLOT) -> Call:
        return open_call(self.connector, self, key=key, slot=slot, timeout=5.0, clock=SystemClock())

    async def write(self, action: str, mode: Any = "add") -> Any:
        return await self.connector.actions[action].write(self.record, {"text": "hello"}, mode, self.call())


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, errors.Rejected),  # of this issue
        ({"x_seraph_loginreason": "OK"}, errors.Rejected),
        ({"x_seraph_loginreason": "AUTHENTICATION_DENIED"}, errors.AuthFailed),  # until somebody signs in by hand
        ({"retry_after": "5"}, errors.Unavailable),
    ],
)
async def test_kinds_of_403_in_jira(headers: dict[str, str], error: type[Exception]) -> None:
    """One issue that is closed to us shuts nothing; an account that is locked shuts the connection."""
    with pytest.raises(error):
        await System("jira", answered({}, 403, **headers)).write("comment")


async def test_who_may_not_ask_who_they_are() -> None:
    """A 403 to the question who we are is of the credential: no record was asked for."""
    system = System("github", answered({"message": "Resource not accessible by integration"}, 403))
    health = await system.connector.health(system.call())

    assert "auth" == health.state
