"""
For tests of a whole hub: a folder laid over the worked examples, and a hub in a process of its own.

    folder = overlay(HOUSE, tmp_path, {"connections.helpdesk.url": desk}, pipelines=["ticket-summary"])
    async with HubProcess(folder, env=secrets) as hub:
        hub.url            # where deliveries go
        await hub.kill()   # SIGKILL, as a crash would
        await hub.start()
        async with hub.another() as second:     # a second worker in the same folder
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

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


class Process(Protocol):
    """
    A process that can be waited for and sent signals.
    """

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, number: int, /) -> None: ...


class HubProcess:
    """
    `penstock run` in a process of its own, on a port that stays the same over restarts.
    """

    def __init__(
        self, folder: Path, *, env: Mapping[str, str], name: str | None = None, module: str = "penstock"
    ) -> None:
        self.folder = folder
        self._module = module
        self._env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE), **env}
        self._process: Process | None = None
        self.starts = 0
        self._listen = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self._listen}"
        self._name = name or f"run.{self._listen.rpartition(':')[2]}"

    def another(self) -> Self:
        """
        Return another worker of the same hub, on a port of its own; it is not started yet.
        """
        return type(self)(self.folder, env=self._env, module=self._module)

    async def start(self, *, fail: str | None = None) -> None:
        """
        Start and wait until deliveries are taken; *fail* names a failpoint (`name` or `name@nth`).
        """
        self.starts += 1
        self._process = await self._launch(self._env | ({"PENSTOCK_FAIL": fail} if fail else {}))
        async with asyncio.timeout(START_WITHIN), httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501  # no TLS here
            while not await self._answers(client):
                if self._process.returncode is not None:
                    if fail and self._process.returncode == -signal.SIGKILL:
                        return  # it came to the failpoint before anybody asked
                    raise RuntimeError(f"the hub did not start:\n{self.log()}")
                await asyncio.sleep(0.05)

    async def _launch(self, env: Mapping[str, str]) -> Process:
        command = (sys.executable, "-m", self._module, "run", "--listen", self._listen)
        with self._log.open("wb") as log:
            return await asyncio.create_subprocess_exec(*command, cwd=self.folder, env=env, stdout=log, stderr=log)

    async def _answers(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await client.get(f"{self.url}/health")).status_code == 200
        return False

    def kill_at_once(self) -> None:
        """
        End the process as a crash would, without waiting until it is gone.
        """
        self.send(signal.SIGKILL)

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
    def pid(self) -> int:
        """
        The id of the latest process.
        """
        assert self._process is not None
        return self._process.pid

    def kept(self) -> list[int]:
        """
        Return the ids of the processes it keeps, in the order of their start; none with `hub.processes: 1`.
        """
        with contextlib.suppress(FileNotFoundError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()]
        return []

    @property
    def alive(self) -> bool:
        """
        Whether the process runs.
        """
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """
        Send a signal, as far as there is still somebody to take it.
        """
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self) -> int:
        """
        Ask the process to stop and return its exit code.
        """
        assert self._process is not None
        self.send(signal.SIGTERM)
        async with asyncio.timeout(STOP_WITHIN):
            return await self._process.wait()

    def log(self) -> str:
        """
        Return what the latest process said.
        """
        return self._log.read_text("utf-8", "replace")

    @property
    def _log(self) -> Path:
        return self.folder / f"{self._name}.{self.starts}.log"

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
