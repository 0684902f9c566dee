"""
What a broker on this machine trusts: its own certificate, one client's, and the tokens of one issuer.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.errors import Unreachable

MAKE_WITHIN = 60.0  # seconds
AUDIENCE = "kafka"
TOKEN_LIFE = 300  # seconds


def make(folder: Path) -> None:
    """
    Write `broker.p12` and `broker.pem`, `client.pem` and `client.key`, `issuer.key` and `jwks.json` into *folder*.
    """
    store = ["-keystore", str(folder / "broker.p12"), "-storetype", "PKCS12", "-storepass", "changeit"]
    name = ["-alias", "broker"]
    kind = ["-keyalg", "RSA", "-keysize", "2048", "-validity", "30", "-dname", "CN=localhost"]
    keytool = shutil.which("keytool") or "keytool"
    run([keytool, "-genkeypair", *name, *kind, "-ext", "san=ip:127.0.0.1,dns:localhost", *store], within=MAKE_WITHIN)
    run([keytool, "-exportcert", "-rfc", *name, *store, "-file", str(folder / "broker.pem")], within=MAKE_WITHIN)
    files = ["-keyout", str(folder / "client.key"), "-out", str(folder / "client.pem")]
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=penstock", *files)
    _openssl("genrsa", "-out", str(folder / "issuer.key"), "2048")
    (folder / "jwks.json").write_text(json.dumps({"keys": [_public(folder / "issuer.key")]}))


def sign(key: Path, *, subject: str = "penstock", life: int = TOKEN_LIFE, audience: str = AUDIENCE) -> str:
    """
    Return a token as the issuer with *key* would give it.
    """
    now = int(time.time())
    claims = {"sub": subject, "scope": "kafka", "aud": audience, "iss": "test", "iat": now, "exp": now + life}
    head = {"alg": "RS256", "kid": "1", "typ": "JWT"}
    text = ".".join(_url_safe(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{_url_safe(_openssl('dgst', '-sha256', '-sign', str(key), given=text.encode()))}"


def _public(key: Path) -> dict[str, str]:
    printed = _openssl("rsa", "-in", str(key), "-noout", "-modulus").decode().strip()
    modulus = bytes.fromhex(printed.removeprefix("Modulus="))
    return {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": _url_safe(modulus), "e": "AQAB"}


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*words: str, given: bytes = b"") -> bytes:
    command = [shutil.which("openssl") or "openssl", *words]
    return subprocess.run(command, input=given, capture_output=True, timeout=MAKE_WITHIN, check=True).stdout  # noqa: S603  ours


def run(command: Sequence[str], *, within: float) -> None:
    """
    Run one of the tools a broker needs; raises `Unreachable` with what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=within, check=False)  # noqa: S603  ours
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Unreachable(f"{Path(command[0]).name} failed: {' | '.join(said)}")
