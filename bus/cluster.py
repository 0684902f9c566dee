"""
Which Kafka cluster, and how to prove there who we are.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.errors import Invalid
from penstock.secrets import Secret

if TYPE_CHECKING:
    from faststream.security import BaseSecurity

    from bus.tokens import Token

Mechanism = Literal["plain", "scram-sha-256", "scram-sha-512"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """
    An encrypted connection.
    """

    ca: Path | None = None
    """Who signed the brokers' certificates; the system's own list when not set."""
    certificate: Path | None = None
    """Our own certificate, where brokers ask for one."""
    key: Path | None = None
    """The key of our certificate, unencrypted; in the same file when not set."""

    def context(self) -> ssl.SSLContext:
        """
        Return what the connections are made with; raises `Invalid` for a file that cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # ssl.SSLError too
            files = ", ".join(repr(str(file)) for file in (self.ca, self.certificate, self.key) if file)
            raise Invalid(f"the TLS files of the bus ({files}) cannot be used: {error}") from error
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """
    A name and a password, proved by SASL.
    """

    mechanism: Mechanism
    username: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    A Kafka cluster, and what of it is ours.
    """

    servers: tuple[str, ...]
    """`host:port` of some brokers; they name the others."""
    prefix: str = "penstock"
    """Begins the name of each of our consumer groups."""
    tls: Tls | None = None
    login: Login | None = None
    token: Token | None = None
    """Gives what proves who we are by OAUTHBEARER, in place of a login."""
    member: str | None = None
    """A name of this worker that stays over restarts, so that a quick restart moves no partition."""

    def __str__(self) -> str:
        return ",".join(self.servers)

    @property
    def logs_in(self) -> bool:
        """
        Whether we say who we are.
        """
        return self.login is not None or self.token is not None

    @classmethod
    def servers_of(cls, text: str) -> tuple[str, ...]:
        """
        Read `host:port,host:port`.
        """
        servers = tuple(part.strip() for part in text.split(",") if part.strip())
        for server in servers:
            if not server.rpartition(":")[2].isdigit():
                hint = "write host:port, several with commas between them"
                raise Invalid(f"{server!r} is no address of a Kafka broker", where="hub.bus.kafka", hint=hint)
        if not servers:
            raise Invalid("no Kafka broker is named", where="hub.bus.kafka", hint="write host:port")
        return servers

    def security(self) -> BaseSecurity:
        """
        Return it in FastStream's words.
        """
        from faststream.security import (
            BaseSecurity,
            SASLOAuthBearer,
            SASLPlaintext,
            SASLScram256,
            SASLScram512,
        )

        made = {"plain": SASLPlaintext, "scram-sha-256": SASLScram256, "scram-sha-512": SASLScram512}
        context = self.tls.context() if self.tls is not None else None
        if self.token is not None:
            return SASLOAuthBearer(ssl_context=context, use_ssl=self.tls is not None)
        if self.login is None:
            return BaseSecurity(ssl_context=context, use_ssl=self.tls is not None)
        return made[self.login.mechanism](
            username=self.login.username,
            password=self.login.password.reveal(),
            ssl_context=context,
            use_ssl=self.tls is not None,
        )
