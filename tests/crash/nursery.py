"""
Where workers come from: a process that has read the hub's modules once and forks, so that a restart costs a
tenth of its time; what runs in the child is `penstock run` as ever.

    python -m tests.crash.nursery      one JSON order per line in, `{"pid": …}` and `{"pid": …, "code": …}` out

When its orders end, because whoever gave them is gone, it ends its children and itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import runpy
import select
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from console.testing import HubProcess, Process
from penstock import HOUSE

READ = (
    "ai.client",
    "bus.embedded",
    "bus.kafka",
    "connectors.catalog",
    "console.cli.commands",
    "console.cli.running",
    "ledger.postgres",
    "ledger.sqlite",
    "penstock.http_aiohttp",
    "uvloop",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)
"""What every worker would read; those that are not there are read by nobody."""


class Child:
    """
    A process that the nursery forked.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.ended = asyncio.Event()

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int, /) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)


class Nursery:
    """
    The side that gives the orders.
    """

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._born: asyncio.Queue[Child] = asyncio.Queue()
        self._ordering = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.nursery"),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(HOUSE)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listener

    async def bear(self, order: Mapping[str, Any]) -> Child:
        """
        Have a child made that does *order*.
        """
        assert self._process.stdin is not None
        async with self._ordering:
            self._process.stdin.write(orjson.dumps(order) + b"\n")
            return await self._born.get()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = orjson.loads(line)
            if "code" not in said:
                self._children[said["pid"]] = Child(said["pid"])
                self._born.put_nowait(self._children[said["pid"]])
                continue
            child = self._children.pop(said["pid"])
            child.returncode = said["code"]
            child.ended.set()


class ForkedHub(HubProcess):
    """
    `penstock run` in a process that the nursery forked.
    """

    def __init__(self, nursery: Nursery, folder: Path, **given: Any) -> None:
        super().__init__(folder, **given)
        self._nursery = nursery

    async def _launch(self, env: Mapping[str, str]) -> Process:
        return await self._nursery.bear(
            {
                "module": self._module,
                "words": ["penstock", "run", "--listen", self._listen],
                "folder": str(self.folder),
                "env": dict(env),
                "log": str(self._log),
            }
        )


# ---- the side that forks ------------------------------------------------------------------------


def _serve() -> None:
    for name in READ:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("ai.tokens").count("once")
    dead, bell = os.pipe()
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([0, dead], [], [])
        if dead in ready:
            os.read(dead, 4096)
            _bury(children)
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                break
            *orders, rest = (rest + more).split(b"\n")
            for order in orders:
                children.add(_fork(orjson.loads(order)))
    for child in children:
        os.kill(child, signal.SIGKILL)


def _bury(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _say({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _fork(order: Mapping[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _live(order)
    _say({"pid": pid})
    return pid


def _live(order: Mapping[str, Any]) -> None:
    """
    Be the worker; does not return.
    """
    code: Any = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        os.closerange(3, 256)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["env"])
        sys.argv[:] = order["words"]
        runpy.run_module(order["module"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as Python says it at its end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


def _say(what: Mapping[str, int]) -> None:
    os.write(1, orjson.dumps(what) + b"\n")


if __name__ == "__main__":
    _serve()
