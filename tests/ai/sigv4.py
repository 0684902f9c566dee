"""
AWS's Signature Version 4, checked as AWS's side does: from the request that arrived.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def verified(method: str, url: str, headers: Mapping[str, str], body: bytes, secret: str) -> str | None:
    """
    Return `id/region/service` of who signed the request; None when the signature is wrong.
    """
    found = _AUTHORIZATION.fullmatch(headers["authorization"])
    assert found, headers["authorization"]
    parts = urlsplit(url)
    given = {"host": parts.netloc} | {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    signed = found["signed"].split(";")
    query = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(parse_qsl(parts.query)))
    lines = [f"{name}:{given[name]}\n" for name in signed]
    canonical = "\n".join(
        [
            method,
            quote(parts.path, safe="/-_.~"),
            query,
            "".join(lines),
            found["signed"],
            hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", given["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    right = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not {"host", "x-amz-date"} <= set(signed) or not hmac.compare_digest(right, found["signature"]):
        return None
    return f"{found['id']}/{found['region']}/{found['service']}"
