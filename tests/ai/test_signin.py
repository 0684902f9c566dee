from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ai.errors import AIError
from ai.keyring import Keyring
from ai.models import ModelSpec
from ai.signin.aws import AwsCredentials
from ai.signin.google import EARLY, GoogleTokens
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import LIVE, MASK
from penstock.secrets import SecretRefs, Secrets
from tests.ai.google_cloud import GoogleCloud, Identity


@pytest.fixture
async def http() -> AsyncIterator[AiohttpHttp]:
    http = AiohttpHttp()
    yield http
    await http.close()


@pytest.fixture
def nobody(monkeypatch: Any, tmp_path: Path) -> Path:
    """
    Give a machine on which nobody is signed in anywhere.
    """
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


async def test_a_service_account_gets_a_token_once(cloud: GoogleCloud, http: AiohttpHttp) -> None:
    """
    A signed JWT is exchanged for a token, once for all who wait, and kept.
    """
    tokens = GoogleTokens(http)

    got = await asyncio.gather(*(tokens.token(cloud.account) for _ in range(20)))

    assert set(got) == set(cloud.given) == {await tokens.token(cloud.account)}
    assert cloud.asked == ["account"]


async def test_a_token_is_replaced_early(cloud: GoogleCloud, http: AiohttpHttp) -> None:
    """
    A token that ends within five minutes is replaced before it is used again.
    """
    cloud.lasts = EARLY - 1
    tokens = GoogleTokens(http)

    first, second = await tokens.token(cloud.account), await tokens.token(cloud.account)

    assert [first, second] == cloud.given
    assert first != second


async def test_a_good_token_outlives_an_outage_of_the_sign_in(cloud: GoogleCloud, http: AiohttpHttp) -> None:
    """
    While the sign-in is down a token is used to its end; without one the ask cannot be made, and is not the event's fault.
    """
    cloud.lasts = EARLY - 1
    tokens = GoogleTokens(http)
    first = await tokens.token(cloud.account)
    cloud.down = True

    assert await tokens.token(cloud.account) == first
    with pytest.raises(AIError) as caught:
        await tokens.token(cloud.account, refused=first)
    assert caught.value.error_class in ("server", "connection")


async def test_a_refused_token_is_replaced(cloud: GoogleCloud, http: AiohttpHttp) -> None:
    """
    After a refusal there is another token, once for all who were refused.
    """
    tokens = GoogleTokens(http)
    first = await tokens.token(cloud.account)

    got = await asyncio.gather(*(tokens.token(cloud.account, refused=first) for _ in range(5)))

    assert set(got) == {cloud.given[1]}


@pytest.mark.parametrize("account", ["{}", "null", "[]", "no json", '{"type": "service_account"}', '{"type": "x"}'])
async def test_what_is_no_account(account: str, http: AiohttpHttp) -> None:
    """
    A key that is not an identity's JSON is refused as a key, and not repeated.
    """
    with pytest.raises(AIError, match="service account") as caught:
        await GoogleTokens(http).token(account)

    assert caught.value.error_class == "auth"


@pytest.mark.parametrize("wrong", ["refused", "another key"])
async def test_an_account_that_is_refused(cloud: GoogleCloud, http: AiohttpHttp, wrong: str) -> None:
    """
    Google's refusal is `auth`, in its own words and without the key.
    """
    cloud.refuses = wrong == "refused"
    account = cloud.account if cloud.refuses else Identity().account(f"{cloud.url}/token")

    with pytest.raises(AIError, match="invalid_grant") as caught:
        await GoogleTokens(http).token(account)

    assert caught.value.error_class == "auth"
    assert "PRIVATE" not in str(caught.value)


async def test_nobody_answers(identity: Identity, http: AiohttpHttp) -> None:
    """
    A sign-in that cannot be reached is `connection`: nothing is billed, and the model's gate is shut.
    """
    with pytest.raises(AIError, match="cannot be reached") as caught:
        await GoogleTokens(http).token(identity.account("http://127.0.0.1:9/token"))

    assert (caught.value.error_class, caught.value.advice, caught.value.billed) == ("connection", "gate", "no")


