"""
The Kafka cluster a declaration asks for.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bus import Cluster, Login, Tls, tokens
from penstock.clock import Clock
from penstock.http import Http
from penstock.secrets import Secrets
from pipelines.declaration import Kafka, KafkaSecurity

if TYPE_CHECKING:
    from bus.tokens import Token


def cluster_of(kafka: Kafka, root: Path, secrets: Secrets, *, http: Http, clock: Clock) -> Cluster:
    """
    Return it with its references resolved; files are below *root*, the folder of `pipelines.yaml`.

    Tokens are fetched over *http*.
    """
    given = kafka.security or KafkaSecurity()
    return Cluster(
        servers=Cluster.servers_of(_text(kafka.kafka, secrets)),
        prefix=kafka.prefix,
        tls=_tls(given, root) if given.tls else None,
        login=_login(given, secrets),
        token=_token(given, secrets, http, clock),
        member=_text(kafka.member, secrets) if kafka.member else None,
    )


def _text(written: str, secrets: Secrets) -> str:
    return secrets.get(written).reveal() if "${" in written else written


def _tls(given: KafkaSecurity, root: Path) -> Tls:
    files = (given.ca, given.certificate, given.certificate_key)
    ca, certificate, key = (root / name if name else None for name in files)
    return Tls(ca=ca, certificate=certificate, key=key)


def _login(given: KafkaSecurity, secrets: Secrets) -> Login | None:
    if given.mechanism is None or given.mechanism == "oauthbearer" or given.username is None or given.password is None:
        return None
    return Login(mechanism=given.mechanism, username=given.username, password=secrets.get(given.password))


def _token(given: KafkaSecurity, secrets: Secrets, http: Http, clock: Clock) -> Token | None:
    if given.mechanism != "oauthbearer":
        return None
    if given.token is not None:
        return tokens.given(partial(secrets.get, given.token))
    if given.token_url is None or given.client_id is None or given.client_secret is None:
        return None  # `check` has refused it
    secret = partial(secrets.get, given.client_secret)
    client = tokens.Client(url=given.token_url, client_id=given.client_id, secret=secret, scope=given.scope)
    return tokens.ClientCredentials(client, http=http, clock=clock)
