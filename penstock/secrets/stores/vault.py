"""
HashiCorp Vault and OpenBao: `${vault:mount/path#key}`, the key-value engine in its version 2, over plain HTTP.

`VAULT_ADDR` names it, `VAULT_NAMESPACE` a namespace. We log in with `VAULT_TOKEN`, or by AppRole with
`VAULT_ROLE_ID` and `VAULT_SECRET_ID`; `BAO_…` instead of `VAULT_…` is read first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from penstock.clock import Clock
from penstock.http import Http, Request, Response
from penstock.redaction import Redactor
from penstock.secrets.stores.asking import Token, ask, data, given, life, text
from penstock.secrets.stores.contract import NotGiven, Versions, ms, overlaps
from penstock.secrets.values import Secret

_PREFIXES = ("BAO", "VAULT")
_INVALID = (b"invalid secret id", b"invalid role")  # Vault 1.14 says so with status 500
_LOGIN = "set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID"
_FOREVER = 10 * 365 * 86_400.0  # seconds: the life of a token without one


class Vault:
    """
    One server, and our login to it.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._http = http
        self._clock = clock
        self._redactor = redactor
        self._address = self._variable("ADDR").rstrip("/")
        self._namespace = self._variable("NAMESPACE")
        self._whom = f"Vault at {self._address}"
        self._session = Token(self._log_in, clock, redactor)

    async def fetch(self, name: str) -> Versions:
        """
        Return the secret at `mount/path`; raises `NotGiven`.
        """
        if not self._address.startswith(("https://", "http://")):
            raise NotGiven("cannot be asked for: set VAULT_ADDR, e.g. https://vault.internal:8200", "refused")
        current, about = await self._version(name, None)
        number = about.get("version")
        previous = None
        if isinstance(number, int) and number > 1 and overlaps(ms(about.get("created_time")), self._clock):
            try:
                previous, _ = await self._version(name, number - 1)
            except NotGiven as error:
                if error.why != "gone":  # deleted or destroyed: somebody wants it to be of no use any more
                    raise
        return Versions(current=current, previous=previous, told=True)

    async def close(self) -> None:
        """
        Nothing is open.
        """

    async def _version(self, name: str, version: int | None) -> tuple[Secret, dict[str, Any]]:
        mount, _, path = name.partition("/")
        target = f"{self._address}/v1/{mount}/data/{quote(path)}"
        answer = await self._get(target, {} if version is None else {"version": version})
        if answer.status == 404:
            raise NotGiven(f"is not there: {self._whom} has no secret {path!r} in the mount {mount!r}", "gone")
        if answer.status == 403:
            need = f'its policy needs `path "{mount}/data/{path}" {{ capabilities = ["read"] }}`'
            raise NotGiven(f"may not be read by us: {self._whom} says 403: renew our login, or {need}", "refused")
        if answer.status != 200:
            hint = f"is {mount!r} a mount of the key-value engine, version 2?"
            raise NotGiven(f"cannot be read: {self._whom} answered {answer.status}: {hint}", "refused")
        outer = data(answer, self._whom).get("data")
        inner = outer.get("data") if isinstance(outer, dict) else None
        about = outer.get("metadata") if isinstance(outer, dict) else None
        if not isinstance(inner, dict) or not isinstance(about, dict):
            hint = f"is {mount!r} a mount of the key-value engine, version 2?"
            raise NotGiven(f"cannot be read: the answer of {self._whom} has no `data.data`: {hint}", "refused")
        return Secret(orjson.dumps(inner).decode()), about

    async def _get(self, target: str, params: Mapping[str, Any]) -> Response:
        """
        Ask, and once more with a new login when the one of before is refused.
        """
        fixed = await self._given("TOKEN")
        token = fixed or await self._session()
        answer = await ask(self._http, self._request("GET", target, token, params=params), self._whom)
        if answer.status == 403 and not fixed:
            self._session.forget()
            token = await self._session()
            answer = await ask(self._http, self._request("GET", target, token, params=params), self._whom)
        return answer

    def _request(self, method: str, target: str, token: str, **rest: Any) -> Request:
        headers = {"x-vault-request": "true", "accept": "application/json"}
        headers |= {"x-vault-namespace": self._namespace} if self._namespace else {}
        headers |= {"x-vault-token": token} if token else {}
        return Request.to(method, target, headers=headers, **rest)

    async def _log_in(self) -> tuple[str, float]:
        role, secret = await self._given("ROLE_ID"), await self._given("SECRET_ID")
        if not role or not secret:
            raise NotGiven(f"cannot be asked for: we have no login to {self._whom}: {_LOGIN}", "refused")
        login = {"role_id": role, "secret_id": secret}
        target = f"{self._address}/v1/auth/approle/login"
        answer = await ask(self._http, self._request("POST", target, "", json=login), self._whom, answers=_INVALID)
        if answer.status != 200:
            hint = "make a new secret id for VAULT_SECRET_ID, and look at VAULT_ROLE_ID"
            raise NotGiven(
                f"cannot be asked for: {self._whom} refuses our AppRole ({answer.status}): {hint}", "refused"
            )
        found = data(answer, self._whom)
        token = text(found, "auth", "client_token", whom=self._whom)
        return token, life(found["auth"].get("lease_duration")) or _FOREVER

    async def _given(self, name: str) -> str:
        for prefix in _PREFIXES:
            if value := await given(self._environment, f"{prefix}_{name}"):
                self._redactor.add_passing(value)
                return value
        return ""

    def _variable(self, name: str) -> str:
        found = (self._environment.get(f"{prefix}_{name}", "").strip() for prefix in _PREFIXES)
        return next((value for value in found if value), "")
