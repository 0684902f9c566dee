"""
Azure Key Vault over real TLS, against a double of its published interface; Azure's SDKs say what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

from penstock.errors import Unreachable
from penstock.redaction import Redactor
from penstock.secrets import MissingSecret, SecretRefs, Secrets
from penstock.secrets.stores.contract import OVERLAP
from tests.stores.microsoft import CLIENT, CLIENT_SECRET, TENANT, MicrosoftDouble
from tests.stores.serving import certificate, serving


class Microsoft:
    """
    The double, and secrets that lead to it.
    """

    def __init__(self, double: MicrosoftDouble, address: str, plain: str, trusted: Path) -> None:
        self.double = double
        self.address = address
        self.trusted = trusted
        self.environment = {
            "AZURE_AUTHORITY_HOST": f"https://{address}",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{plain}",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        }

    def ref(self, name: str) -> str:
        return f"${{azure:{self.address}/{name}}}"

    async def resolved(self, name: str = "hub-key", **environment: str) -> list[str]:
        secrets = Secrets(self.environment | environment, redactor=Redactor())
        await secrets.load([self.ref(name)])
        return [secret.reveal() for secret in secrets.all(SecretRefs.parse(self.ref(name)))]


@pytest.fixture
async def microsoft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Microsoft]:
    double = MicrosoftDouble()
    trusted, tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with serving(double.app, tls) as address, serving(MicrosoftDouble.beside(double)) as plain:
        yield Microsoft(double, address, plain, trusted)


async def test_both_live_after_a_rotation_for_a_while(microsoft: Microsoft) -> None:
    """The newest version is used, the newest enabled one before it is believed while that is new."""
    microsoft.double.put("hub-key", "first-secret", age=OVERLAP * 3)
    microsoft.double.put("hub-key", "second-secret", age=OVERLAP * 2)
    assert await microsoft.resolved() == ["second-secret"]

    third = microsoft.double.put("hub-key", "third-secret", age=60)
    assert await microsoft.resolved() == ["third-secret", "second-secret"]

    third.enabled = False
    microsoft.double.put("hub-key", "fourth-secret")
    assert await microsoft.resolved() == ["fourth-secret", "second-secret"]


async def test_who_may_not_list_is_content_with_the_newest(microsoft: Microsoft) -> None:
    """`get` without `list` is enough for the secret itself."""
    microsoft.double.put("hub-key", "first-secret")
    microsoft.double.put("hub-key", "second-secret")
    microsoft.double.lists = False

    assert await microsoft.resolved() == ["second-secret"]


async def test_a_machine_proves_itself_by_its_identity(microsoft: Microsoft) -> None:
    """Without a client the managed identity is used."""
    microsoft.double.put("hub-key", "first-secret")

    assert await microsoft.resolved(AZURE_TENANT_ID="", AZURE_CLIENT_SECRET="") == ["first-secret"]
    asked = microsoft.double.calls[0]
    assert asked.path == "/metadata/identity/oauth2/token"
    assert asked.headers["metadata"] == "true"
    assert asked.query == {"api-version": "2018-02-01", "resource": "https://vault.azure.net", "client_id": CLIENT}


async def test_what_we_ask_equals_the_vendors(microsoft: Microsoft) -> None:
    """Paths, version of the interface and the form of the login are those of Azure's SDKs, which read the double too."""
    microsoft.double.put("hub-key", "first-secret", age=30)
    microsoft.double.put("hub-key", "second-secret")
    await microsoft.resolved()
    ours, microsoft.double.calls = microsoft.double.calls, []

    def theirs() -> tuple[str | None, int]:
        trust: dict[str, Any] = {"connection_verify": str(microsoft.trusted)}
        login = ClientSecretCredential(
            TENANT,
            CLIENT,
            CLIENT_SECRET,
            authority=f"https://{microsoft.address}",
            disable_instance_discovery=True,
            **trust,
        )
        client = SecretClient(
            f"https://{microsoft.address}", login, api_version="7.4", verify_challenge_resource=False, **trust
        )
        with login, client:
            return client.get_secret("hub-key").value, len(list(client.list_properties_of_secret_versions("hub-key")))

    assert await asyncio.to_thread(theirs) == ("second-secret", 2)
    asked = {(call.method, call.path.rstrip("/")): call for call in microsoft.double.calls}
    assert len(ours) == 4
    for call in ours[:3]:  # the fourth is for the version before
        oracle = asked[call.method, call.path]
        assert call.query.get("api-version") == oracle.query.get("api-version")
        assert call.form.keys() <= oracle.form.keys()
        for name, value in call.form.items():
            assert value in oracle.form[name].split()


async def test_what_is_wrong_is_said_with_the_reference(microsoft: Microsoft) -> None:
    """Not there, disabled, not allowed, a login that is refused: one error each, never a value."""
    microsoft.double.put("off", "first-secret").enabled = False
    for name, environment, says in (
        ("none", {}, "is not there"),
        ("off", {}, "the secret must be enabled"),
        ("hub-key", {"AZURE_CLIENT_SECRET": "wrong-one"}, "refuses our client"),
    ):
        with pytest.raises(MissingSecret, match=says) as caught:
            await microsoft.resolved(name, **environment)
        assert microsoft.ref(name) in str(caught.value)
        assert "first-secret" not in str(caught.value)
        assert "wrong-one" not in str(caught.value)


async def test_an_outage_is_told_from_a_refusal(microsoft: Microsoft) -> None:
    """A 503, and no machine identity to ask."""
    with pytest.raises(Unreachable, match="set AZURE_TENANT_ID"):
        await microsoft.resolved(AZURE_CLIENT_SECRET="", AZURE_POD_IDENTITY_AUTHORITY_HOST="http://127.0.0.1:9")
    microsoft.double.fails = 503
    with pytest.raises(Unreachable, match="answered 503"):
        await microsoft.resolved()
