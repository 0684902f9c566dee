"""
A double of Azure's Key Vault, of Entra's token endpoint and of the machine's identity, after their published interfaces.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from aiohttp import web

from tests.stores.serving import Asked, asked

TENANT, CLIENT, CLIENT_SECRET = "11111111-2222-3333-4444-555555555555", "the-client", "entra-client-secret-1"
STATEMENT = "a-pods-own-statement-1"
VAULT = "https://vault.azure.net"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Version:
    """
    One version of a secret.
    """

    id: str
    value: str
    created: int
    enabled: bool = True


class MicrosoftDouble:
    """
    A vault, and who may read it.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Version]] = {}
        self.calls: list[Asked] = []
        self.tokens: dict[str, str] = {}
        """What was given, oldest first, and the resource it is for."""
        self.lasts = 3599  # seconds of a client's token
        self.lists = True
        self.reads = True
        self.fails: int | None = None
        self.said = "no"
        self.app = self.beside(self)

    @staticmethod
    def beside(double: MicrosoftDouble) -> web.Application:
        """
        Return *double* as one more server: identities of machines are asked without TLS.
        """
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", double._answer)
        return app

    def put(self, name: str, value: str, *, age: float = 0.0) -> Version:
        """
        Add a version of *name*, made *age* seconds ago.
        """
        version = Version(secrets.token_hex(16), value, int(time.time() - age))
        self.values.setdefault(name, []).append(version)
        return version

    async def _answer(self, request: web.Request) -> web.Response:
        call = await asked(request)
        self.calls.append(call)
        if self.fails is not None:
            return web.Response(status=self.fails, text=self.said)
        match call.path.strip("/").split("/"):
            case [tenant, "oauth2", "v2.0", "token"]:
                if (tenant, call.form.get("client_id")) != (TENANT, CLIENT) or not _proven(call.form):
                    return web.json_response({"error": "invalid_client", "error_description": self.said}, status=401)
                scopes = [scope for scope in call.form["scope"].split() if scope.endswith("/.default")]
                if call.form.get("grant_type") != "client_credentials" or len(scopes) != 1:
                    return web.json_response({"error": "invalid_scope"}, status=400)
                told: dict[str, object] = {"expires_in": self.lasts, "token_type": "Bearer"}
                return self._token(scopes[0].removesuffix("/.default"), told)
            case ["metadata", "identity", "oauth2", "token"]:
                if call.headers.get("metadata") != "true":
                    return web.json_response({"error": "bad_request"}, status=400)
                ends = str(int(time.time()) + 86399)
                return self._token(call.query["resource"], {"expires_in": "86399", "expires_on": ends})
            case [tenant, "v2.0", ".well-known", "openid-configuration"]:
                base = f"https://{request.host}/{tenant}"
                places = {"token_endpoint": f"{base}/oauth2/v2.0/token", "authorization_endpoint": f"{base}/authorize"}
                return web.json_response(places | {"issuer": f"{base}/v2.0"})
            case ["secrets", name, *rest]:
                return self._secret(request, call, name, rest)
        return web.Response(status=404)

    def _token(self, resource: str, told: dict[str, object]) -> web.Response:
        self.tokens[token := secrets.token_urlsafe(40)] = resource
        return web.json_response({"access_token": token, "resource": resource, **told})

    def _secret(self, request: web.Request, call: Asked, name: str, rest: list[str]) -> web.Response:
        if self.tokens.get(call.headers.get("authorization", "").removeprefix("Bearer ")) != VAULT:
            challenge = f'Bearer authorization="https://{request.host}/{TENANT}", resource="https://vault.azure.net"'
            return web.json_response(
                {"error": {"code": "Unauthorized"}}, status=401, headers={"WWW-Authenticate": challenge}
            )
        if "api-version" not in call.query:
            return web.json_response({"error": {"code": "BadParameter"}}, status=400)
        listing = rest == ["versions"]
        if not (self.lists if listing else self.reads):
            return web.json_response({"error": {"code": "Forbidden"}}, status=403)
        found = self.values.get(name, [])
        base = f"https://{request.host}/secrets/{name}"
        if listing:
            return web.json_response({"value": [_told(base, each) for each in found], "nextLink": None})
        wanted = [each for each in found if each.id == rest[0]] if rest else found[-1:]
        if not wanted:
            return web.json_response({"error": {"code": "SecretNotFound", "message": "no"}}, status=404)
        if not wanted[0].enabled:
            return web.json_response(
                {"error": {"code": "Forbidden", "innererror": {"code": "SecretDisabled"}}}, status=403
            )
        return web.json_response({"value": wanted[0].value, **_told(base, wanted[0])})


def _proven(form: dict[str, str]) -> bool:
    if "client_assertion" in form:
        return (form.get("client_assertion_type"), form["client_assertion"]) == (_ASSERTION, STATEMENT)
    return form.get("client_secret") == CLIENT_SECRET


def _told(base: str, version: Version) -> dict[str, object]:
    attributes = {"enabled": version.enabled, "created": version.created, "updated": version.created}
    return {"id": f"{base}/{version.id}", "attributes": attributes}
