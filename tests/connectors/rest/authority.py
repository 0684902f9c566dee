"""
Certificates for one test, and a server that demands one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
BODY = b'{"id": "1", "name": "A bike"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(BODY), BODY)


@dataclass(frozen=True)
class Held:
    """
    A certificate and its key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self, phrase: bytes | None = None) -> str:
        kept = serialization.BestAvailableEncryption(phrase) if phrase else serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, kept).decode()


def issued(name: str, by: Held | None = None) -> Held:
    """
    Return a certificate for *name*, signed *by* an authority, or one of an authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing = by.key if by else key
    now = datetime.now(UTC)
    places = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    made = (
        x509.CertificateBuilder(
            issuer_name=by.certificate.subject if by else subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - DAY,
            not_valid_after=now + DAY,
        )
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=by is None, crl_sign=by is None, decipher_only=False, **usage
            ),
            critical=True,
        )
    )
    return Held(made.sign(signing, hashes.SHA256()), key)


class Strict:
    """
    A server that answers whoever has a certificate of its authority, over real TLS.

    It is a thread with the standard library's `ssl`: asyncio's server resets the connection in place of the alert by
    which other servers say what is wrong.
    """

    def __init__(self, folder: Path, authority: Held, ours: Held, version: ssl.TLSVersion) -> None:
        pem = folder / "server.pem"
        pem.write_text(ours.pem + ours.key_pem())
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._context.load_verify_locations(cadata=authority.pem)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.maximum_version = version
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self.heard: list[bytes] = []
        """Requests that were read."""
        self.known: list[str] = []
        """Whose certificates they came with."""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Strict]:
        """
        Answer until the block ends.
        """
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield self
        finally:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            thread.join()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            plain.settimeout(5)
            spoken = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            try:
                spoken.do_handshake()
                self.heard.append(spoken.recv(65536))
                self.known.append(spoken.getpeercert()["subject"][0][0][1])
                spoken.sendall(ANSWER)
            except OSError:
                _hang_up(socket.socket(fileno=spoken.detach()))
            else:
                spoken.close()


def _hang_up(plain: socket.socket) -> None:
    """
    Close without a reset, so that the alert arrives.
    """
    with plain, contextlib.suppress(OSError):
        plain.settimeout(1)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(65536):
            pass
