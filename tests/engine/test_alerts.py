"""
Budget alerts on their way: logged and counted once, posted until they arrive, shown to Prometheus.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from aiohttp import web

from engine.alerts import Alerts, Webhook
from engine.dispatch import Dispatch
from engine.gates import Gates
from engine.metrics import Metrics
from ledger.contract import Cap
from ledger.pacing import Quota
from penstock import signing
from penstock.http import NotSent, Response, SentNoAnswer
from penstock.http_aiohttp import AiohttpHttp
from pipelines.spending import period_of
from schemas.entries import ModelCall

UTC = ZoneInfo("UTC")


class Receiver:
    """
    What takes alerts: answers as a test says, then 204.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []

    async def send(self, request: Any, **_how: Any) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return Response(status=answer)

    async def close(self) -> None:
        pass


def cap(world: Any, **more: Any) -> Cap:
    day = period_of(world.clock.now_ms(), "day", UTC)[0]
    return Cap(**({"scope": "budget:all", "period": day, "limit": 1_000_000, "alert_at": (0.5,)} | more))


async def spend(world: Any, ticket: Any, number: str, booked: int, under: Cap) -> None:
    claim = await world.ledger.claim(world.runner().offer(ticket(number, subject=number)))
    usual = {"run": claim.run, "step": "ask", "model": "small", "provider": "x", "request_model": "x"}
    begun = world.ledger.step(claim, "ask", kind="ask", action_class="ai", timeout=5)
    async with begun as step, step.call(amount=booked, caps=[under]) as slot:
        await slot.settle(ModelCall(call=slot.call, cost=booked, at=world.clock.now_ms(), **usual))


def sending(world: Any, receiver: Any, *, secrets: Any = ("s",)) -> tuple[Dispatch, Metrics]:
    metrics = Metrics(world.ledger, world.clock, UTC)
    webhook = Webhook(url="https://alerts.example/in", secrets=lambda: secrets, http=receiver) if receiver else None
    return Dispatch(world.ledger, world.clock, {"alert": Alerts(world.clock, webhook).send}), metrics


async def test_an_alert_is_posted_until_it_arrives_under_one_id(world: Any, ticket: Any, caplog: Any) -> None:
    """
    Whatever stops it, it comes again later, signed anew under the same id; the log and the counter say it once.
    """
    receiver = Receiver(NotSent("no"), SentNoAnswer("no", timeout=True), 500, 302)
    dispatch, metrics = sending(world, receiver)
    await spend(world, ticket, "1", 500_000, cap(world))
    with caplog.at_level(logging.WARNING, "engine.alerts"):
        arrived = []
        for _ in range(6):
            arrived.append(await dispatch.look())
            world.clock.ahead += 60
    ids = {request.headers["webhook-id"] for request in receiver.requests}
    times = {request.headers["webhook-timestamp"] for request in receiver.requests}

    assert (arrived, len(receiver.requests), len(ids), len(times)) == ([0, 0, 0, 0, 1, 0], 5, 1, 5)
    assert [record.message for record in caplog.records].count(
        f"budget alert: budget:all has reached 50% for {cap(world).period}: 0.5 USD spent of 1 USD"
    ) == 1
    assert b'penstock_budget_alerts_total{scope="budget:all",threshold="50%"} 1.0' in await metrics.text()


async def test_what_is_posted(world: Any, ticket: Any) -> None:
    """
    The body names scope, period, threshold and money, and its signature is that of the secret.
    """
    receiver = Receiver()
    dispatch, _ = sending(world, receiver, secrets=["new", "old"])
    under = cap(world)
    await spend(world, ticket, "1", 500_000, under)
    await dispatch.look()
    (request,) = receiver.requests
    body, at = request.content, int(request.headers["webhook-timestamp"])
    wanted = signing.headers(message=request.headers["webhook-id"], at=at, body=body, secrets=["new", "old"])
    found = orjson.loads(body)

    assert found["type"] == "budget.alert"
    assert {name: found["data"][name] for name in ("scope", "period", "threshold", "spent", "limit")} == {
        "scope": "budget:all",
        "period": under.period,
        "threshold": "50%",
        "spent": 500_000,
        "limit": 1_000_000,
    }
    assert request.headers["webhook-signature"] == wanted["webhook-signature"]


async def test_a_refused_credential_is_posted_once_until_it_works(world: Any, caplog: Any) -> None:
    """
    A gate that shuts because we are refused is told with its reason, an outage is not; one that shuts again is new.
    """
    receiver = Receiver(500)
    alerts = Alerts(world.clock, Webhook(url="https://alerts.example/in", secrets=lambda: ["s"], http=receiver))
    dispatch = Dispatch(world.ledger, world.clock, {"refused": alerts.refused})
    gates = Gates(world.ledger, world.clock)
    await gates.shut("connection:mail", "503")
    for _ in range(3):
        await gates.shut("connection:desk", "GET /me: 401", auth=True)
        world.clock.ahead += 60
    arrived = [await dispatch.look()]
    world.clock.ahead += 60
    arrived += [await dispatch.look(), await dispatch.look()]
    first, again = receiver.requests
    found = orjson.loads(again.content)
    await gates.worked("connection:desk")
    world.clock.ahead += 60
    await gates.shut("connection:desk", "GET /me: 401", auth=True)

    assert (arrived, await dispatch.look()) == ([0, 1, 0], 1)
    assert first.headers["webhook-id"] == again.headers["webhook-id"] != receiver.requests[2].headers["webhook-id"]
    assert found["type"] == "gate.refused"
    assert found["data"] == {
        "gate": "connection:desk",
        "reason": "GET /me: 401",
        "text": "gate connection:desk is shut until somebody sees to it: GET /me: 401",
    }
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["gate connection:desk shut: GET /me: 401"] * 2


