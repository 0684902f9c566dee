"""
Where a request may go: which addresses are out in the open internet, and not in our own network.

The check stands at the socket, after every name is resolved and every spelling of a number is read,
so that neither `2130706433`, nor a name that answers differently the second time, gets around it.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

_CARRIES_V4_LAST = tuple(IPv6Network(net) for net in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
_LOCAL_TRANSLATION = IPv6Network("64:ff9b:1::/48")
_V4 = 0xFFFFFFFF  # the low 32 bits


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
    family, kind, protocol, _name, address = target
    if not is_public(str(address[0])):
        raise OSError(errno.EACCES, "the address is not in the open internet; private addresses are not allowed here")
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    return made
