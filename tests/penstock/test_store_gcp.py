"""
Google Secret Manager, against a double of its published interface; google-auth says how one logs in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import service_account

from penstock.errors import Unreachable
from penstock.redaction import Redactor
from penstock.secrets import MissingSecret, SecretRefs, Secrets
from tests.stores.google import GoogleDouble, claims_of
from tests.stores.serving import serving

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
REF = "${gcp:acme/hub-key}"


class Google:
    """
    The double, and secrets that lead to it.
    """

    def __init__(self, double: GoogleDouble, address: str, file: Path) -> None:
        self.double = double
        self.file = file
        self.environment = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://{address}/",
            "GCE_METADATA_HOST": address,
            "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        }

    async def resolved(self, ref: str = REF, **environment: str) -> list[str]:
        secrets = Secrets(self.environment | environment, redactor=Redactor())
        await secrets.load([ref])
        return [secret.reveal() for secret in secrets.all(SecretRefs.parse(ref))]


@pytest.fixture
async def google(tmp_path: Path) -> AsyncIterator[Google]:
    double = GoogleDouble()
    async with serving(double.app) as address:
        yield Google(double, address, double.key_file(tmp_path, address))


async def test_the_newest_version_and_a_fixed_one(google: Google) -> None:
    """Without a version the newest is used, and the one before is believed while that is new."""
    for value in ("first-secret", "second-secret", "third-secret"):
        google.double.put("acme/hub-key", value)

    assert await google.resolved() == ["third-secret", "second-secret"]
    assert await google.resolved("${gcp:acme/hub-key/1}") == ["first-secret"]


async def test_the_overlap_ends(google: Google) -> None:
    """An old rotation is over, and a version that was disabled is not believed."""
    google.double.put("acme/hub-key", "first-secret", age=timedelta(days=30))
    google.double.put("acme/hub-key", "second-secret", age=timedelta(days=2))
    assert await google.resolved() == ["second-secret"]

    google.double.put("acme/hub-key", None)
    google.double.put("acme/hub-key", "fourth-secret")
    assert await google.resolved() == ["fourth-secret"]


async def test_who_may_only_access_is_content_with_the_newest(google: Google) -> None:
    """`secretAccessor` does not say how old a version is: then the one before is not believed after a start."""
    google.double.put("acme/hub-key", "first-secret")
    google.double.put("acme/hub-key", "second-secret")
    google.double.sees_versions = False

    assert await google.resolved() == ["second-secret"]


async def test_the_login_equals_the_vendors(google: Google) -> None:
    """Our statement and request for a token are those of google-auth."""
    google.double.put("acme/hub-key", "first-secret")
    await google.resolved()
    ours = google.double.calls[0]
    theirs = service_account.Credentials.from_service_account_file(str(google.file), scopes=[SCOPE])

    await asyncio.to_thread(theirs.refresh, GoogleRequest())
    oracle = google.double.calls[-1]

    assert (ours.method, ours.path, ours.form["grant_type"]) == (oracle.method, oracle.path, oracle.form["grant_type"])
    assert ours.headers["content-type"] == oracle.headers["content-type"]
    mine, wanted = claims_of(ours), claims_of(oracle)
    assert mine["head"] == wanted["head"]
    assert mine["exp"] - mine["iat"] == wanted["exp"] - wanted["iat"]
    moments = {"head", "exp", "iat"}
    assert {name: mine[name] for name in mine.keys() - moments} == {
        name: wanted[name] for name in wanted.keys() - moments
    }


async def test_a_machine_proves_itself_by_its_metadata_server(google: Google) -> None:
    """Without a key file the machine's own service account is used."""
    google.double.put("acme/hub-key", "first-secret")

    assert await google.resolved(GOOGLE_APPLICATION_CREDENTIALS="") == ["first-secret"]
    asked = google.double.calls[0]
    assert asked.path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("${gcp:acme/none}", "is not there"),
        ("${gcp:acme/hub-key/7}", "is not there"),
        ("${gcp:acme/off}", "has no version that is enabled"),
    ],
)
async def test_what_is_wrong_is_said_with_the_reference(google: Google, ref: str, says: str) -> None:
    """One error, never the value."""
    google.double.put("acme/hub-key", "first-secret")
    google.double.put("acme/off", None)

    with pytest.raises(MissingSecret, match=says) as caught:
        await google.resolved(ref)

    assert ref in str(caught.value)


async def test_a_refusal_names_the_role(google: Google) -> None:
    """Who may not read is told which role is missing."""
    google.double.put("acme/hub-key", "first-secret")
    google.double.reads = False

    with pytest.raises(MissingSecret, match="roles/secretmanager.secretAccessor"):
        await google.resolved()


async def test_what_is_wrong_with_the_login_is_said(google: Google, tmp_path: Path) -> None:
    """A file that is no key, one that is not there, a key Google does not know, no metadata server."""
    google.double.put("acme/hub-key", "first-secret")
    (tmp_path / "user.json").write_text('{"type": "authorized_user"}')
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    wrong = GoogleDouble().key_file(stranger, google.environment["GCE_METADATA_HOST"])
    for path, says in (
        (tmp_path / "user.json", "is no key of a service account"),
        (Path("/no/such/file"), "cannot be read"),
        (wrong, "refuses the service account's key"),
    ):
        with pytest.raises(MissingSecret, match=says):
            await google.resolved(GOOGLE_APPLICATION_CREDENTIALS=str(path))
    with pytest.raises(Unreachable, match="set GOOGLE_APPLICATION_CREDENTIALS"):
        await google.resolved(GOOGLE_APPLICATION_CREDENTIALS="", GCE_METADATA_HOST="127.0.0.1:9")


async def test_an_outage_is_told_from_a_refusal(google: Google) -> None:
    """A 503 is no fault of a person."""
    google.double.fails = 503

    with pytest.raises(Unreachable, match="answered 503"):
        await google.resolved()
