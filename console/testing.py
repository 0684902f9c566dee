"""
For tests of a whole hub: a folder laid over the worked examples, and a hub in a process of its own.

    folder = overlay(HOUSE, tmp_path, {"connections.helpdesk.url": desk}, pipelines=["ticket-summary"])
    async with HubProcess(folder, env=secrets) as hub:
        hub.url            # where deliveries go
        await hub.kill()   # SIGKILL, as a crash would
        await hub.start()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
from ruamel.yaml import YAML

import ledger as ledger_room
from ledger.contract import Ledger
from penstock import HOUSE
from penstock.clock import SystemClock

START_WITHIN = 60.0  # seconds; a machine may be busy
STOP_WITHIN = 40.0  # seconds
LISTEN_PORTS = (10_000, 32_000)  # below what systems hand out to connections


def overlay(source: Path, target: Path, changes: Mapping[str, Any], *, pipelines: Sequence[str]) -> Path:
    """
    Copy the hub in *source* to *target* with only *pipelines* and their connections, and *changes*
    (dotted paths to new values) laid over its declaration; return *target*.
    """
    for folder in ("templates", "schemas"):
        shutil.copytree(source / folder, target / folder, dirs_exist_ok=True)
    yaml = YAML()
    declared = yaml.load((source / "pipelines.yaml").read_text("utf-8"))
    declared["pipelines"] = {name: declared["pipelines"][name] for name in pipelines}
    used = {pipeline["trigger"]["connection"] for pipeline in declared["pipelines"].values()}
    declared["connections"] = {name: declared["connections"][name] for name in used}
    for path, value in changes.items():
        *parents, last = path.split(".")
        part = declared
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    with (target / "pipelines.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(declared, file)
    return target


def free_port() -> int:
    """
    Return a port of 127.0.0.1 that is free now and that no outgoing connection will take: a hub that was
    killed needs it again.
    """
    while True:
        port = random.randrange(*LISTEN_PORTS)  # noqa: S311  # nobody has to guess it
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class HubProcess:
    """
    `penstock run` in a process of its own, on a port that stays the same over restarts.
    """

    def __init__(self, folder: Path, *, env: Mapping[str, str]) -> None:
        self.folder = folder
        self._env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **env}
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        text = (folder / "pipelines.yaml").read_text("utf-8")
        text = re.sub(r"listen: \S+", f"listen: 127.0.0.1:{port}", text)
        (folder / "pipelines.yaml").write_text(text, "utf-8")

    async def start(self, *, fail: str | None = None) -> None:
        """
        Start and wait until deliveries are taken; *fail* names a failpoint (`name` or `name@nth`).
        """
        self.starts += 1
        log = (self.folder / f"run.{self.starts}.log").open("wb")
        env = self._env | ({"PENSTOCK_FAIL": fail} if fail else {})
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "penstock", "run", cwd=self.folder, env=env, stdout=log, stderr=log
        )
        log.close()
        async with asyncio.timeout(START_WITHIN), httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501  # no TLS here
            while not await self._answers(client):
                if self._process.returncode is not None:
                    if fail and self._process.returncode == -signal.SIGKILL:
                        return  # it came to the failpoint before anybody asked
                    raise RuntimeError(f"the hub did not start:\n{self.log()}")
                await asyncio.sleep(0.05)

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(f"{self.url}/health")).status_code == 200
        return False

    def kill_at_once(self) -> None:
        """
        End the process as a crash would, without waiting until it is gone.
        """
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def kill(self) -> None:
        """
        End the process as a crash would.
        """
        self.kill_at_once()
        await self.died()

    async def died(self) -> int:
        """
        Wait until the process is gone; return its exit code, negative for a signal.
        """
        assert self._process is not None
        return await self._process.wait()

    @property
    def alive(self) -> bool:
        """
        Whether the process runs.
        """
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> int:
        """
        Ask the process to stop and return its exit code.
        """
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_WITHIN):
            return await self._process.wait()

    def log(self) -> str:
        """
        Return what the latest process said.
        """
        return (self.folder / f"run.{self.starts}.log").read_text("utf-8", "replace")

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """
        Open the hub's ledger to read.
        """
        opened = await ledger_room.open(self.folder / ".penstock/ledger.db", clock=SystemClock(), read_only=True)
        try:
            yield opened
        finally:
            await opened.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.alive:
            await self.kill()
