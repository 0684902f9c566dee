"""
A real Dovecot and a real SMTP server that delivers into it, on free ports of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

USER, PASSWORD = "support@acme.example", "canary-password"
CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
mail_location = maildir:{folder}/mail/%u
mail_uid = {owner}
mail_gid = {owners}
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={owner} gid={owners} home={folder}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
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

    def __init__(self) -> None:
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
            "password": PASSWORD,
            "port": self.port,
        }
        self._owner = (owner, owners) if root else None
        (self.folder / "dovecot.conf").write_text(CONFIG.format(**words))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [shutil.which("dovecot") or "/usr/sbin/dovecot", "-F", "-c", str(self.folder / "dovecot.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as link:
                if link.recv(4) == b"* OK":
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
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
        for part in ("tmp", "new", "cur"):
            (box / part).mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns()}.M{os.getpid()}.here"
        (box / "tmp" / name).write_bytes(raw)
        if self._owner:
            for path in (box, *box.iterdir(), box / "tmp" / name):
                shutil.chown(path, *self._owner)
        (box / "tmp" / name).rename(box / "new" / name)


class Handler:
    """
    Takes mails, and fails when told to.
    """

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.trouble: list[str] = []
        """What the next mails meet: an answer, `drop-before`, `drop-after` or `hang`."""

    async def handle_RCPT(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  # the name aiosmtpd calls
        if self.trouble and self.trouble[0].startswith("rcpt "):
            return self.trouble.pop(0).removeprefix("rcpt ")
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802  # the name aiosmtpd calls
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble in ("", "drop-after", "hang"):
            self.got.append(envelope)
        if trouble == "hang":
            await asyncio.sleep(3)
        if trouble.startswith("drop") or trouble == "hang":
            assert server.transport is not None
            server.transport.abort()
        return trouble if trouble[:1].isdigit() else "250 queued"


class Post:
    """
    An SMTP server.
    """

    def __init__(self) -> None:
        self.handler = Handler()
        self.port = free_port()
        self._up = False
        self._controller = Controller(self.handler, hostname="127.0.0.1", port=self.port)

    def start(self) -> None:
        self._controller.start()
        self._up = True

    def stop(self) -> None:
        if self._up:
            self._up = False
            self._controller.stop(no_assert=True)


@contextlib.contextmanager
def dovecot() -> Iterator[Dovecot]:
    server = Dovecot()
    try:
        server.start()
        yield server
    finally:
        server.remove()
