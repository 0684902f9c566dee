"""
The Kafka cluster a declaration asks for.
"""

from __future__ import annotations

from pathlib import Path

from bus import Cluster, Login, Tls
from penstock.secrets import Secrets
from pipelines.declaration import Kafka, KafkaSecurity


def cluster_of(kafka: Kafka, root: Path, secrets: Secrets) -> Cluster:
    """
    Return it with its references resolved; files are below *root*, the folder of `pipelines.yaml`.
    """
    given = kafka.security or KafkaSecurity()
    return Cluster(
        servers=Cluster.servers_of(_text(kafka.kafka, secrets)),
        prefix=kafka.prefix,
        tls=_tls(given, root) if given.tls else None,
        login=_login(given, secrets),
        member=_text(kafka.member, secrets) if kafka.member else None,
    )


def _text(written: str, secrets: Secrets) -> str:
    return secrets.get(written).reveal() if "${" in written else written


def _tls(given: KafkaSecurity, root: Path) -> Tls:
    files = (given.ca, given.certificate, given.certificate_key)
    ca, certificate, key = (root / name if name else None for name in files)
    return Tls(ca=ca, certificate=certificate, key=key)


def _login(given: KafkaSecurity, secrets: Secrets) -> Login | None:
    if given.mechanism is None or given.username is None or given.password is None:
        return None
    return Login(mechanism=given.mechanism, username=given.username, password=secrets.get(given.password))
