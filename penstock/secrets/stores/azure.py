"""
Azure Key Vault: `${azure:vault/name}`, over plain HTTP. Outside the public cloud *vault* is the whole host name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.clock import Clock
from penstock.http import Http, Request, Response
from penstock.redaction import Redactor
from penstock.secrets.stores.asking import Token, ask, data, text
from penstock.secrets.stores.contract import NotGiven, Versions, overlaps
from penstock.secrets.stores.entra import Entra
from penstock.secrets.values import Secret

API = "7.4"
PUBLIC = "vault.azure.net"
CLOUDS = (PUBLIC, "vault.azure.cn", "vault.usgovcloudapi.net")
PAGES = 4  # of a secret's versions that are looked through


class Azure:
    """
    Key Vaults of any cloud.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        self._http = http
        self._clock = clock
        self._entra = Entra(environment, http=http, clock=clock, redactor=redactor)

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

    def _token_for(self, host: str) -> Token:
        cloud = next((cloud for cloud in CLOUDS if host.endswith(f".{cloud}")), PUBLIC)
        return self._entra.token(f"https://{cloud}")


async def _request(url: str, token: Token) -> Request:
    return Request.to("GET", url, headers={"authorization": f"Bearer {await token()}", "accept": "application/json"})


def _made(found: Mapping[str, Any]) -> float:
    attributes = found.get("attributes")
    made = attributes.get("created") if isinstance(attributes, dict) else None
    return float(made) * 1000 if isinstance(made, int) else 0.0


def _value(found: Mapping[str, Any], host: str) -> Secret:
    return Secret(text(found, "value", whom=host))
