"""
Who may use a cluster: every way to prove it, on a real broker, and what is said when it is refused.
"""

from __future__ import annotations

import logging
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from bus import Outgoing
from bus.broker import PASSWORD, USER, Broker
from bus.broker_credentials import sign
from bus.cluster import Cluster, Login, Mechanism, Tls
from bus.kafka import KafkaBus
from bus.tokens import Client, ClientCredentials, given
from penstock.clock import ManualClock
from penstock.errors import Unreachable
from penstock.secrets import Secret
from tests.bus.issuer import Issuer

DAY = 86_400.0  # seconds


async def use(cluster: Cluster) -> None:
    """
    Publish, read, look and leave: producer, consumers and administration all have to be let in.
    """
    topic = f"{cluster.prefix}.t"
    bus = await KafkaBus.connect(cluster, partitions=1, keep=DAY)
    member = await bus.subscribe(topic, "g")
    (position,) = await bus.publish([Outgoing(topic=topic, key=b"k", value=b"x")])
    found = await member.fetch(1, wait=20)
    looked = await bus.read(*position)
    await bus.close()

    assert [b"x"] == [message.value for message in found]
    assert looked is not None


async def refused(cluster: Cluster) -> str:
    """
    Return what is said.
    """
    with pytest.raises(Unreachable) as error:
        await KafkaBus.connect(cluster, partitions=1, keep=DAY)
    return str(error.value)


def prefix() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_a_name_and_a_password_let_us_in(broker: Broker, mechanism: Mechanism) -> None:
    """Producer, consumers and administration all log in."""
    login = Login(mechanism=mechanism, username=USER, password=Secret(PASSWORD))

    await use(Cluster(servers=(broker.sasl_address,), prefix=prefix(), login=login))


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_a_wrong_password_is_refused_in_one_sentence(
    broker: Broker, mechanism: Mechanism, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that the login is refused and where to look, never the password, and aiokafka logs no error beside it."""
    wrong = Login(mechanism=mechanism, username=USER, password=Secret("open sesame"))
    with caplog.at_level(logging.ERROR):
        said = await refused(Cluster(servers=(broker.sasl_address,), login=wrong))

    assert f"Kafka at {broker.sasl_address} cannot be used: it refuses our login" in said
    assert said.endswith("Look at `hub.bus.security`")
    assert "sesame" not in said + repr(wrong)
    assert [] == caplog.records


async def test_a_token_lets_us_in(broker: Broker) -> None:
    """One that somebody else renews; the broker knows its issuer's key."""
    await use(
        Cluster(servers=(broker.sasl_address,), prefix=prefix(), token=given(lambda: Secret(f"{broker.token()}\n")))
    )


async def test_a_fetched_token_lets_us_in(broker: Broker, issuer: Callable[..., Issuer]) -> None:
    """One request to the token endpoint serves every connection while the token lives."""
    tokens = issuer(token=broker.token())
    client = Client(url="https://login.example/token", client_id="penstock", secret=lambda: Secret("s3cret"))
    source = ClientCredentials(client, http=tokens, clock=ManualClock())
    await use(Cluster(servers=(broker.sasl_address,), prefix=prefix(), token=source))

    assert 1 == len(tokens.requests)


@pytest.mark.parametrize("kind", ["of a stranger", "that has ended"])
async def test_a_wrong_token_is_refused_in_one_sentence(
    broker: Broker, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """aiokafka takes the refusal for consent; we hear it, and say it."""
    token = broker.token(life=-100) if kind == "that has ended" else _strange(tmp_path)
    with caplog.at_level(logging.ERROR):
        said = await refused(Cluster(servers=(broker.sasl_address,), token=given(lambda: Secret(token))))

    assert said.endswith("cannot be used: it refuses our login: invalid_token. Look at `hub.bus.security`")
    assert token not in said
    assert [] == caplog.records


def _strange(folder: Path) -> str:
    key = folder / "stranger.key"
    _openssl("genrsa", "-out", str(key), "2048")
    return sign(key)


_STRANGER = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=stranger")


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


async def test_no_token_no_connection(broker: Broker, issuer: Callable[..., Issuer]) -> None:
    """What the token endpoint said is what we say, without the secret."""
    client = Client(url="https://login.example/token", client_id="penstock", secret=lambda: Secret("s3cret"))
    source = ClientCredentials(client, http=issuer(status=401), clock=ManualClock())
    said = await refused(Cluster(servers=(broker.sasl_address,), token=source))

    assert (
        f"Kafka at {broker.sasl_address} cannot be used: no token: the token endpoint https://login.example/token "
        "refused the client 'penstock': invalid_client (401)" == said
    )


async def test_tls_proves_the_broker(broker: Broker) -> None:
    """The broker's own certificate is believed when we are told to, a stranger's never."""
    await use(Cluster(servers=(broker.tls_address,), prefix=prefix(), tls=Tls(ca=broker.certificate)))

    assert "its certificate is not trusted: self-signed certificate" in await refused(
        Cluster(servers=(broker.tls_address,), tls=Tls())
    )


async def test_our_certificate_lets_us_in(broker: Broker, tmp_path: Path) -> None:
    """Who comes with none, or with one the broker does not know, is told which key to look at."""
    certificate, key = broker.client
    ours = Tls(ca=broker.certificate, certificate=certificate, key=key)
    await use(Cluster(servers=(broker.mutual_address,), prefix=prefix(), tls=ours))
    without = await refused(Cluster(servers=(broker.mutual_address,), tls=Tls(ca=broker.certificate)))
    _openssl(*_STRANGER, "-keyout", str(tmp_path / "k.pem"), "-out", str(tmp_path / "c.pem"))
    strange = Tls(ca=broker.certificate, certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    unknown = await refused(Cluster(servers=(broker.mutual_address,), tls=strange))

    assert "does it want our `certificate`? Look at `hub.bus.security`" in without
    assert "Look at `hub.bus.security`" in unknown


async def test_a_login_that_is_not_given_is_asked_for(broker: Broker) -> None:
    """A port that wants a login, or TLS, hangs up; we say what it may want."""
    for address in (broker.sasl_address, broker.tls_address):
        said = await refused(Cluster(servers=(address,)))

        assert "it hung up. Does this port speak TLS (`tls: true`), or does it want a login?" in said
