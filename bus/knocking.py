"""
One connection before all others, so that a cluster that does not let us in says why, once.

aiokafka tells its log why a connection failed, and its caller only that none could be made.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.errors import KafkaConnectionError, KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.metadata import MetadataRequest

from bus.mishaps import reason
from penstock.errors import PenstockError, Unreachable
from penstock.redaction import LIVE

if TYPE_CHECKING:
    from bus.cluster import Cluster
    from bus.tokens import Token

_STATUS = re.compile(r'"status"\s*:\s*"([a-z_]{1,40})"')  # of RFC 7628's answer to a token
CHECK = "Is it running, and are `hub.bus.kafka` and `hub.bus.security` right?"


class NoToken(SaslAuthenticationFailed):  # type: ignore[misc]  # aiokafka has no types
    """
    No token can be had; aiokafka takes only errors of its own for a connection that failed.
    """


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """
    A source of tokens as aiokafka asks it.
    """

    def __init__(self, source: Token) -> None:
        self._source = source

    async def token(self) -> str:
        """
        Return a token that is good now; raises `NoToken`.
        """
        try:
            return await self._source()
        except PenstockError as error:
            raise NoToken(str(error)) from error


class _Door(AIOKafkaConnection):  # type: ignore[misc]
    """
    A connection that hears a broker refuse a token.
    """

    def authenticator_oauth(self) -> OAuthAuthenticator:
        """
        Return how a token is offered.
        """
        return _Offer(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _Offer(OAuthAuthenticator):  # type: ignore[misc]
    """
    Offers a token; aiokafka takes the refusal of one for consent, and is surprised when the door closes.
    """

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """
        Return what to send, then None; raises `SaslAuthenticationFailed` with the broker's word.
        """
        if payload:
            said = _STATUS.search(payload.decode(errors="replace"))
            raise SaslAuthenticationFailed(said[1] if said else "the token")
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step


async def knock(cluster: Cluster, connection: Mapping[str, Any]) -> None:
    """
    Return when one broker of *cluster* lets us in; raises `Unreachable` with what the last one said.
    """
    wanted = {name: value for name, value in connection.items() if name != "bootstrap_servers"}
    said = ""
    for host, port, _ in collect_hosts(list(cluster.servers)):
        try:
            door = _Door(host, port, **wanted)
            await door.connect()
            await door.send(MetadataRequest([]))  # who wants a login hangs up only now
            door.close()
        except (KafkaConnectionError, ConnectionResetError):
            said = _hung_up(cluster)
        except (KafkaError, OSError, TimeoutError) as error:
            said = _told(error)
        else:
            return
    raise Unreachable(f"Kafka at {cluster} cannot be used: {said}")


def _hung_up(cluster: Cluster) -> str:
    if cluster.tls is None:
        asks = "Does this port speak TLS (`tls: true`)" + ("?" if cluster.logs_in else ", or does it want a login?")
    else:
        asks = "Does this port speak TLS" + (
            "?" if cluster.tls.certificate else ", and does it want our `certificate`?"
        )
    return f"it hung up. {asks} Look at `hub.bus.security`"


def _told(error: Exception) -> str:
    text = LIVE.hide(reason(error).removeprefix(f"[Error {SaslAuthenticationFailed.errno}] "))
    text = text.removeprefix(f"{type(error).__name__}: ").rstrip(".")
    match error:
        case NoToken():
            return f"no token: {text}"
        case SaslAuthenticationFailed():
            return f"it refuses our login: {text}. Look at `hub.bus.security`"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}. Look at `hub.bus.security.ca`"
        case ssl.SSLError():
            return f"TLS failed: {text}. Look at `hub.bus.security`"
    return f"{text}. {CHECK}"