async def test_without_a_webhook_alerts_are_logged(world: Any, ticket: Any) -> None:
    """
    Nothing stays in the outbox of a hub that asked for no webhook.
    """
    dispatch, _ = sending(world, None)
    await spend(world, ticket, "1", 1_000_000, cap(world))

    assert (await dispatch.look(), await dispatch.look()) == (2, 0)


async def test_alerts_do_not_go_into_our_own_network(world: Any, ticket: Any) -> None:
    """
    An address that turns out to be this machine is not sent anything, unless it is allowed.
    """
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers["webhook-id"])
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/in", take)
    server = web.AppRunner(app)
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{server.addresses[0][1]}/in"
    await spend(world, ticket, "1", 500_000, cap(world))
    arrived = []
    for allowed in (False, True):
        http = AiohttpHttp(allow_private=allowed)
        webhook = Webhook(url=url, secrets=lambda: ["s"], http=http)
        alerts = Alerts(world.clock, webhook)
        arrived.append(await Dispatch(world.ledger, world.clock, {"alert": alerts.send}).look())
        await http.close()
        world.clock.ahead += 60
    await server.cleanup()

    assert (arrived, len(seen)) == ([0, 1], 1)


async def test_metrics_show_the_money_of_the_present_period(world: Any, ticket: Any) -> None:
    """
    Spent, reserved and limit of today, in USD; a day later they are gone; single users are not shown.
    """
    _, metrics = sending(world, None)
    await spend(world, ticket, "1", 250_000, cap(world))
    await spend(world, ticket, "2", 250_000, cap(world, scope="budget:each/user=7"))
    today = await metrics.text()
    world.clock.ahead += 86_400
    tomorrow = await metrics.text()

    assert b'penstock_budget_spent_usd{period="day",scope="budget:all"} 0.25' in today
    assert b'penstock_budget_limit_usd{period="day",scope="budget:all"} 1.0' in today
    assert b"user=7" not in today
    assert b"budget:all" not in tomorrow


async def test_metrics_show_the_paces_of_models(world: Any) -> None:
    """
    What is sent a minute, less after a model asked to slow down, and for how long it is left alone.
    """
    _, metrics = sending(world, None)
    name = "openai/small@1"
    await world.ledger.set_pace(name, Quota(requests=600, tokens=90_000), told=True)
    world.clock.ahead += 2
    await world.ledger.slow_down(name, until=world.clock.now_ms() + 30_000)
    text = (await metrics.text()).decode()

    assert f'penstock_pace_requests_per_minute{{pace="{name}"}} 480.0' in text
    assert f'penstock_pace_tokens_per_minute{{pace="{name}"}} 72000.0' in text
    assert f'penstock_pace_input_tokens_per_minute{{pace="{name}"}}' not in text
    (paused,) = re.findall(rf'penstock_pace_paused_seconds{{pace="{name}"}} ([0-9.]+)', text)
    assert 25 < float(paused) <= 30


async def test_every_process_counts_the_alerts_of_all(world: Any, ticket: Any) -> None:
    """
    Each alert counts once, whoever sends it and however often it is asked; one that replaces another goes on.
    """
    world.clock.ahead += (43_200 - world.clock.now_ms() / 1000) % 86_400  # at noon: all of it is one day's budget
    before = Metrics(world.ledger, world.clock, UTC)
    began = world.clock.now_ms()
    await spend(world, ticket, "1", 500_000, cap(world))
    await spend(world, ticket, "2", 900_000, cap(world, scope="budget:each/user=7"))
    await spend(world, ticket, "3", 900_000, cap(world, scope="budget:each/user=8"))
    first = await asyncio.gather(before.text(), before.text())
    world.clock.ahead += 3600
    await spend(world, ticket, "4", 400_000, cap(world))
    after = Metrics(world.ledger, world.clock, UTC)
    nothing = await after.text()
    after.count_from(began)

    for text, count in [*((text, 1) for text in first), (await before.text(), 1), (await after.text(), 1)]:
        assert f'penstock_budget_alerts_total{{scope="budget:all",threshold="50%"}} {count}.0'.encode() in text
        assert b'penstock_budget_alerts_total{scope="budget:each",threshold="50%"} 2.0' in text
    assert b'penstock_budget_alerts_total{scope="budget:all",threshold="100%"} 1.0' in await before.text()
    assert b'penstock_budget_alerts_total{scope="budget:all",threshold="100%"} 1.0' in await after.text()
    assert b'threshold="50%"' not in nothing


async def test_metrics_are_served(world: Any) -> None:
    """
    `/metrics` answers in Prometheus' own format.
    """
    import httpx

    from engine import Ingress

    ingress = Ingress(
        {},
        bus=None,
        clock=world.clock,
        topic=str,
        metrics=Metrics(world.ledger, world.clock, UTC),  # type: ignore[arg-type]
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ingress.asgi), base_url="http://hub") as client:
        answer = await client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE penstock_budget_spent_usd gauge" in answer.text


@pytest.mark.parametrize("threshold", ["50%", "100%", "overrun"])
def test_every_alert_is_a_sentence(threshold: str) -> None:
    """
    People read which budget, which period and how much.
    """
    from engine.alerts import in_words

    alert = {"scope": "budget:all", "period": "2026-11", "threshold": threshold, "spent": 5, "limit": 10}
    said = in_words(alert)

    assert all(word in said for word in ("budget:all", "2026-11", "0.000005 USD spent of 0.00001 USD"))
