"""
The bench a connector's tests stand on, made of what they say about it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest

from connectors import catalog
from connectors.bench import KEY, Bench, Receiver, read_on
from connectors.contract import Action, Connector, Delivery, Written
from connectors.listening import listening
from connectors.testing_points import exempt
from connectors.testing_portrait import Portrait
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import Redactor
from penstock.secrets import Secrets
from schemas.events import Event

HAZARDS: tuple[Mapping[str, Any], ...] = (
    {"kind": "drop-before"},
    {"kind": "drop-during"},
    {"kind": "drop-after"},
    {"kind": "garbage"},
    {"kind": "hang", "seconds": 1.2},
    {"kind": "slow", "seconds": 1.2},
    {"kind": "slow", "seconds": 0.2},
    {"kind": "status", "status": 429, "retry_after": "1"},
    {"kind": "status", "status": 429, "retry_after": "date:1"},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "times": 2},
)
"""What may happen to a write."""
PRETENDED = "https://pretended.example"
"""The URL of a system that is never asked."""
NONE = "none"
"""Stands for the action or source of a connector without any."""


class OnBench(Portrait):
    """
    A connector on its bench.
    """

    def names(self, what: Literal["actions", "sources"]) -> list[str]:
        """
        Return the names of its actions or sources.
        """
        return sorted(getattr(catalog.spec(self.name, self.settings(PRETENDED)), what))

    def arguments(self, action: str) -> Mapping[str, Any]:
        """
        Return what *action* writes here.
        """
        return self.given.get(action) or {"text": "hello"}

    def rotated(self, url: str) -> dict[str, Any]:
        """
        Return the settings with a new credential, in the variable `NEWER`, before the one there is.
        """
        one = f"${{env:{self.credential}}}"
        return {name: ["${env:NEWER}", one] if given == one else given for name, given in self.settings(url).items()}

    def connect(self, url: str = PRETENDED, **environment: str) -> Any:
        """
        Return a connection to the system at *url*; with a `NEWER`, in the middle of a rotation.
        """
        return self._open(AiohttpHttp(), url, environment)

    def opened_with(self, settings: Mapping[str, Any]) -> Connector:
        """
        Return a connection with other *settings*, to see them refused.
        """
        secrets = Secrets(self.variables(PRETENDED, self.environment), redactor=Redactor())
        return catalog.open(self.name, settings, secrets=secrets, http=AiohttpHttp(), clock=SystemClock())

    def _open(self, http: AiohttpHttp, url: str, environment: Mapping[str, str]) -> Connector:
        secrets = Secrets(self.variables(url, {**self.environment, **environment}), redactor=Redactor())
        settings = self.rotated(url) if "NEWER" in environment else self.settings(url)
        return catalog.open(self.name, settings, secrets=secrets, http=http, clock=SystemClock())

    @contextlib.asynccontextmanager
    async def opened(self, url: str = PRETENDED, **environment: str) -> AsyncIterator[Any]:
        """
        Yield a connection as `connect` makes it; closed afterwards.
        """
        http = AiohttpHttp()
        connector = self._open(http, url, environment)
        try:
            yield connector
        finally:
            await connector.close()
            await http.close()

    @contextlib.asynccontextmanager
    async def benched(self, **environment: str) -> AsyncIterator[Bench]:
        """
        Yield a connection to a fresh system.
        """
        http = AiohttpHttp()
        async with self.pretend() as (double, url):
            connector = self._open(http, url, environment)
            try:
                yield self.benches(connector=connector, double=double, url=url, http=http)
            finally:
                await connector.close()
                await http.close()

    @contextlib.asynccontextmanager
    async def reborn(self, bench: Bench) -> AsyncIterator[Bench]:
        """
        Yield another connection to the same system, as a process has that was started after a crash.
        """
        async with self.opened(bench.url) as connector:
            yield replace(bench, connector=connector)

    @pytest.fixture(autouse=True)
    def _exempt(self, request: pytest.FixtureRequest) -> None:
        """
        End tests that do not concern this connector.
        """
        mark = request.node.get_closest_marker("point")
        for need in mark.kwargs["needs"] if mark else ():
            if need in self.lacks:
                exempt(self.lacks[need])

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        """
        A connection to a fresh system.
        """
        async with self.benched() as bench:
            yield bench

    @pytest.fixture
    async def connector(self) -> AsyncIterator[Any]:
        """
        A connection that is never used to send.
        """
        async with self.opened() as connector:
            yield connector

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """
        Let tests run once per fault and action.
        """
        for argument, faults in (("read_fault", self.read_faults), ("write_fault", self.write_faults)):
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, faults, ids=[_named(fault) for fault, _ in faults])
        if "each_action" in metafunc.fixturenames:
            metafunc.parametrize("each_action", self.names("actions") or [NONE])
        if "each_source" in metafunc.fixturenames:
            metafunc.parametrize("each_source", self.names("sources") or [NONE])
        hazards = HAZARDS
        if "each_approval" in metafunc.fixturenames:
            names = self._approvals()
            metafunc.parametrize("each_approval", names or [NONE])
            hazards = HAZARDS if names else HAZARDS[:1]
        if "hazard" in metafunc.fixturenames:
            metafunc.parametrize("hazard", hazards, ids=[_named(fault) for fault in hazards])

    def _approvals(self) -> list[str]:
        actions = catalog.spec(self.name, self.settings(PRETENDED)).actions
        return sorted(name for name, action in actions.items() if action.approval)

    def text_action(self, bench: Bench) -> Action:
        """
        Return the action that takes a text.
        """
        return bench.connector.actions[self.action]

    async def write(self, bench: Bench, record: str, text: str = "hello", key: str = KEY) -> Written:
        """
        Write *text* in the default mode.
        """
        action = self.text_action(bench)
        return await action.write(record, {"text": text}, action.modes[0], bench.call(key))

    @contextlib.asynccontextmanager
    async def collecting(self, bench: Bench) -> AsyncIterator[list[Delivery]]:
        """
        Yield the list that fills with what the double delivers over HTTP.
        """
        got: list[Delivery] = []
        async with listening(Receiver(got, bench.clock)) as url:
            bench.double.hooks.subscribe(f"{url}/in/test", self.environment["HOOK"])
            yield got
            bench.double.hooks.unsubscribe(f"{url}/in/test")

    async def told(self, bench: Bench, change: Callable[[], Awaitable[Any]]) -> list[Event]:
        """
        Return the events the system gives us of *change*: delivered, or else read from every source.
        """
        if "deliveries" in self.lacks:
            return await self.read_after(bench, change)
        async with self.collecting(bench) as deliveries:
            await change()
            await bench.double.hooks.settled()
            return [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

    async def read_after(self, bench: Bench, change: Callable[[], Awaitable[Any]]) -> list[Event]:
        """
        Return the events that the sources give of *change*.
        """
        sources = bench.connector.sources
        cursors = {name: (await read_on(source, None, bench))[1] for name, source in sources.items()}
        await change()
        return [event for name, source in sources.items() for event in (await read_on(source, cursors[name], bench))[0]]


def _named(fault: Mapping[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())
