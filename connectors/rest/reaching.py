"""
How far the requests of one connection may go, and which certificates they go with.
"""

from __future__ import annotations

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from connectors.settings import Setting, SettingError, Settled
from penstock.destinations import Network, Reach, may_reach

log = logging.getLogger(__name__)

NETWORKS, CERTIFICATE, KEY, AUTHORITIES = "private_networks", "client_certificate", "client_key", "ca_certificates"
CERTIFICATES = (CERTIFICATE, KEY, AUTHORITIES)
WIDEST = {4: 8, 6: 7}  # bits that are fixed: 10.0.0.0/8, fc00::/7
SETTINGS: Mapping[str, Setting] = {
    NETWORKS: Setting(
        description=(
            "Networks of our own that it may be in, as CIDR: `[10.20.0.0/16]`. "
            "Without them only the open internet is connected to."
        ),
        optional=True,
        shape={"type": "array", "items": {"type": "string"}, "maxItems": 64},
    ),
    CERTIFICATE: Setting(
        description="Our certificate, and those between it and its authority: PEM. With `client_key`.",
        secret=True,
        optional=True,
    ),
    KEY: Setting(description="The private key of `client_certificate`: PEM, unencrypted.", secret=True, optional=True),
    AUTHORITIES: Setting(
        description="Who signs the system's certificate, in place of those the machine trusts: PEM.",
        secret=True,
        optional=True,
    ),
}


def networks_of(settings: Mapping[str, Any]) -> tuple[Network, ...]:
    """
    Return the private networks that are allowed; raises `SettingError` for one that is none, or all too wide.
    """
    found: list[Network] = []
    for number, text in enumerate(settings.get(NETWORKS) or ()):
        keys = (NETWORKS, number)
        try:
            network = ip_network(text)
        except ValueError as error:
            raise SettingError(f"not a network: {error}", keys, "write it like 10.20.0.0/16") from None
        if network.prefixlen < (least := WIDEST[network.version]):
            raise SettingError(f"{text} is too wide", keys, f"name networks of /{least} or smaller")
        found.append(network)
    return tuple(found)


def check_reach(settings: Mapping[str, Any]) -> None:
    """
    Raise `SettingError` for what can be seen to be wrong before any secret is known and any name is resolved.
    """
    networks = networks_of(settings)
    parts = urlsplit(str(settings.get("url", "")))
    given = [name for name in CERTIFICATES if name in settings]
    if parts.scheme == "http" and given:
        raise SettingError("certificates need https://", (given[0],))
    for one, other in ((CERTIFICATE, KEY), (KEY, CERTIFICATE)):
        if one in settings and other not in settings:
            raise SettingError(f"it goes with {other!r}, which is not there", (one,))
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return  # a name is judged by what it resolves to, when it is connected to
    if not may_reach(host, networks):
        said = f"{parts.hostname} is not in the open internet"
        raise SettingError(said, ("url",), f"name its network under {NETWORKS!r}, unless it is where clouds keep keys")


class Reaching:
    """
    The reach of one connection: its certificates are read again once they change.
    """

    def __init__(self, settled: Settled) -> None:
        """
        Raises `SettingError` for certificates that cannot be used.
        """
        self._settled = settled
        self._networks = networks_of(settled.values)
        self._texts = self._read()
        self._reach = Reach(networks=self._networks, tls=_context(*self._texts))

    def now(self) -> Reach:
        """
        Return the reach; while a certificate is being replaced by one that cannot be used, the one before.
        """
        texts = self._read()
        if texts != self._texts:
            self._texts = texts
            try:
                self._reach = Reach(networks=self._networks, tls=_context(*texts))
            except SettingError as error:
                log.warning("the certificates of %s stay as they were: %s", self._settled.values["url"], error)
        return self._reach

    def _read(self) -> tuple[str, str, tuple[str, ...]]:
        certificate, key = ((*self._settled.secrets(name), "")[0] for name in (CERTIFICATE, KEY))
        return certificate, key, self._settled.secrets(AUTHORITIES)


def _context(certificate: str, key: str, authorities: tuple[str, ...]) -> ssl.SSLContext | None:
    """
    Return what TLS is spoken with, None for the machine's own; raises `SettingError`. Repeats nothing of a key.
    """
    if not certificate and not authorities:
        return None
    context = _trusting(authorities)
    if certificate:
        _prove(context, certificate, key)
    return context


def _trusting(authorities: tuple[str, ...]) -> ssl.SSLContext:
    from penstock.http_aiohttp import trusted

    return _holding(AUTHORITIES, "\n".join(authorities)) if authorities else trusted()


def _prove(context: ssl.SSLContext, certificate: str, key: str) -> None:
    _holding(CERTIFICATE, certificate)
    if "PRIVATE KEY-----" not in key:
        raise SettingError("it holds no private key in PEM", (KEY,))
    with _file(f"{certificate}\n{key}\n") as path:
        try:
            context.load_cert_chain(path, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                said = f"it is not the key of {CERTIFICATE!r}"
            else:
                said = f"it cannot be used with {CERTIFICATE!r} ({error.reason or 'not a key'})"
            raise SettingError(said, (KEY,)) from None
        except ValueError:
            raise SettingError("it is encrypted", (KEY,), "give it without a passphrase") from None


def _holding(name: str, text: str) -> ssl.SSLContext:
    """
    Return what trusts the certificates in *text*; raises `SettingError` when there are none.
    """
    try:
        return ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError, TypeError) as error:
        reason = getattr(error, "reason", None) or "nothing of the kind"
        raise SettingError(f"it holds no certificate in PEM ({reason})", (name,)) from None


def _no_password() -> str:
    raise ValueError("there is no passphrase")


@contextmanager
def _file(text: str) -> Iterator[str]:
    """
    Yield the path of a file that holds *text* as long as this lasts: OpenSSL's interface takes nothing else.
    """
    if hasattr(os, "memfd_create"):  # a key in memory never comes near a disk
        with os.fdopen(os.memfd_create("key"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w") as kept:  # for this user only
        kept.write(text)
        kept.flush()
        yield kept.name
