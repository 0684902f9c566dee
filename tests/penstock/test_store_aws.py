"""
AWS Secrets Manager, against moto's server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from penstock.clock import SystemClock
from penstock.errors import Unreachable
from penstock.log import configure
from penstock.redaction import Redactor
from penstock.secrets import MissingSecret, SecretRefs, Secrets
from penstock.secrets.stores import aws
from penstock.secrets.stores.contract import OVERLAP


class Later(SystemClock):
    """
    The machine's clock, set forward.
    """

    ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead * 1000)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def manager(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """
    Yield a client of an empty Secrets Manager; the environment leads there.
    """
    given = {"AWS_ENDPOINT_URL": address, "AWS_REGION": "eu-central-1", "AWS_EC2_METADATA_DISABLED": "true"}
    given |= {
        "AWS_ACCESS_KEY_ID": "AKIAMADEUPMADEUP0001",
        "AWS_SECRET_ACCESS_KEY": "made-up",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    client = botocore.session.Session().create_client("secretsmanager", region_name=given["AWS_REGION"])
    yield client
    for each in client.list_secrets(IncludePlannedDeletion=True)["SecretList"]:
        client.delete_secret(SecretId=each["Name"], ForceDeleteWithoutRecovery=True)
    client.close()


def resolved(ref: str, clock: SystemClock | None = None) -> list[str]:
    secrets = Secrets(redactor=Redactor(), clock=clock)
    secrets.check([ref])
    return [secret.reveal() for secret in secrets.all(SecretRefs.parse(ref))]


def test_a_text_a_field_and_an_arn(manager: Any) -> None:
    """A secret is a text, or fields of a JSON object, by name or by ARN."""
    manager.create_secret(Name="hub/plain", SecretString="plain-secret")
    arn = manager.create_secret(Name="hub/crm", SecretString='{"user": "hub", "token": "crm-secret"}')["ARN"]

    assert resolved("${aws:hub/plain}") == ["plain-secret"]
    assert resolved("${aws:hub/crm#token}") == ["crm-secret"]
    assert resolved(f"${{aws:{arn}#user}}") == ["hub"]


def test_both_live_after_a_rotation_for_a_while(manager: Any) -> None:
    """The version before is believed while the current one is new."""
    manager.create_secret(Name="hub/key", SecretString="first-secret")
    manager.put_secret_value(SecretId="hub/key", SecretString="second-secret")
    later = Later()
    later.ahead = OVERLAP + 60

    assert resolved("${aws:hub/key}") == ["second-secret", "first-secret"]
    assert resolved("${aws:hub/key}", later) == ["second-secret"]


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("${aws:hub/none}", "is not there"),
        ("${aws:hub/deleted}", "marked for deletion"),
        ("${aws:hub/plain#token}", "is no JSON object"),
        ("${aws:hub/binary}", "is binary"),
    ],
)
def test_what_is_wrong_is_said_with_the_reference(manager: Any, ref: str, says: str) -> None:
    """One error, never the value."""
    manager.create_secret(Name="hub/plain", SecretString="plain-secret")
    manager.create_secret(Name="hub/binary", SecretBinary=b"\xff\xfe\x00")
    manager.create_secret(Name="hub/deleted", SecretString="plain-secret")
    manager.delete_secret(SecretId="hub/deleted")

    with pytest.raises(MissingSecret, match=says) as caught:
        resolved(ref)

    assert ref in str(caught.value)
    assert "plain-secret" not in str(caught.value)


def test_what_is_wrong_with_the_setup_is_said(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without region or credentials the message says what to set."""
    for names, says in (
        (("AWS_REGION",), "set AWS_REGION"),
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "no credentials were found"),
    ):
        with monkeypatch.context() as changed, pytest.raises(MissingSecret, match=says):
            for name in names:
                changed.delenv(name)
            changed.setenv("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")
            changed.setenv("AWS_CONFIG_FILE", "/no/such/file")
            resolved("${aws:hub/key}")


def test_an_outage_is_told_from_a_refusal(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers, so nothing is wrong with what a person wrote."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(Unreachable, match="EndpointConnectionError"):
        resolved("${aws:hub/key}")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("AccessDeniedException", "refused"),
        ("ExpiredTokenException", "refused"),
        ("DecryptionFailure", "refused"),
        ("ThrottlingException", "away"),
        ("InternalServiceError", "away"),
        ("ResourceNotFoundException", "gone"),
    ],
)
def test_what_secrets_manager_says_is_understood(code: str, why: str) -> None:
    """Each of its codes is an outage, a refusal or a secret that is gone."""
    assert aws._refusal(code).why == why


async def test_the_loop_is_never_held_up(manager: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of botocore, loading it included, happens outside the thread of the loop."""
    manager.create_secret(Name="hub/key", SecretString="first-secret")
    threads = []
    whole = aws.Aws._fetch

    def noted(self: aws.Aws, name: str) -> Any:
        threads.append(threading.current_thread())
        return whole(self, name)

    monkeypatch.setattr(aws.Aws, "_fetch", noted)
    await Secrets(redactor=Redactor()).load(["${aws:hub/key}"])

    assert threads
    assert threading.main_thread() not in threads


def test_nothing_of_an_answer_is_logged(manager: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """botocore logs whole answers at `debug`, before we know what is secret in them; here it does not."""
    manager.create_secret(Name="hub/key", SecretString="canary-of-secrets-manager")
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        configure("debug", redactor=Redactor())
        resolved("${aws:hub/key}")
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(capture=False)

    assert "canary" not in "".join(capfd.readouterr())
