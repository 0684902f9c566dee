"""
Azure Key Vault: `${azure:vault/name}`, over plain HTTP. Outside the public cloud *vault* is the whole host name.

We are the client of `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` (or the file of
`AZURE_FEDERATED_TOKEN_FILE`, as on Kubernetes), else the managed identity of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from penstock.clock import Clock
from penstock.http import Http, Request, Response
from penstock.redaction import Redactor
from penstock.secrets.stores.asking import Token, ask, data, given, life, text
from penstock.secrets.stores.contract import NotGiven, Versions, overlaps
from penstock.secrets.values import Secret

API = "7.4"
PUBLIC = "vault.azure.net"
CLOUDS = (PUBLIC, "vault.azure.cn", "vault.usgovcloudapi.net")
LOGIN = "https://login.microsoftonline.com"
MACHINE = "http://169.254.169.254"
PAGES = 4  # of a secret's versions that are looked through
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MACHINE = "the managed identity"


class Azure:
    """
    Key Vaults, and our token for each cloud.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._http = http
        self._clock = clock
        self._redactor = redactor
        self._tokens: dict[str, Token] = {}

    async def fetch(self, name: str) -> Versions:
        """
        Return the secret `vault/name`; raises `NotGiven`.
        """
        vault, _, secret = name.partition("/")
        host = vault if set(vault) & set(".:") else f"{vault}.{PUBLIC}"
        base = f"https://{host}/secrets/{secret}"
        found = await self._secret(base, host)
        made = _made(found)
        if not overlaps(made, self._clock):
            return Versions(current=_value(found, host), told=True)
        version = await self._version_before(base, host, found)
        if version is None:
            return Versions(current=_value(found, host))
        try:
            previous = _value(await self._secret(f"{base}/{version}", host), host) if version else None
        except NotGiven as error:
            if error.why == "away":
                raise
            previous = None  # disabled or deleted meanwhile
        return Versions(current=_value(found, host), previous=previous, told=True)

    async def close(self) -> None:
        """
        Nothing is open.
        """

    async def _secret(self, url: str, host: str) -> dict[str, Any]:
        answer = await self._get(f"{url}?api-version={API}", host)
        if answer.status == 200:
            return data(answer, host)
        if answer.status == 404:
            raise NotGiven(f"is not there: the vault {host} has no such secret, or it was deleted", "gone")
        need = "the role `Key Vault Secrets User` on the vault, and the secret must be enabled"
        raise NotGiven(f"may not be read by us: {host} says {answer.status}: we need {need}", "refused")

    async def _version_before(self, base: str, host: str, current: Mapping[str, Any]) -> str | None:
        """
        Return the newest enabled version but the *current* one; empty when there is none, None when we may not know.
        """
        url = f"{base}/versions?api-version={API}&maxresults=25"
        versions: list[dict[str, Any]] = []
        for _ in range(PAGES):
            answer = await self._get(url, host)
            if answer.status != 200:
                return None
            page = data(answer, host)
            versions += [each for each in page.get("value") or [] if isinstance(each, dict)]
            url = str(page.get("nextLink") or "")
            if not url.startswith(f"https://{host}/"):
                break
        before = [
            each
            for each in versions
            if each.get("id") != current.get("id") and each.get("attributes", {}).get("enabled")
        ]
        newest = max(before, key=_made, default=None)
        return "" if newest is None else str(newest.get("id")).rpartition("/")[2]

    async def _get(self, url: str, host: str) -> Response:
        token = self._token_for(host)
        answer = await ask(self._http, await _request(url, token), host)
        if answer.status == 401:
            token.forget()
            answer = await ask(self._http, await _request(url, token), host)
        return answer

    # ---- who we are -----------------------------------------------------------------------------

    def _token_for(self, host: str) -> Token:
        cloud = next((cloud for cloud in CLOUDS if host.endswith(f".{cloud}")), PUBLIC)
        resource = f"https://{cloud}"
        if resource not in self._tokens:
            self._tokens[resource] = Token(lambda: self._new_token(resource), self._clock, self._redactor)
        return self._tokens[resource]

    async def _new_token(self, resource: str) -> tuple[str, float]:
        tenant, client = self._variable("AZURE_TENANT_ID"), self._variable("AZURE_CLIENT_ID")
        secret = await given(self._environment, "AZURE_CLIENT_SECRET")
        statement = "" if secret else await given(self._environment, "AZURE_FEDERATED_TOKEN")
        if not tenant or not client or not (secret or statement):
            return await self._of_the_machine(resource, client)
        self._redactor.add_passing(secret or statement)
        proof = (
            {"client_secret": secret}
            if secret
            else {"client_assertion_type": _ASSERTION, "client_assertion": statement}
        )
        form = {"grant_type": "client_credentials", "client_id": client, "scope": f"{resource}/.default", **proof}
        target = f"{(self._variable('AZURE_AUTHORITY_HOST') or LOGIN).rstrip('/')}/{tenant}/oauth2/v2.0/token"
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        whom = "Microsoft Entra"
        answer = await ask(
            self._http, Request.to("POST", target, headers=headers, content=urlencode(form).encode()), whom
        )
        if answer.status != 200:
            hint = "look at AZURE_TENANT_ID and AZURE_CLIENT_ID, and make a new AZURE_CLIENT_SECRET"
            raise NotGiven(f"cannot be asked for: {whom} refuses our client ({answer.status}): {hint}", "refused")
        return _read(answer, whom, self._clock)

    async def _of_the_machine(self, resource: str, client: str) -> tuple[str, float]:
        named = {"client_id": client} if client else {}
        if endpoint := self._variable("IDENTITY_ENDPOINT"):
            params = {"resource": resource, "api-version": "2019-08-01", **named}
            headers = {"x-identity-header": self._variable("IDENTITY_HEADER")}
            self._redactor.add_passing(headers["x-identity-header"])
        else:
            endpoint = (
                f"{self._variable('AZURE_POD_IDENTITY_AUTHORITY_HOST') or MACHINE}/metadata/identity/oauth2/token"
            )
            params, headers = {"api-version": "2018-02-01", "resource": resource, **named}, {"metadata": "true"}
        hint = "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or give this machine an identity"
        try:
            answer = await ask(self._http, Request.to("GET", endpoint, params=params, headers=headers), _MACHINE)
        except NotGiven as error:
            raise NotGiven(f"{error.problem}; {hint}", error.why) from error
        if answer.status != 200:
            raise NotGiven(f"cannot be asked for: {_MACHINE} answered {answer.status}: {hint}", "refused")
        return _read(answer, _MACHINE, self._clock)

    def _variable(self, name: str) -> str:
        return self._environment.get(name, "").strip()


async def _request(url: str, token: Token) -> Request:
    return Request.to("GET", url, headers={"authorization": f"Bearer {await token()}", "accept": "application/json"})


def _read(answer: Response, whom: str, clock: Clock) -> tuple[str, float]:
    found = data(answer, whom)
    ends = found.get("expires_in")
    if ends is None and str(found.get("expires_on", "")).isdecimal():
        ends = int(found["expires_on"]) - clock.now_ms() / 1000
    return text(found, "access_token", whom=whom), life(ends)


def _made(found: Mapping[str, Any]) -> float:
    attributes = found.get("attributes")
    made = attributes.get("created") if isinstance(attributes, dict) else None
    return float(made) * 1000 if isinstance(made, int) else 0.0


def _value(found: Mapping[str, Any], host: str) -> Secret:
    return Secret(text(found, "value", whom=host))
