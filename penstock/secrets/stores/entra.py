"""
Signing in to Microsoft Entra, over plain HTTP: for Key Vault, and for models at Azure.

We are the client of `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` (or the file of
`AZURE_FEDERATED_TOKEN_FILE`, as on Kubernetes), else the managed identity of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from penstock.clock import Clock
from penstock.http import Http, Request, Response
from penstock.redaction import Redactor
from penstock.secrets.stores.asking import Token, ask, data, given, life, text
from penstock.secrets.stores.contract import NotGiven

LOGIN = "https://login.microsoftonline.com"
MACHINE = "http://169.254.169.254"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MACHINE = "the managed identity"


class Entra:
    """
    Who we are, and our token for each resource.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        self._environment = environment
        self._http = http
        self._clock = clock
        self._redactor = redactor
        self._tokens: dict[str, Token] = {}

    def token(self, resource: str) -> Token:
        """
        Return the token for *resource*, e.g. `https://vault.azure.net`; it is fetched when it is called.
        """
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


def _read(answer: Response, whom: str, clock: Clock) -> tuple[str, float]:
    found = data(answer, whom)
    ends = found.get("expires_in")
    if ends is None and str(found.get("expires_on", "")).isdecimal():
        ends = int(found["expires_on"]) - clock.now_ms() / 1000
    return text(found, "access_token", whom=whom), life(ends)
