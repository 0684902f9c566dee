"""
For tests and benchmarks: a PostgreSQL server of one's own, from the programs of the system.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.errors import Unreachable

ELSEWHERE = "PENSTOCK_TEST_POSTGRES"
"""
Names the variable with the address of a server to use in place of one's own.
"""
_UP = 30.0  # seconds until a server answers
_DOWN = 20.0  # seconds until it has stopped
_USERS = ("postgres", "nobody")  # a server refuses to run as root


class LocalServer:
    """
    One server on 127.0.0.1, with its data in a temporary folder.
    """

    def __init__(self, *, durable: bool = False, below: Path | None = None) -> None:
        """
        Make its data in a folder *below*; *durable* ones survive a loss of power, which tests do not need.
        """
        self._programs = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="penstock-pg-", dir=below))
        self._as = _somebody(self._folder)
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.dsn = f"postgresql://penstock@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-D", "data", "-U", "penstock", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        settings: dict[str, object] = {"listen_addresses": "127.0.0.1", "port": self.port}
        settings["unix_socket_directories"] = ""
        if not self._durable:
            settings |= {"fsync": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("ab")
        command = [str(self._programs / "postgres"), "-D", "data", *words]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._as)  # noqa: S603 # our own server
        log.close()
        self._wait_until_up()

    def stop(self) -> None:
        """
        Stop it, cutting every connection.
        """
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: roll back what runs
            self._process.wait(_DOWN)
            self._process = None

    def remove(self) -> None:
        """
        Stop it and delete its data.
        """
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_until_up(self) -> None:
        import psycopg

        last = time.monotonic() + _UP
        while True:
            try:
                psycopg.connect(self.dsn, connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > last:
                    message = f"PostgreSQL does not start: {(self._folder / 'log').read_text()[-2000:]}"
                    raise Unreachable(message) from error
                time.sleep(0.05)
            else:
                return

    def _run(self, program: str, *words: str) -> None:
        command: Sequence[Path | str] = [self._programs / program, *words]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, **self._as)  # noqa: S603 # our own server
        if done.returncode:
            message = f"{program} failed: {done.stderr[-2000:]}"
            raise Unreachable(message)


def _programs() -> Path:
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    if named := shutil.which("initdb"):
        found.append(Path(named).parent)
    if not found:
        message = f"PostgreSQL is not installed (apt-get install postgresql), and {ELSEWHERE} names no server"
        raise Unreachable(message)
    return found[0]


def _somebody(folder: Path) -> dict[str, Any]:
    """
    Return as whom the server runs: us, or somebody without rights when we are root.
    """
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = next(user for user in _USERS if user in names)
    shutil.chown(folder, name)
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