async def test_the_machine_s_own_identity(
    cloud: GoogleCloud, http: AiohttpHttp, nobody: Path, monkeypatch: Any
) -> None:
    """
    Without any key the metadata server of the machine gives the token.
    """
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{cloud.port}")
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", f"127.0.0.1:{cloud.port}")

    assert await GoogleTokens(http).token(None) == cloud.given[0]
    assert cloud.asked == ["machine"]


@pytest.mark.parametrize("as_key", [False, True])
async def test_a_workload_identity(
    cloud: GoogleCloud, http: AiohttpHttp, nobody: Path, monkeypatch: Any, as_key: bool
) -> None:
    """
    A pod of another cloud exchanges its own token; the file says how, and holds no secret.
    """
    (nobody / "own-token").write_text("a pod's own token")
    words = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{cloud.url}/exchange",
        "credential_source": {"file": str(nobody / "own-token")},
    }
    file = nobody / "identity.json"
    file.write_bytes(orjson.dumps(words))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

    await GoogleTokens(http).token(file.read_text() if as_key else None)

    assert cloud.asked == ["workload"]


async def test_nobody_is_signed_in(http: AiohttpHttp, nobody: Path, monkeypatch: Any) -> None:
    """
    A machine without an identity is told so, as a refused key is.
    """
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    for found in (GoogleTokens(http).token(None), AwsCredentials().text()):
        with pytest.raises(AIError) as caught:
            await found
        assert (caught.value.error_class, caught.value.advice) == ("auth", "gate")


async def test_tokens_are_never_shown(cloud: GoogleCloud, http: AiohttpHttp, caplog: Any) -> None:
    """
    No token and no private key is in a log entry or a repr, and the redactor knows both.
    """
    caplog.set_level(logging.DEBUG)
    tokens = GoogleTokens(http)
    secrets = Secrets({"ACCOUNT": cloud.account})
    spec = ModelSpec(name="m", provider="vertex", model="g", project="p", key=SecretRefs.parse("${env:ACCOUNT}"))

    (token,) = await Keyring(secrets, http).of(spec)

    seen = " ".join(repr(record.__dict__) for record in caplog.records) + repr(tokens) + repr(spec)
    assert "canary" not in seen
    assert "BEGIN PRIVATE" not in seen
    assert LIVE.hide(f"it said {token}!") == f"it said {MASK}!"
    assert orjson.loads(cloud.account)["private_key"].splitlines()[1] not in LIVE.hide(cloud.account)


async def test_of_two_accounts_one_is_enough(cloud: GoogleCloud, http: AiohttpHttp) -> None:
    """
    During a rotation the account that still gets a token is used.
    """
    secrets = Secrets({"NEW": Identity().account(f"{cloud.url}/token"), "OLD": cloud.account})
    refs = SecretRefs.parse(["${env:NEW}", "${env:OLD}"])
    spec = ModelSpec(name="m", provider="vertex", model="g", project="p", key=refs)

    assert await Keyring(secrets, http).of(spec) == cloud.given


async def test_variables_are_aws_credentials(nobody: Path, monkeypatch: Any) -> None:
    """
    What botocore finds is given as AWS writes it, with the session's token where there is one.
    """
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMADEUP")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret-of-a-test")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "canary-session-of-a-test")

    found = orjson.loads(await AwsCredentials().text())

    assert found == {
        "AccessKeyId": "AKIAMADEUP",
        "SecretAccessKey": "canary-secret-of-a-test",
        "SessionToken": "canary-session-of-a-test",
    }
    assert "canary" not in LIVE.hide(str(found))


async def test_refused_credentials_are_looked_for_again(nobody: Path, monkeypatch: Any) -> None:
    """
    Credentials are kept for a minute, and looked for anew as soon as they are refused.
    """
    file = nobody / "credentials"
    words = "[default]\naws_access_key_id = {0}\naws_secret_access_key = secret-{0}\n"
    file.write_text(words.format("AKIAFIRST"))
    credentials = AwsCredentials()
    first = await credentials.text()
    file.write_text(words.format("AKIASECOND"))

    kept, anew = await credentials.text(), await credentials.text(refused=first)

    assert kept == first
    assert orjson.loads(anew)["AccessKeyId"] == "AKIASECOND"
