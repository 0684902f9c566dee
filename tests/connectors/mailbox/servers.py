"""
A real Dovecot and a real SMTP server that delivers into it, on free ports of this machine.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import functools
import grp
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from connectors.mailbox.double import MailboxDouble
from connectors.mailbox.double_smtp import Envelope
from penstock.errors import Unreachable

USER, PASSWORD = "support@acme.example", "canary-password"
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
STATIC = f"""
passdb {{
  driver = static
  args = password={PASSWORD}
}}
"""
OAUTH = """
auth_mechanisms = xoauth2
passdb {{
  driver = oauth2
  mechanisms = xoauth2
  args = {folder}/oauth.conf
}}
"""
TLS = """
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{certificate}
"""
CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
{tls}
disable_plaintext_auth = no
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
mail_location = maildir:{folder}/mail/%u
mail_uid = {owner}
mail_gid = {owners}
first_valid_uid = 1
{passdb}
{more}
userdb {{
  driver = static
  args = uid={owner} gid={owners} home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {plain}
  }}
  inet_listener imaps {{
    port = {secure}
    ssl = yes
  }}
}}
namespace inbox {{
  inbox = yes
  mailbox Sent {{
    auto = create
  }}
  mailbox Drafts {{
    auto = create
  }}
  mailbox Archive {{
    auto = create
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Dovecot:
    """
    One server with its mails in a folder.
    """

    def __init__(
        self, *, tls: Literal["no", "starttls", "implicit"] = "no", tokens: str | None = None, more: str = ""
    ) -> None:
        if shutil.which("dovecot", path=SEARCHED) is None:
            raise Unreachable("there is no Dovecot: apt-get install dovecot-imapd")
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-mail-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid()).pw_name
        owner = "nobody" if root else me
        owners = grp.getgrgid(pwd.getpwnam(owner).pw_gid).gr_name
        (self.folder / "mail").mkdir()
        if root:
            shutil.chown(self.folder / "mail", owner, owners)
        words = {
            "folder": self.folder,
            "internal": "dovecot" if root else me,
            "group": "dovecot" if root else grp.getgrgid(os.getegid()).gr_name,
            "login": "dovenull" if root else me,
            "owner": owner,
            "owners": owners,
            "passdb": STATIC if tokens is None else OAUTH.format(folder=self.folder),
            "plain": 0 if tls == "implicit" else self.port,
            "secure": self.port if tls == "implicit" else 0,
            "tls": "ssl = no" if tls == "no" else TLS.format(certificate=certificate()),
            "more": more,
        }
        self._tls = tls
        if tokens is not None:
            words = {**words}
            (self.folder / "oauth.conf").write_text(f"introspection_mode = post\nintrospection_url = {tokens}\n")
        self._owner = (owner, owners) if root else None
        (self.folder / "dovecot.conf").write_text(CONFIG.format(**words))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [shutil.which("dovecot", path=SEARCHED) or "", "-F", "-c", str(self.folder / "dovecot.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
                if self._tls == "implicit" or link.recv(4) == b"* OK":
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            number = self._process.pid
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
                self._process.send_signal(signal.SIGTERM)
                for child in children:
                    os.kill(int(child), signal.SIGKILL)  # asked to stop, they take a second
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def deliver(self, raw: bytes, user: str = USER) -> None:
        """
        Put a mail into a user's inbox, as a delivery agent does.
        """
        box = self.folder / "mail" / user
        parts = [box / part for part in ("tmp", "new", "cur")]
        for part in parts:
            part.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}.M{os.getpid()}.here"
        (box / "tmp" / name).write_bytes(raw)
        if self._owner:
            for path in (box, *parts, box / "tmp" / name):  # no more: what Dovecot makes there comes and goes
                shutil.chown(path, *self._owner)
        (box / "tmp" / name).rename(box / "new" / name)


class Handler:
    """
    Takes mails, and fails when told to.
    """

    def __init__(self) -> None:
        self.keeps: Callable[[bytes], None] | None = None
        """Puts what is sent among the sent mails, as some servers do by themselves."""
        self.user = USER
        self.refuses_nobody = False
        self.signed_in: list[str] = []
        self.got: list[Any] = []
        self.trouble: list[str] = []
        """What the next mails meet: an answer, `drop-before`, `drop-after`, `garbage` or `hang`."""
        self.token = ""
        self.arrived = asyncio.Event()

    async def handle_MAIL(self, server: SMTP, _session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802  # the name aiosmtpd calls
        if self.refuses_nobody and address in ("", "<>"):
            return "550 5.7.1 no sender"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    def authenticate(self, _server: SMTP, _session: Any, _envelope: Any, _mechanism: str, proof: Any) -> AuthResult:
        good = (proof.login, proof.password) == (self.user.encode(), PASSWORD.encode())
        self.signed_in += ["password"] if good else []
        return AuthResult(success=good, handled=False)

    async def auth_XOAUTH2(self, _server: SMTP, arguments: list[str]) -> AuthResult:  # noqa: N802  # the name aiosmtpd calls
        found = base64.b64decode(arguments[1]).decode()
        good = found == f"user={USER}\x01auth=Bearer {self.token}\x01\x01"
        self.signed_in += ["token"] if good else []
        return AuthResult(success=good, handled=False)

    async def handle_RCPT(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  # the name aiosmtpd calls
        if self.trouble and self.trouble[0].startswith("rcpt "):
            return self.trouble.pop(0).removeprefix("rcpt ")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802  # the name aiosmtpd calls
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble in ("", "drop-after", "hang", "garbage"):
            self.got.append(envelope)
            if self.keeps is not None:
                self.keeps(envelope.content)
        if trouble == "hang":
            await asyncio.sleep(3)
        if trouble.startswith("drop") or trouble == "hang":
            assert server.transport is not None
            server.transport.abort()
        if trouble == "garbage":
            return "what did you say?"
        return trouble if trouble[:1].isdigit() else "250 queued"


class Post:
    """
    An SMTP server.
    """

    def __init__(self, *, tls: Literal["no", "starttls", "implicit"] = "no", auth: bool = False) -> None:
        self.handler = Handler()
        self.port = free_port()
        self._up = False
        words: dict[str, Any] = {"auth_require_tls": tls != "no", "auth_required": auth} if auth else {}
        if auth:
            words["authenticator"] = self.handler.authenticate
        if tls != "no":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate())
            words |= (
                {"ssl_context": context} if tls == "implicit" else {"tls_context": context, "require_starttls": True}
            )
        if tls == "implicit":
            words["auth_require_tls"] = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of servers that ask for passwords without TLS, as this one does
            self._controller = Controller(self.handler, hostname="127.0.0.1", port=self.port, **words)

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._controller.start()
        self._up = True

    def stop(self) -> None:
        if self._up:
            self._up = False
            self._controller.stop(no_assert=True)


@contextlib.contextmanager
def dovecot(**words: Any) -> Iterator[Dovecot]:
    try:
        server = Dovecot(**words)
    except Unreachable as error:
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Kept(MailboxDouble):
    """
    The pretended mailbox, with what the tests ask of a `Handler`.
    """

    def __init__(self) -> None:
        super().__init__(address=USER, password=PASSWORD)
        self.got = self.sent
        self.keeps: Callable[[bytes], None] | None = None

    def post(self, envelope: Envelope) -> None:
        super().post(envelope)
        if self.keeps is not None:
            self.keeps(envelope.content)


@dataclass
class Pretended:
    """
    The pretended mailbox in a thread of its own, as `Dovecot` and as `Post`.
    """

    handler: Kept
    port: int
    loop: asyncio.AbstractEventLoop

    def deliver(self, raw: bytes) -> None:
        async def deliver() -> None:
            self.handler.deliver(raw)

        asyncio.run_coroutine_threadsafe(deliver(), self.loop).result()


@contextlib.contextmanager
def pretended() -> Iterator[tuple[Pretended, Pretended]]:
    """
    Serve the double; yields its two halves, inward and outward.
    """
    double, loop = Kept(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    serving = double.serving()
    try:
        inward, outward = do(serving.__aenter__())
        yield Pretended(double, inward, loop), Pretended(double, outward, loop)
        do(serving.__aexit__(None, None, None))
        do(asyncio.sleep(0.05))  # until what was cut off has seen it
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@functools.cache
def certificate() -> Path:
    """
    Make a certificate for this machine that signs itself; key and certificate in one file.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(hours=1))
    builder = builder.not_valid_after(now + dt.timedelta(days=1)).add_extension(here, critical=False)
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    path = Path(tempfile.mkdtemp(prefix="penstock-mail-")) / "here.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + secret)
    return path
