"""
What opens a request to a model: a key as it was configured, or what signing in gives for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai.errors import AIError

if TYPE_CHECKING:
    from ai.models import ModelSpec
    from ai.signin.aws import AwsCredentials
    from ai.signin.azure import EntraTokens
    from ai.signin.google import GoogleTokens
    from penstock.http import Http
    from penstock.secrets import Secrets


class Keyring:
    """
    The live keys of every model.
    """

    def __init__(self, secrets: Secrets, http: Http) -> None:
        self._secrets = secrets
        self._http = http
        self._google: GoogleTokens | None = None
        self._aws: AwsCredentials | None = None
        self._entra: EntraTokens | None = None

    def has(self, spec: ModelSpec) -> bool:
        """
        Tell whether *spec* has keys of its own, none of which may be missing; raises `MissingSecret`.
        """
        return spec.key is not None and bool(self._secrets.all(spec.key))

    async def of(self, spec: ModelSpec, *, refused: str | None = None) -> list[str]:
        """
        Return what opens *spec*, newest first; empty when it needs nothing.

        With *refused*, a key that no longer opens, everything is read or fetched anew.
        Raises `MissingSecret`, and `AIError` for a sign-in that fails.
        """
        if refused is not None and spec.key is not None:
            await self._secrets.renew(spec.key)
        keys = [secret.reveal() for secret in self._secrets.all(spec.key)] if spec.key is not None else []
        if spec.provider == "vertex":
            return await self._tokens(keys, refused)
        if spec.provider == "bedrock" and not keys:
            return [await self._role(refused)]
        if spec.provider == "azure" and spec.key is None:
            return [await self._identity(spec, refused)]
        return keys

    async def _tokens(self, accounts: list[str], refused: str | None) -> list[str]:
        """
        Return a token for each of *accounts* that still gets one.
        """
        if self._google is None:
            from ai.signin.google import GoogleTokens

            self._google = GoogleTokens(self._http)
        found: list[str] = []
        errors: list[AIError] = []
        identities: list[str | None] = [*accounts] or [None]
        for account in identities:
            try:
                found.append(await self._google.token(account, refused=refused))
            except AIError as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found

    async def _role(self, refused: str | None) -> str:
        if self._aws is None:
            from ai.signin.aws import AwsCredentials

            self._aws = AwsCredentials()
        return await self._aws.text(refused=refused)

    async def _identity(self, spec: ModelSpec, refused: str | None) -> str:
        if self._entra is None:
            from ai.signin.azure import EntraTokens

            self._entra = EntraTokens(self._http)
        return await self._entra.token(spec.url or "", refused=refused)
