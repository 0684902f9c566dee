"""
Signing in to Microsoft Entra for models at Azure, against a double that Microsoft's own library reads as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ClientSecretCredential, WorkloadIdentityCredential

import ai
import ledger as ledgers
from ai.double import ModelDouble
from ai.errors import AIError
from ai.models import ModelSpec
from ai.signin.azure import PUBLIC, EntraTokens
from penstock.clock import ManualClock, SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import LIVE, MASK
from penstock.secrets import Secrets
from tests.ai.conftest import RATES, Desk
from tests.stores.microsoft import CLIENT, CLIENT_SECRET, STATEMENT, TENANT, MicrosoftDouble
from tests.stores.serving import certificate, serving

RESOURCE = "https://acme.openai.azure.com"


@dataclass
class Cloud:
    """
    Entra, the identity of the machine, and a way to both.
    """

    double: MicrosoftDouble
    address: str
    trusted: Path
    http: AiohttpHttp
    environment: dict[str, str]

    def tokens(self, clock: ManualClock | None = None, **environment: str) -> EntraTokens:
        return EntraTokens(self.http, environment=self.environment | environment, clock=clock)


@pytest.fixture
async def entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    double, http = MicrosoftDouble(), AiohttpHttp()
    trusted, tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    async with serving(double.app, tls) as address, serving(MicrosoftDouble.beside(double)) as plain:
        environment = {
            "AZURE_AUTHORITY_HOST": f"https://{address}",
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{plain}",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        }
        yield Cloud(double, address, trusted, http, environment)
    await http.close()


async def test_a_client_gets_a_token_once(entra: Cloud) -> None:
    """
    A client's secret is exchanged for a token, once for all who wait, and kept.
    """
    tokens = entra.tokens()

    got = await asyncio.gather(*(tokens.token(RESOURCE) for _ in range(20)))

    assert set(got) == {await tokens.token(RESOURCE)} == set(entra.double.tokens)
    assert entra.double.tokens[got[0]] == PUBLIC


async def test_a_workload_gets_one_for_its_statement(entra: Cloud, tmp_path: Path) -> None:
    """
    A pod shows the statement in its file, which is read anew for each token.
    """
    file = tmp_path / "statement"
    file.write_text("stale")
    tokens = entra.tokens(AZURE_CLIENT_SECRET="", AZURE_FEDERATED_TOKEN_FILE=str(file))
    with pytest.raises(AIError, match="refuses our client"):
        await tokens.token(RESOURCE)
    file.write_text(STATEMENT)

    assert entra.double.tokens[await tokens.token(RESOURCE)] == PUBLIC


async def test_the_machine_s_own_identity(entra: Cloud) -> None:
    """
    Without a client the managed identity is asked; `AZURE_CLIENT_ID` says which of several.
    """
    token = await entra.tokens(AZURE_TENANT_ID="", AZURE_CLIENT_SECRET="").token(RESOURCE)

    (asked,) = entra.double.calls
    assert entra.double.tokens[token] == PUBLIC
    assert (asked.path, asked.headers["metadata"]) == ("/metadata/identity/oauth2/token", "true")
    assert asked.query == {"api-version": "2018-02-01", "resource": PUBLIC, "client_id": CLIENT}


@pytest.mark.parametrize("workload", [False, True])
async def test_what_we_ask_equals_microsofts(entra: Cloud, tmp_path: Path, workload: bool) -> None:
    """
    Path and form of the sign-in are those of azure-identity, which gets its tokens from the double too.
    """
    (file := tmp_path / "statement").write_text(STATEMENT)
    only = {"AZURE_CLIENT_SECRET": "", "AZURE_FEDERATED_TOKEN_FILE": str(file)} if workload else {}
    await entra.tokens(**only).token(RESOURCE)
    (ours,), entra.double.calls = entra.double.calls, []

    def theirs() -> str:
        how: dict[str, Any] = {
            "authority": f"https://{entra.address}",
            "disable_instance_discovery": True,
            "connection_verify": str(entra.trusted),
        }
        credential = (
            WorkloadIdentityCredential(tenant_id=TENANT, client_id=CLIENT, token_file_path=str(file), **how)
            if workload
            else ClientSecretCredential(TENANT, CLIENT, CLIENT_SECRET, **how)
        )
        with credential:
            return credential.get_token(f"{PUBLIC}/.default").token

    assert entra.double.tokens[await asyncio.to_thread(theirs)] == PUBLIC
    oracle = entra.double.calls[-1]
    assert (oracle.method, oracle.path) == (ours.method, ours.path)
    assert ours.form.keys() <= oracle.form.keys()
    for name, value in ours.form.items():
        assert value in oracle.form[name].split()


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("https://acme.openai.azure.com", PUBLIC),
        ("https://acme.services.ai.azure.com/openai/v1", PUBLIC),
        ("https://acme.openai.azure.us", "https://cognitiveservices.azure.us"),
        ("https://acme.openai.azure.cn/", "https://cognitiveservices.azure.cn"),
        ("https://models.acme.example", PUBLIC),  # a private endpoint
        ("https://azure.us.evil.example", PUBLIC),
    ],
)
async def test_a_token_is_for_the_cloud_of_the_resource(entra: Cloud, url: str, resource: str) -> None:
    """
    National clouds have a resource of their own.
    """
    assert entra.double.tokens[await entra.tokens().token(url)] == resource


async def test_a_token_is_replaced_near_its_end(entra: Cloud) -> None:
    """
    It is used until a minute before its end, and during an outage of the sign-in to its end.
    """
    clock = ManualClock()
    tokens = entra.tokens(clock)
    first = await tokens.token(RESOURCE)
    await clock.advance(entra.double.lasts - 70)
    assert await tokens.token(RESOURCE) == first

    await clock.advance(20)
    entra.double.fails = 503
    assert await tokens.token(RESOURCE) == first
    entra.double.fails = None
    second = await tokens.token(RESOURCE)
    assert second != first

    entra.double.fails = 503
    await clock.advance(entra.double.lasts + 1)
    with pytest.raises(AIError, match="answered 503") as caught:
        await tokens.token(RESOURCE)
    assert (caught.value.error_class, caught.value.advice, caught.value.billed) == ("connection", "gate", "no")


async def test_a_refused_token_is_replaced(entra: Cloud) -> None:
    """
    After a refusal there is another token, once for all who were refused.
    """
    tokens = entra.tokens()
    first = await tokens.token(RESOURCE)

    got = await asyncio.gather(*(tokens.token(RESOURCE, refused=first) for _ in range(5)))

    assert [first, got[0]] == list(entra.double.tokens)
    assert set(got) == {got[0]}


async def test_who_is_refused_is_told_how_to_mend_it(entra: Cloud) -> None:
    """
    A wrong secret and a machine without an identity are `auth`, without the secret; nobody there is `connection`.
    """
    entra.double.said = "it was wrong-one"
    nowhere = {"AZURE_CLIENT_SECRET": "", "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:9"}
    for environment, error_class, says in (
        ({"AZURE_CLIENT_SECRET": "wrong-one"}, "auth", "make a new AZURE_CLIENT_SECRET"),
        ({"AZURE_CLIENT_SECRET": "", "AZURE_FEDERATED_TOKEN_FILE": "/nowhere"}, "auth", "AZURE_FEDERATED_TOKEN_FILE"),
        (nowhere, "connection", "give this machine an identity"),
    ):
        with pytest.raises(AIError, match=says) as caught:
            await entra.tokens(**environment).token(RESOURCE)
        assert (caught.value.error_class, caught.value.advice) == (error_class, "gate")
        assert "wrong-one" not in str(caught.value)


async def test_tokens_are_never_shown(entra: Cloud, caplog: Any) -> None:
    """
    Neither a token nor the client's secret is in a log entry or a repr, and the redactor knows both.
    """
    caplog.set_level(logging.DEBUG)
    tokens = entra.tokens()
    token = await tokens.token(RESOURCE)

    seen = " ".join(repr(record.__dict__) for record in caplog.records) + repr(tokens)
    assert token not in seen
    assert CLIENT_SECRET not in seen
    assert LIVE.hide(f"{token} {CLIENT_SECRET}") == f"{MASK} {MASK}"


class Given(Mapping[str, str]):
    """
    The tokens a double of Azure OpenAI takes: those Entra gave.
    """

    def __init__(self, double: MicrosoftDouble) -> None:
        self._double = double

    def __getitem__(self, name: str) -> str:
        return {token: token for token in self._double.tokens}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._double.tokens])

    def __len__(self) -> int:
        return len(self._double.tokens)


@pytest.fixture
async def azure_desk(entra: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """
    An AI layer whose only model is at Azure and has no key.
    """
    for name, value in entra.environment.items():
        monkeypatch.setenv(name, value)
    clock = SystemClock()
    ledger = await ledgers.open(None, clock=clock)
    async with ModelDouble(keys=Given(entra.double)) as double:
        model = ModelSpec(name="small", provider="azure", model="ours", url=double.url, price=RATES)
        layer = ai.open({"small": model}, http=entra.http, ledger=ledger, secrets=Secrets({}), clock=clock)
        yield Desk(double, ledger, entra.http, {}, layer, [], ai.client.Instruments())
    await ledger.close()


async def test_a_model_without_a_key_is_asked_with_a_token(azure_desk: Desk, entra: Cloud) -> None:
    """
    One token serves several asks; one that no longer opens is fetched anew once, and nobody notices.
    """
    await azure_desk.ask()
    await azure_desk.ask()
    (first,) = entra.double.tokens
    del entra.double.tokens[first]
    entra.double.tokens["another"] = "elsewhere"  # a double without any takes all

    await azure_desk.ask()

    _, second = entra.double.tokens
    assert [call.key for call in azure_desk.double.calls] == [first, first, second]


async def test_a_sign_in_that_fails_books_nothing(azure_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a token nothing is asked or booked; the model's gate shuts, and it says which model and what to do.
    """
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "another-secret")
    claim = await azure_desk.claim()

    with pytest.raises(
        AIError, match="model 'small'.*an access token cannot be asked for.*AZURE_CLIENT_SECRET"
    ) as caught:
        await azure_desk.ask(claim)

    assert (caught.value.error_class, caught.value.advice, caught.value.model) == ("auth", "gate", "small")
    assert (await azure_desk.calls(claim), azure_desk.double.calls) == ((), [])
