"""
A token endpoint in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from penstock.http import MAX_ANSWER, Request, Response


@dataclass
class Issuer:
    """
    Answers each request with the token, or with the status and the error of a refusal.
    """

    token: str = "t0ken"
    life: object = 3600
    status: int = 200
    error: str = "invalid_client"
    body: bytes | None = None
    """In place of an answer of ours."""
    broken: Exception | None = None
    requests: list[Request] = field(default_factory=list)

    async def send(
        self,
        request: Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        self.requests.append(request)
        if self.broken is not None:
            raise self.broken
        good = {"access_token": self.token, "token_type": "Bearer", "expires_in": self.life}
        bad = {"error": self.error, "error_description": "client penstock with s3cret is not known"}
        body = orjson.dumps(good if self.status == 200 else bad)
        return Response(status=self.status, body=body if self.body is None else self.body)

    async def close(self) -> None:
        """
        Nothing is open.
        """
