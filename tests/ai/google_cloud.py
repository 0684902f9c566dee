"""
Google's sign-in: the token endpoint, the exchange for workload identities, and a machine's metadata server.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EMAIL = "hub@acme-4711.iam.gserviceaccount.com"


@dataclass
class Identity:
    """
    A service account's key pair.
    """

    private: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def pem(self) -> str:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    @property
    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def account(self, token_uri: str) -> str:
        """
        Return the JSON that Google hands out for the key.
        """
        return orjson.dumps(
            {
                "type": "service_account",
                "project_id": "acme-4711",
                "private_key_id": "k1",
                "private_key": self.pem,
                "client_email": EMAIL,
                "token_uri": token_uri,
            }
        ).decode()


@dataclass(kw_only=True)
class GoogleCloud:
    """
    The servers, in this process; every token differs.
    """

    identity: Identity
    lasts: float = 3600.0
    """Seconds a token is good for."""
    refuses: bool = False
    down: bool = False
    slow: float = 0.0
    """Seconds before the token endpoint answers."""
    given: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def account(self) -> str:
        return self.identity.account(f"{self.url}/token")

    async def __aenter__(self) -> Self:
        app = web.Application()
        meta = "/computeMetadata/v1"
        app.add_routes(
            [
                web.post("/token", self._for_account),
                web.post("/exchange", self._for_workload),
                web.get("/", self._metadata({})),
                web.get(f"{meta}/project/project-id", self._metadata("acme-4711")),
                web.get(f"{meta}/universe/universe-domain", self._metadata("googleapis.com")),
                web.get(
                    f"{meta}/instance/service-accounts/default/", self._metadata({"email": EMAIL, "scopes": [SCOPE]})
                ),
                web.get(f"{meta}/instance/service-accounts/default/token", self._for_machine),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _metadata(self, what: Any) -> Any:
        async def handler(request: web.Request) -> web.Response:
            assert request.headers["metadata-flavor"] == "Google"
            text = what if isinstance(what, str) else orjson.dumps(what).decode()
            kind = "application/text" if isinstance(what, str) else "application/json"
            return web.Response(text=text, content_type=kind, headers={"Metadata-Flavor": "Google"})

        return handler

    async def _for_account(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.slow)
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        verifier = crypt.RSAVerifier.from_string(self.identity.public_pem)
        try:
            claims = jwt.decode(str(form["assertion"]), certs=None, verify=False)
            signed, _, signature = str(form["assertion"]).rpartition(".")
            good = verifier.verify(signed.encode(), _unpadded(signature))
        except ValueError:
            good, claims = False, {}
        if not good or claims["iss"] != EMAIL or claims["scope"] != SCOPE or claims["exp"] < time.time():
            return web.json_response(
                {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, status=400
            )
        return self._token("account")

    async def _for_workload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["subject_token"] == "a pod's own token"
        return self._token("workload", issued_token_type="urn:ietf:params:oauth:token-type:access_token")

    async def _for_machine(self, _request: web.Request) -> web.Response:
        return self._token("machine")

    def _token(self, who: str, **more: str) -> web.Response:
        self.asked.append(who)
        if self.down:
            return web.Response(status=503, text="try later")
        if self.refuses:
            return web.json_response({"error": "invalid_grant", "error_description": "account disabled"}, status=400)
        token = f"ya29.{who}-{len(self.given) + 1}-canary-of-a-test"
        self.given.append(token)
        answer = {"access_token": token, "expires_in": self.lasts, "token_type": "Bearer"} | more
        return web.json_response(answer, headers={"Metadata-Flavor": "Google"})


def _unpadded(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
