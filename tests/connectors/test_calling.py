"""
What a call makes of everything that can happen to a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from connectors import open_call
from connectors.budget import UNLIMITED, Budget, BudgetRule
from connectors.contract import Call
from connectors.edge import REFUSED, Edge
from penstock.clock import ManualClock
from penstock.errors import AuthFailed, Crowded, Fenced, Rejected, Unavailable, UnknownOutcome
from penstock.http import NotSent, Request, Response, SentNoAnswer


class ScriptedHttp:
    """
    An `Http` that answers, or raises, what it was told.
    """

    def __init__(self, *script: Response | Exception) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.timeouts: list[float] = []

    async def send(
        self, request: Request, *, timeout: float, fence: Callable[[], None] | None = None, max_body: int = 0
    ) -> Response:
        if fence is not None:
            fence()
        self.requests.append(request)
        self.timeouts.append(timeout)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


class Edged:
    """
    As much of a connector as a call needs.
    """

    def __init__(self, clock: ManualClock, live: tuple[str, ...] = ("hush-hush",), later: str = "") -> None:
        self.live = live
        self.later = later
        """What a look at the store finds before *live*."""
        self.renewed = 0
        self.edge = Edge(
            "https://api.example",
            headers=lambda: [{"authorization": f"Bearer {secret}"} for secret in self.live],
            secrets=lambda: list(self.live),
            renew=self.renew,
            rules=(),
            budget=Budget(UNLIMITED, clock),
            clock=clock,
        )

    async def renew(self) -> None:
        self.renewed += 1
        self.live = tuple(dict.fromkeys([secret for secret in (self.later, *self.live) if secret]))


def call(http: ScriptedHttp, clock: ManualClock, fence: Callable[[], None] | None = None) -> Call:
    connector: Any = Edged(clock)
    return open_call(connector, http, key="k", slot="s", timeout=10.0, fence=fence, clock=clock)


def shut() -> None:
    raise Fenced("lane lost")


@pytest.mark.parametrize(
    ("raised", "read", "write"),
    [
        (NotSent("refused"), Unavailable, Unavailable),
        (SentNoAnswer("reset"), Unavailable, UnknownOutcome),
        (SentNoAnswer("slow", timeout=True), Unavailable, UnknownOutcome),
    ],
)
async def test_no_answer(raised: Exception, read: type[Exception], write: type[Exception]) -> None:
    """A lost answer of a write is `UnknownOutcome`; everything else without an answer is `Unavailable`."""
    for error, writes in ((read, False), (write, True)):
        http = ScriptedHttp(raised)
        with pytest.raises(error):
            await call(http, ManualClock()).send("PUT", "/x", write=writes, json={})

        assert 1 == len(http.requests)


async def test_what_is_sent() -> None:
    """The address, the credential and the time left go with the request; arguments as given."""
    clock = ManualClock()
    http = ScriptedHttp(Response(status=204), Response(status=200, body=b"[]"))
    made = call(http, clock)
    await made.send("POST", "/a", params={"q": "ü&"}, headers={"x-key": "1"}, json={"text": "😀"}, write=True)
    await clock.advance(4.0)
    await made.send("GET", "https://api.example/next?page=2")
    first, second = http.requests

    assert "https://api.example/a?q=%C3%BC%26" == str(first.url)
    assert {"authorization": "Bearer hush-hush", "x-key": "1"}.items() <= dict(first.headers).items()
    assert '{"text":"😀"}'.encode() == first.content
    assert "https://api.example/next?page=2" == str(second.url)
    assert [10.0, 6.0] == http.timeouts


async def test_waiting_for_a_turn_leaves_time_for_the_request() -> None:
    """Half of the time may go by in our own line; then the call is `Crowded`, and nothing was sent."""
    clock, http = ManualClock(), ScriptedHttp(Response(status=204))
    connector: Any = Edged(clock)
    connector.edge.budget = Budget(BudgetRule(name="slow", requests=1, per=6.0), clock)
    made = open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock)
    await made.send("PUT", "/a", json={}, write=True)
    with pytest.raises(Crowded) as raised:
        await made.send("PUT", "/b", json={}, write=True)

    assert 6.0 == raised.value.retry_after
    assert 1 == len(http.requests)


async def test_nothing_is_sent_after_the_deadline() -> None:
    """After the deadline the call is `Unavailable` and nothing leaves."""
    clock, http = ManualClock(), ScriptedHttp()
    made = call(http, clock)
    await clock.advance(11.0)
    with pytest.raises(Unavailable):
        await made.send("GET", "/x")

    assert not http.requests


async def test_a_lost_lane_sends_nothing() -> None:
    """A fence that is shut ends the call with nothing sent."""
    http = ScriptedHttp()
    with pytest.raises(Fenced):
        await call(http, ManualClock(), shut).send("POST", "/x", write=True)

    assert not http.requests


async def test_a_lane_lost_on_the_way_is_fenced_too() -> None:
    """The fence is asked again when the connection is in hand."""
    asked = []

    def second_time() -> None:
        asked.append(1)
        if len(asked) == 2:
            shut()

    http = ScriptedHttp()
    with pytest.raises(Fenced):
        await call(http, ManualClock(), second_time).send("POST", "/x", write=True)

    assert not http.requests


async def test_the_credential_never_leaves_for_another_host() -> None:
    """A link to another host is refused before anything is sent."""
    http = ScriptedHttp()
    with pytest.raises(Rejected):
        await call(http, ManualClock()).send("GET", "https://evil.example/")

    assert not http.requests


async def test_echoed_secrets_are_taken_out() -> None:
    """A system that echoes our credential does not put it into our errors."""
    http = ScriptedHttp(Response(status=400, body=b'{"you sent": "Bearer hush-hush"}'))
    with pytest.raises(Rejected) as raised:
        await call(http, ManualClock()).send("GET", "/x")

    assert "hush-hush" not in str(raised.value)
    assert "you sent" in str(raised.value)


async def test_a_connector_without_http() -> None:
    """A connector without an edge gets a call that says so."""
    connector: Any = object()
    made = open_call(connector, ScriptedHttp(), key="k", slot="s", timeout=1.0, clock=ManualClock())
    with pytest.raises(Rejected, match="does not speak HTTP"):
        await made.send("GET", "/x")


class Locked(ScriptedHttp):
    """
    A system that opens to some credentials only.
    """

    def __init__(self, *good: str) -> None:
        super().__init__()
        self.good = good

    @property
    def asked(self) -> list[str]:
        return [request.headers["authorization"].removeprefix("Bearer ") for request in self.requests]

    async def send(self, request: Request, **rest: Any) -> Response:
        opens = request.headers["authorization"].removeprefix("Bearer ") in self.good
        self.script.append(Response(status=200, body=b"[]") if opens else Response(status=401))
        return await super().send(request, **rest)


@pytest.mark.parametrize(
    ("live", "later", "good", "asked"),
    [
        (("one",), "", ("one",), ["one"]),  # nothing is read anew without need
        (("one",), "two", ("two",), ["one", "two"]),  # rotated, and the old one is shut already
        (("two", "one"), "", ("one",), ["two", "one"]),  # the system does not know the new one yet
        (("one", "zero"), "two", ("zero",), ["one", "two", "zero"]),  # neither the newest nor the one before it
        (("one",), "", (), ["one"]),  # nothing else to try
        (("one",), "two", (), ["one", "two"]),
        (("one", "zero", "less"), "two", ("less",), ["one", "two", "zero"]),  # three at most
    ],
)
@pytest.mark.parametrize("write", [False, True])
async def test_a_refused_credential(
    live: tuple[str, ...], later: str, good: tuple[str, ...], asked: list[str], write: bool
) -> None:
    """After a 401 the secret is read anew, once, and the request repeated with what was not tried: a write as well."""
    clock, http = ManualClock(), Locked(*good)
    connector: Any = Edged(clock, live, later)
    made = open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock)
    if set(good) & set(asked):
        assert 200 == (await made.send("PUT", "/x", json={"a": 1}, write=write)).status
    else:
        with pytest.raises(AuthFailed):
            await made.send("PUT", "/x", json={"a": 1}, write=write)

    assert asked == http.asked
    assert {b'{"a":1}'} == {request.content for request in http.requests}
    assert (len(asked) > 1 or not good) == bool(connector.renewed)
    assert connector.renewed <= 1


async def test_a_refused_credential_comes_last_for_a_while() -> None:
    """The next calls begin with what works, and after a minute with the newest again: systems shut out who errs often."""
    clock, http = ManualClock(), Locked("one")
    connector: Any = Edged(clock, ("two", "one"))
    for _ in range(3):
        await open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock).send("GET", "/x")
    await clock.advance(REFUSED + 1)
    http.good = ("two",)
    await open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock).send("GET", "/x")

    assert ["two", "one", "one", "one", "two"] == http.asked
    assert 1 == connector.renewed


async def test_a_forbidden_request_is_not_repeated() -> None:
    """Only a 401 says that the credential itself is refused; a 403 is of what was asked for, and shuts no gate."""
    clock, http = ManualClock(), ScriptedHttp(Response(status=403))
    connector: Any = Edged(clock, ("two", "one"))
    with pytest.raises(Rejected):
        await open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock).send("GET", "/x")

    assert (1, 0) == (len(http.requests), connector.renewed)


async def test_a_store_that_hangs_does_not_hold_a_call_up() -> None:
    """The look at the store has half of the time that is left; then the one before is tried."""
    clock, http = ManualClock(), Locked("one")
    connector: Any = Edged(clock, ("two", "one"))

    async def hang() -> None:
        await asyncio.Event().wait()

    connector.edge._renew = hang
    await open_call(connector, http, key="k", slot="s", timeout=0.2, clock=clock).send("GET", "/x")

    assert ["two", "one"] == http.asked


async def test_a_lane_lost_after_a_refusal_is_fenced() -> None:
    """The second request asks the fence as the first did."""
    clock, http = ManualClock(), Locked("one")
    connector: Any = Edged(clock, ("two", "one"))
    fenced = [lambda: None, lambda: None, shut]

    def fence() -> None:
        fenced.pop(0)()

    with pytest.raises(Fenced):
        await open_call(connector, http, key="k", slot="s", timeout=9.0, fence=fence, clock=clock).send("PUT", "/x")

    assert ["two"] == http.asked


async def test_no_turn_for_another_try_is_a_refusal() -> None:
    """When our own limit allows no second request, the first one's answer stands, and the next call begins otherwise."""
    clock, http = ManualClock(), Locked("one")
    connector: Any = Edged(clock, ("two", "one"))
    connector.edge.budget = Budget(BudgetRule(name="slow", requests=1, per=60.0), clock)
    made = open_call(connector, http, key="k", slot="s", timeout=10.0, clock=clock)
    with pytest.raises(AuthFailed):
        await made.send("PUT", "/x", json={}, write=True)

    assert ["two"] == http.asked
    assert [{"authorization": "Bearer one"}, {"authorization": "Bearer two"}] == connector.edge.headers()
