"""
aimock: a model server that others wrote, installed from its lock and run on a free port.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from console.testing import free_port

HERE = Path(__file__).parent
PLACE = Path(sys.prefix) / "aimock"
SERVER = PLACE / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
YOUNG_ENOUGH = (20, 15)
LISTED = ("package.json", "package-lock.json")


class Missing(Exception):
    """
    There is no npm, or it cannot install.
    """


def fetch() -> str:
    """
    Install the server once beside Python's packages; return the node to run it with. Raises `Missing`.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed: on Debian, apt-get install nodejs npm")
    own = _own_node()
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:  # of several test processes one installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _installed(own):
            for name in LISTED:
                shutil.copy(HERE / name, PLACE / name)
            leave_out = ["--omit=optional"] if own else []
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", *leave_out]
            done = subprocess.run(command, cwd=PLACE, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode != 0:
                raise Missing(f"npm could not install aimock: {done.stderr.strip()[-500:]}")
    return own or str(_other_node())


def _installed(own: str | None) -> bool:
    same = all((PLACE / name).exists() and (PLACE / name).read_bytes() == (HERE / name).read_bytes() for name in LISTED)
    return same and SERVER.exists() and (own is not None or _other_node() is not None)


def _own_node() -> str | None:
    """
    Return the system's node, if it is young enough.
    """
    node = shutil.which("node")
    if node is None:
        return None
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    return node if found and (int(found[1]), int(found[2])) >= YOUNG_ENOUGH else None


def _other_node() -> Path | None:
    """
    Return the node that npm brought.
    """
    return next(iter(sorted(PLACE.glob("node_modules/node-linux-*/bin/node"))), None)


class Aimock:
    """
    The server, answering every question that has *about* in it with *answer*.
    """

    def __init__(self, node: str, folder: Path, *, about: str, answer: str) -> None:
        fixtures = folder / "fixtures.json"
        fixtures.write_text(
            json.dumps({"fixtures": [{"match": {"userMessage": about}, "response": {"content": answer}}]})
        )
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "aimock.log").open("wb")
        command = [node, str(SERVER), "-p", str(port), "-f", str(fixtures), "--strict"]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)

    def ready(self, within: float = 30.0) -> None:
        """
        Wait until it answers.
        """
        end = time.monotonic() + within
        while True:
            try:
                httpx.get(f"{self.url}/__aimock/chaos")
                return
            except httpx.TransportError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def chaos(self, **rates: Any) -> None:
        """
        Let it fail from now on as *rates* say; in no way without any.
        """
        httpx.delete(f"{self.url}/__aimock/chaos").raise_for_status()
        if rates:
            httpx.post(f"{self.url}/__aimock/chaos", json=rates).raise_for_status()

    def asked(self) -> list[dict[str, Any]]:
        """
        Return every request it got.
        """
        return list(httpx.get(f"{self.url}/__aimock/journal").raise_for_status().json())

    def stop(self) -> None:
        """
        Stop it.
        """
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()
