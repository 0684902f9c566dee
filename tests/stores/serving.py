"""
Doubles of stores that cannot be run here: what Google and Microsoft publish of their REST interfaces.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass
class Asked:
    """
    One request that came in.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    form: dict[str, str] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def serving(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """
    Yield `host:port` of *app*.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    sockets: Any = site._server
    try:
        yield f"127.0.0.1:{sockets.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


async def asked(request: web.Request) -> Asked:
    """
    Return what *request* says.
    """
    form = {}
    if request.content_type == "application/x-www-form-urlencoded":
        form = {name: str(value) for name, value in (await request.post()).items()}
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Asked(request.method, request.path, dict(request.query), headers, form)


def key_pair() -> tuple[rsa.RSAPrivateKey, str]:
    """
    Return a private key, and as PEM.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, key.private_bytes(*form).decode()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """
    Return the file with the certificate of a server on 127.0.0.1, and what the server needs.
    """
    key, pem = key_pair()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, private = folder / "server.pem", folder / "server.key"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return file, context
