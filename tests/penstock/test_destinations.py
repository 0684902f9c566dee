"""
Every spelling of a private address is seen through.
"""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from penstock.destinations import is_public, may_reach, public_socket, socket_within

PRIVATE = [
    "127.0.0.1",
    "127.1",  # the resolver's short forms
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "::1",
    "::",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:0:7f00:1",
    "0:0:0:0:0:ffff:a00:1",
    "64:ff9b::7f00:1",  # NAT64
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",  # 6to4
    "2001:0:7f00:1::1",  # Teredo
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",  # cloud metadata
    "100.64.0.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "fe80::1",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
]
PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "2002:101:101::1", "::ffff:1.1.1.1"]


def resolved(host: str) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_not_public(host: str) -> None:
    """What the resolver makes of *host* is refused."""
    assert [False] * len(resolved(host)) == [is_public(address) for address in resolved(host)]


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_are(host: str) -> None:
    """The open internet stays reachable, also over a translator."""
    assert is_public(host)


@pytest.mark.parametrize("text", ["", "example.com", "1.2.3.4.5", "fe80::1%eth0"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Only a number that is an address can be public."""
    assert not is_public(text)


def test_no_socket_is_made_for_a_private_address() -> None:
    """The guard stands where the connection is made."""
    with pytest.raises(OSError, match="open internet"):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 443)))
    made = public_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 443)))
    made.close()


OURS = tuple(ip_network(text) for text in ("10.1.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "fd00::/8", "100.64.0.0/10"))


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::a01:203", True),  # 10.1.2.3 over NAT64
        ("10.2.0.1", False),
        ("::ffff:10.2.0.1", False),
        ("192.168.1.1", False),
        ("::1", False),
        ("fd12::1", True),
        ("fe80::1", False),
        ("169.254.7.7", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:a9fe:a9fe::1", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("100.64.0.1", True),
        ("1.1.1.1", True),
        ("nonsense", False),
    ],
)
def test_private_networks_that_are_allowed(address: str, reached: bool) -> None:
    """Every spelling of an address in them is, and of no other; where clouds keep credentials is in none."""
    assert may_reach(address, OURS) is reached


def test_no_socket_is_made_beyond_the_networks() -> None:
    """The guard stands where the connection is made, and names the address."""
    make = socket_within(OURS)
    with pytest.raises(OSError, match=r"10\.2\.0\.1"):
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.2.0.1", 443)))
    make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.0.1", 443))).close()
