"""
A double of Google's Secret Manager, token endpoint and metadata server.
"""

from __future__ import annotations

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.stores.serving import Asked, asked, key_pair

ACCOUNT = "hub@acme.iam.gserviceaccount.com"


class GoogleDouble:
    """
    Versions of secrets in order, and who may read them.
    """

    def __init__(self) -> None:
        self.key, self.pem = key_pair()
        self.values: dict[str, list[str | None]] = {}
        """By `project/name`; None is a version that is disabled."""
        self.made: dict[str, datetime] = {}
        self.calls: list[Asked] = []
        self.tokens: set[str] = set()
        self.sees_versions = True
        self.reads = True
        self.fails: int | None = None
        self.said = "no"
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)

    def put(self, name: str, value: str | None, *, age: timedelta = timedelta()) -> None:
        """
        Add a version of *name*, made *age* ago.
        """
        self.values.setdefault(name, []).append(value)
        self.made[f"{name}/{len(self.values[name])}"] = datetime.now(UTC) - age

    def key_file(self, folder: Path, address: str) -> Path:
        """
        Write the key of the service account.
        """
        file = folder / "account.json"
        told = {"type": "service_account", "client_email": ACCOUNT, "private_key": self.pem, "private_key_id": "k1"}
        file.write_text(json.dumps(told | {"token_uri": f"http://{address}/token", "project_id": "acme"}))
        return file

    async def _answer(self, request: web.Request) -> web.Response:
        call = await asked(request)
        self.calls.append(call)
        if self.fails is not None:
            return web.Response(status=self.fails, text=self.said)
        if call.path == "/token":
            return self._exchange(call)
        if call.path.endswith("/service-accounts/default/token"):
            flavour = call.headers.get("metadata-flavor") == "Google"
            return self._new_token() if flavour else web.Response(status=403, text="missing Metadata-Flavor")
        if call.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(401, "UNAUTHENTICATED")
        return self._secret(call.path)

    def _exchange(self, call: Asked) -> web.Response:
        head, claims, signature = call.form["assertion"].split(".")
        try:
            self.key.public_key().verify(
                _raw(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._new_token()

    def _new_token(self) -> web.Response:
        self.tokens.add(token := f"ya29.{secrets.token_urlsafe(30)}")
        return web.json_response({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _secret(self, path: str) -> web.Response:
        _, _, _, project, _, name, _, last = path.split("/")
        number, _, verb = last.partition(":")
        versions = self.values.get(f"{project}/{name}", [])
        number = str(len(versions)) if number == "latest" else number
        if not versions or not 1 <= int(number) <= len(versions):
            return _error(404, "NOT_FOUND")
        full = f"projects/1234/secrets/{name}/versions/{number}"
        value = versions[int(number) - 1]
        if verb == "access":
            if not self.reads:
                return _error(403, "PERMISSION_DENIED")
            if value is None:
                return _error(400, "FAILED_PRECONDITION")
            return web.json_response({"name": full, "payload": {"data": base64.b64encode(value.encode()).decode()}})
        if not self.sees_versions:
            return _error(403, "PERMISSION_DENIED")
        made = self.made[f"{project}/{name}/{number}"].isoformat().replace("+00:00", "Z")
        return web.json_response({"name": full, "createTime": made, "state": "ENABLED" if value else "DISABLED"})


def claims_of(call: Asked) -> dict[str, Any]:
    """
    Return head and claims of the statement in *call*.
    """
    head, claims, _ = call.form["assertion"].split(".")
    return {"head": json.loads(_raw(head)), **json.loads(_raw(claims))}


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _error(status: int, kind: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": "no", "status": kind}}, status=status)
