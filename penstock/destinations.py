"""
Where a request may go: which addresses are out in the open internet, and not in our own network.

The check stands at the socket, after every name is resolved and every spelling of a number is read,
so that neither `2130706433`, nor a name that answers differently the second time, gets around it.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Network = IPv4Network | IPv6Network

_METADATA = tuple(
    ip_address(text)
    for text in (
        "169.254.169.254",  # nearly every cloud
        "169.254.170.2",  # AWS: credentials of a container
        "169.254.170.23",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "168.63.129.16",  # Azure
    )
)
"""Where a machine in a cloud is given its own credentials: never a system of anybody's."""

_CARRIES_V4_LAST = tuple(IPv6Network(net) for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
_LOCAL_TRANSLATION = IPv6Network("64:ff9b:1::/48")
_V4 = 0xFFFFFFFF  # the low 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """
    How far the requests to one system may go, and which certificates they go with.
    """

    networks: tuple[Network, ...] = ()
    """Of our own: addresses in them may be connected to, beside the open internet."""
    tls: ssl.SSLContext | None = None
    """Whom we trust, and the certificate by which we are known; None: whom the machine trusts, and none."""


def may_reach(address: str, networks: tuple[Network, ...]) -> bool:
    """
    Return whether *address* is in the open internet or in one of *networks*; where clouds keep credentials, never.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inside = _inside(found) if isinstance(found, IPv6Address) else None
    meant = [found] if inside is None else inside
    if any(one in _METADATA for one in meant):
        return False
    return is_public(address) or all(any(one in network for network in networks) for one in meant)


def is_public(address: str) -> bool:
    """
    Return whether *address*, and every IPv4 address inside it, belongs to the open internet.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return _is_open(found)
    inside = _inside(found)
    if inside is not None:
        return all(_is_open(one) for one in inside)
    return _is_open(found) and not found.is_site_local and found not in _LOCAL_TRANSLATION


def _is_open(address: IPv4Address | IPv6Address) -> bool:
    closed = address.is_private or address.is_multicast or address.is_reserved or address.is_unspecified
    # 192.0.0.0/24 is for protocols; newer Pythons call parts of it global
    protocols = isinstance(address, IPv4Address) and address.packed[:3] == bytes((192, 0, 0))
    return address.is_global and not closed and not protocols


def _inside(address: IPv6Address) -> list[IPv4Address] | None:
    """
    Return the IPv4 addresses *address* stands for (mapped, translated, tunnelled); None when for none.
    """
    if any(address in net for net in _CARRIES_V4_LAST):
        return [IPv4Address(int(address) & _V4)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    return None


def public_socket(target: tuple[Any, ...]) -> socket.socket:
    """
    Return a socket for *target*, an entry of `getaddrinfo`; refuses an address that is not public.
    """
    if not is_public(str(target[4][0])):
        raise OSError(errno.EACCES, "the address is not in the open internet; private addresses are not allowed here")
    return _made(target)


def socket_within(networks: tuple[Network, ...]) -> Callable[[tuple[Any, ...]], socket.socket]:
    """
    Return what makes sockets like `public_socket`, for addresses in *networks*, too.
    """

    def make(target: tuple[Any, ...]) -> socket.socket:
        if not may_reach(str(target[4][0]), networks):
            said = f"{target[4][0]} is not in the open internet, nor in the private networks that are allowed here"
            raise OSError(errno.EACCES, said)
        return _made(target)

    return make


def _made(target: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _name, _address = target
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made
