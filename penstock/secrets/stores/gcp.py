"""
Google Secret Manager: `${gcp:project/name}`, `${gcp:project/name/version}`, over plain HTTP.

We are the service account whose key file `GOOGLE_APPLICATION_CREDENTIALS` names, else the machine's own, whose
token the metadata server gives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from penstock.clock import Clock
from penstock.http import Http, Request, Response
from penstock.redaction import Redactor
from penstock.secrets.stores.asking import Token, ask, data, life, text
from penstock.secrets.stores.contract import NotGiven, Versions, ms, overlaps
from penstock.secrets.values import Secret

ENDPOINT = "https://secretmanager.googleapis.com"
METADATA = "metadata.google.internal"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
JWT_LIFE = 3600  # seconds, the longest that Google takes
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_WHOM = "Google Secret Manager"
_METADATA = "the metadata server"
_READER = "the role `roles/secretmanager.secretAccessor` on it"


class Gcp:
    """
    Secret Manager, and our token for it.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._http = http
        self._clock = clock
        given = environment.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "").strip()
        self._endpoint = (given or ENDPOINT).rstrip("/")
        self._token = Token(self._new_token, clock, redactor)

    async def fetch(self, name: str) -> Versions:
        """
        Return the secret `project/name` or `project/name/version`; raises `NotGiven`.
        """
        project, secret, *version = name.split("/")
        versions = f"/v1/projects/{project}/secrets/{secret}/versions"
        current, number = await self._access(f"{versions}/{version[0] if version else 'latest'}")
        if version:
            return Versions(current=current, told=True)
        made = await self._made(f"{versions}/{number}")
        if made is None:
            return Versions(current=current)
        previous = None
        if number > 1 and overlaps(made, self._clock):
            try:
                previous, _ = await self._access(f"{versions}/{number - 1}")
            except NotGiven as error:
                if error.why != "gone":
                    raise
        return Versions(current=current, previous=previous, told=True)

    async def close(self) -> None:
        """
        Nothing is open.
        """

    async def _access(self, version: str) -> tuple[Secret, int]:
        """
        Return the payload of *version* and its number.
        """
        answer = await self._get(f"{version}:access")
        match answer.status:
            case 200:
                found = data(answer, _WHOM)
            case 404:
                raise NotGiven(f"is not there: {_WHOM} has no such secret, or no version of it", "gone")
            case 400:
                raise NotGiven(f"has no version that is enabled, says {_WHOM}: add or enable one", "gone")
            case status:
                raise NotGiven(f"may not be read by us: {_WHOM} says {status}: we need {_READER}", "refused")
        number = text(found, "name", whom=_WHOM).rpartition("/")[2]
        try:
            value = base64.b64decode(text(found, "payload", "data", whom=_WHOM), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise NotGiven("is no UTF-8 text: write the secret as text", "refused") from None
        return Secret(value), int(number) if number.isdecimal() else 0

    async def _made(self, version: str) -> float | None:
        """
        Return when *version* was made, UTC ms; None when we may not know: `secretAccessor` alone does not say.
        """
        answer = await self._get(version)
        return ms(data(answer, _WHOM).get("createTime")) if answer.status == 200 else None

    async def _get(self, path: str) -> Response:
        answer = await ask(self._http, await self._request(path), _WHOM)
        if answer.status == 401:
            self._token.forget()
            answer = await ask(self._http, await self._request(path), _WHOM)
        return answer

    async def _request(self, path: str) -> Request:
        headers = {"authorization": f"Bearer {await self._token()}", "accept": "application/json"}
        return Request.to("GET", f"{self._endpoint}{path}", headers=headers)

    # ---- who we are -----------------------------------------------------------------------------

    async def _new_token(self) -> tuple[str, float]:
        path = self._environment.get("GOOGLE_APPLICATION_CREDENTIALS", "").strip()
        if not path:
            return await self._of_the_machine()
        key = await asyncio.to_thread(_key_file, path)
        target = key.get("token_uri") or TOKEN_URL
        assertion = await asyncio.to_thread(_assertion, key, self._clock.now_ms() // 1000)
        form = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        request = Request.to("POST", target, headers=headers, content=form)
        answer = await ask(self._http, request, "Google's token endpoint")
        if answer.status != 200:
            hint = "make a new key, and look at this machine's clock"
            problem = f"cannot be asked for: Google refuses the service account's key ({answer.status}): {hint}"
            raise NotGiven(problem, "refused")
        return _read(answer, "Google's token endpoint")

    async def _of_the_machine(self) -> tuple[str, float]:
        host = self._environment.get("GCE_METADATA_HOST", "").strip() or METADATA
        url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
        try:
            answer = await ask(self._http, Request.to("GET", url, headers={"metadata-flavor": "Google"}), _METADATA)
        except NotGiven as error:
            hint = "outside Google's cloud set GOOGLE_APPLICATION_CREDENTIALS"
            raise NotGiven(f"{error.problem}; {hint}", error.why) from error
        if answer.status != 200:
            hint = "give this machine a service account with the scope cloud-platform"
            raise NotGiven(f"cannot be asked for: {_METADATA} answered {answer.status}: {hint}", "refused")
        return _read(answer, _METADATA)


def _read(answer: Response, whom: str) -> tuple[str, float]:
    found = data(answer, whom)
    return text(found, "access_token", whom=whom), life(found.get("expires_in"))


def _key_file(path: str) -> dict[str, str]:
    wrong = "GOOGLE_APPLICATION_CREDENTIALS"
    try:
        found = orjson.loads(Path(path).read_bytes())
    except OSError as error:
        problem = f"cannot be asked for: the file of {wrong} cannot be read ({type(error).__name__})"
        raise NotGiven(problem, "refused") from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise NotGiven(f"cannot be asked for: the file of {wrong} is no key of a service account", "refused")
    return {name: str(found.get(name, "")) for name in ("client_email", "private_key", "private_key_id", "token_uri")}


def _assertion(key: Mapping[str, str], now: int) -> str:
    """
    Return the signed statement (RFC 7523) that we are the service account of *key*.
    """
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise NotGiven("needs cryptography: pip install 'penstock[gcp]'", "refused") from None
    claims = {"iss": key["client_email"], "scope": SCOPE, "aud": TOKEN_URL, "iat": now, "exp": now + JWT_LIFE}
    header = {"typ": "JWT", "alg": "RS256", "kid": key["private_key_id"]}
    signed = f"{_url64(orjson.dumps(header))}.{_url64(orjson.dumps(claims))}"
    try:
        private: Any = serialization.load_pem_private_key(key["private_key"].encode(), password=None)
    except ValueError:
        private = None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise NotGiven("cannot be asked for: the service account's file holds no RSA key: make a new one", "refused")
    return f"{signed}.{_url64(private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
