"""
A double of Vault's key-value engine and AppRole behind our HTTP seam, for what has to do with time and outages.

What a real Vault answers is looked at in `tests/penstock/test_store_vault.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock.clock import Clock
from penstock.http import NotSent, Request, Response


@dataclass
class VaultDouble:
    """
    An `Http` behind which a Vault stands.
    """

    clock: Clock
    token: str = "hvs.made-up-root"
    secrets: dict[str, list[tuple[dict[str, Any] | None, int]]] = field(default_factory=dict)
    """By `mount/path`, each version and when it was made; None is one that was deleted."""
    calls: list[Request] = field(default_factory=list)
    down: bool = False
    status: int | None = None
    said: bytes = b""
    lease: int = 3600
    logins: int = 0

    def put(self, path: str, **fields: Any) -> None:
        """
        Write a version.
        """
        self.secrets.setdefault(path, []).append((fields, self.clock.now_ms()))

    def delete(self, path: str, version: int = -1) -> None:
        """
        Delete a version, the newest by default.
        """
        self.secrets[path][version] = (None, self.clock.now_ms())

    async def send(self, request: Request, **_: Any) -> Response:
        """
        Answer as Vault does.
        """
        self.calls.append(request)
        if self.down:
            raise NotSent("connection refused")
        if self.status is not None:
            return Response(status=self.status, body=self.said)
        if request.url.path == "/v1/auth/approle/login":
            return self._log_in(request)
        if request.headers.get("x-vault-token") != self.token:
            return _json({"errors": ["permission denied"]}, 403)
        _, _, mount, _, path = request.url.path.split("/", 4)
        return self._read(f"{mount}/{path}", request.url.query.get("version"))

    async def close(self) -> None:
        """
        Nothing is open.
        """

    def _log_in(self, request: Request) -> Response:
        given = json.loads(request.content)
        if given != {"role_id": "the-role", "secret_id": "the-secret-id"}:
            return _json({"errors": ["invalid role or secret ID"]}, 400)
        self.logins += 1
        self.token = f"hvs.made-up-{self.logins}"
        return _json({"auth": {"client_token": self.token, "lease_duration": self.lease}})

    def _read(self, path: str, version: str | None) -> Response:
        versions = self.secrets.get(path, [])
        number = int(version or len(versions))
        if not 1 <= number <= len(versions):
            return _json({"errors": []}, 404)
        fields, made = versions[number - 1]
        about = {"version": number, "created_time": datetime.fromtimestamp(made / 1000, UTC).isoformat()}
        return _json({"data": {"data": fields, "metadata": about}}, 200 if fields is not None else 404)


def _json(body: Any, status: int = 200) -> Response:
    return Response(status=status, body=json.dumps(body).encode())
