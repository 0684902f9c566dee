"""
What we ask a Vault, against what hvac asks the same double.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import hvac
import pytest

from penstock.clock import SystemClock
from penstock.redaction import Redactor
from penstock.secrets import SecretRefs, Secrets
from tests.stores.every import as_server
from tests.stores.hashicorp import VaultDouble
from tests.stores.serving import serving

LOGIN = {"VAULT_ROLE_ID": "the-role", "VAULT_SECRET_ID": "the-secret-id"}


@pytest.fixture
async def vault() -> AsyncIterator[tuple[VaultDouble, str]]:
    double = VaultDouble(SystemClock())
    async with serving(as_server(double)) as address:
        yield double, f"http://{address}"


async def test_what_we_ask_equals_what_hvac_asks(vault: tuple[VaultDouble, str]) -> None:
    """Login, paths, headers and bodies are those of Vault's own Python client, which reads the double as well."""
    double, address = vault
    double.put("kv/teams/crm", token="first-secret")
    double.put("kv/teams/crm", token="second-secret")
    ref = SecretRefs.parse("${vault:kv/teams/crm#token}")
    secrets = Secrets({"VAULT_ADDR": address, "VAULT_NAMESPACE": "team-a", **LOGIN}, redactor=Redactor())
    await secrets.load([ref])
    ours, double.calls = double.calls, []

    def theirs() -> list[str]:
        client = hvac.Client(address, namespace="team-a")
        client.auth.approle.login("the-role", "the-secret-id")
        read = client.secrets.kv.v2.read_secret_version
        asked = [
            read("teams/crm", mount_point="kv", version=number, raise_on_deleted_version=False) for number in (None, 1)
        ]
        return [each["data"]["data"]["token"] for each in asked]

    assert await asyncio.to_thread(theirs) == [secret.reveal() for secret in secrets.all(ref)]
    assert len(ours) == len(double.calls) == 3
    for mine, wanted in zip(ours, double.calls, strict=True):
        assert (mine.method, mine.url.path, dict(mine.url.query)) == (
            wanted.method,
            wanted.url.path,
            dict(wanted.url.query),
        )
        for name in ("x-vault-namespace", "x-vault-request"):
            assert mine.headers[name] == wanted.headers[name]
        assert ("x-vault-token" in mine.headers) == ("x-vault-token" in wanted.headers)
    assert sorted(ours[0].content) == sorted(double.calls[0].content.replace(b" ", b""))
