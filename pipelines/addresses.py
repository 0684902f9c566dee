"""
Where a hub may take deliveries: `host:port`, and only this machine can reach it.
"""

from __future__ import annotations

import ipaddress
import re

_LISTEN = re.compile(r"(\[[0-9a-fA-F:]+\]|[0-9A-Za-z.-]+):([0-9]{1,5})")
_MOST_PORTS = 65536


def fault(address: str) -> tuple[str, str] | None:
    """
    Return what is wrong with *address* and how to mend it; None when a hub may listen there.
    """
    found = _LISTEN.fullmatch(address)
    if not found or not 0 < int(found[2]) < _MOST_PORTS:
        return f"{address!r} is not an address", "write host:port, for example '127.0.0.1:8080'"
    if not is_loopback(found[1].strip("[]")):
        hint = "write 127.0.0.1, and put a proxy that speaks TLS in front"
        return f"{found[1]!r} can be reached from other machines", hint
    return None


def is_loopback(host: str) -> bool:
    """
    Say whether *host* is this machine.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
