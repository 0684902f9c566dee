"""
AWS Secrets Manager: `${aws:name}`, `${aws:name#key}`, the name or the ARN, by botocore in a thread.

botocore finds region and credentials as every tool of AWS does: variables, profile, role of the machine.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from penstock.clock import Clock
from penstock.http import Http
from penstock.redaction import Redactor
from penstock.secrets.stores.contract import NotGiven, Versions, Why, overlaps
from penstock.secrets.values import Secret

CONNECT_WITHIN = 5.0  # seconds
ANSWER_WITHIN = 10.0  # seconds
TRIES = 2
_ARN_REGION = 3  # arn:aws:secretsmanager:REGION:…
_STAGE_BEFORE = "AWSPREVIOUS"
_GONE = {"ResourceNotFoundException", "InvalidRequestException"}
_LATER = {"InternalServiceError", "InternalServiceErrorException", "RequestLimitExceeded", "ServiceUnavailable"}
_SETUP = {
    "NoCredentialsError": "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a role",
    "PartialCredentialsError": "only a part of the credentials is set",
    "NoRegionError": "no region is set: set AWS_REGION",
    "ProfileNotFound": "there is no such profile: look at AWS_PROFILE",
}


class Aws:
    """
    Secrets Manager, in whatever regions references lead to.
    """

    def __init__(self, environment: Mapping[str, str], *, http: Http, clock: Clock, redactor: Redactor) -> None:
        del http, redactor  # botocore reads the process's own environment and sends by itself
        self._region = environment.get("AWS_REGION", "").strip() or None  # which botocore alone does not know
        self._clock = clock
        self._clients: dict[str | None, Any] = {}
        self._making = threading.Lock()

    async def fetch(self, name: str) -> Versions:
        """
        Return the secret called *name*; raises `NotGiven`.
        """
        return await asyncio.to_thread(self._fetch, name)

    async def close(self) -> None:
        """
        Close every connection.
        """
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _fetch(self, name: str) -> Versions:
        try:
            from botocore import exceptions
        except ImportError:
            raise NotGiven("needs botocore: pip install 'penstock[aws]'", "refused") from None
        try:
            client = self._client(name)
            found = client.get_secret_value(SecretId=name)
            previous = None
            if overlaps(found["CreatedDate"].timestamp() * 1000, self._clock):
                previous = _before(client, name, exceptions.ClientError)
            return Versions(current=_secret(found), previous=previous, told=True)
        except exceptions.ClientError as error:
            raise _refusal(_code(error)) from None
        except exceptions.BotoCoreError as error:
            raise _unsent(type(error).__name__) from None

    def _client(self, name: str) -> Any:
        whole = name.startswith("arn:") and name.count(":") > _ARN_REGION
        region = name.split(":")[_ARN_REGION] if whole else self._region
        with self._making:
            if region not in self._clients:
                from botocore.config import Config
                from botocore.session import Session

                retries = {"total_max_attempts": TRIES, "mode": "standard"}
                config = Config(connect_timeout=CONNECT_WITHIN, read_timeout=ANSWER_WITHIN, retries=retries)
                made = Session().create_client("secretsmanager", region_name=region, config=config)
                self._clients[region] = made
            return self._clients[region]


def _before(client: Any, name: str, refused: type[Exception]) -> Secret | None:
    try:
        return _secret(client.get_secret_value(SecretId=name, VersionStage=_STAGE_BEFORE))
    except refused as error:
        if _code(error) in _GONE:
            return None
        raise


def _secret(found: Mapping[str, Any]) -> Secret:
    if (text := found.get("SecretString")) is not None:
        return Secret(str(text))
    try:
        return Secret(bytes(found.get("SecretBinary") or b"").decode())
    except UnicodeDecodeError:
        raise NotGiven("is binary and no UTF-8 text: write the secret as text", "refused") from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(code: str) -> NotGiven:
    if code == "InvalidRequestException":
        return NotGiven("is marked for deletion in Secrets Manager: restore it, or write another name", "gone")
    if code in _GONE:
        return NotGiven("is not there: Secrets Manager has no such secret in this account and region", "gone")
    if code in _LATER or "Throttl" in code:
        return NotGiven(f"cannot be asked for: Secrets Manager answered {code}", "away")
    need = "`secretsmanager:GetSecretValue` on it, and `kms:Decrypt` on its key when that is your own"
    return NotGiven(f"may not be read by us: Secrets Manager says {code}: we need {need}", "refused")


def _unsent(kind: str) -> NotGiven:
    why: Why = "refused" if kind in _SETUP else "away"
    reason = _SETUP.get(kind, f"{kind}: look at the network and at the credentials")
    return NotGiven(f"cannot be asked for: AWS: {reason}", why)
