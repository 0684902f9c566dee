"""
What a delivery costs until it is acknowledged: our ingress against a bare Starlette endpoint that checks the same HMAC.

Both servers run side by side in processes of their own. Rounds take turns: as many clients as `--clients` deliver signed
webhooks as fast as each is answered, first to one, then to the other. Ours verifies, translates, and has the event
durably on its bus before it answers; the bare one answers at once. Times are of the clock, p99 of each round, and the
ratio is that of the same round. Run it with `python -m benchmarks.ingress`; `--json` for machines.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import bus as bus_room
from connectors import catalog
from connectors.contract import Connector
from engine.ingress import Ingress
from penstock.clock import SystemClock
from penstock.secrets import Secrets

AIM = 2.0
SECRET = "of-a-benchmark"
SAMPLE = Path(catalog.folder("zendesk")) / "samples" / "ticket_created.json"
TOPIC = "penstock.events.desk"


def main() -> int:
    """
    Measure and print the ratio of the p99s; 1 when it is above the aim.
    """
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--clients", type=int, default=8)
    arguments.add_argument("--deliveries", type=int, default=1_500, help="of each round")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--serve", choices=("bare", "ours"), help=argparse.SUPPRESS)
    arguments.add_argument("--state", help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.serve:
        asyncio.run(_serve(chosen.serve, chosen.state))
        return 0
    rounds = asyncio.run(_measured(chosen.clients, chosen.deliveries, chosen.rounds))
    ratio = statistics.median(ours / bare for bare, ours in rounds)
    found = {
        "p99_ratio": round(ratio, 2),
        "aim": AIM,
        "p99_ms": {
            "bare": round(statistics.median(bare for bare, _ in rounds) * 1000, 2),
            "ours": round(statistics.median(ours for _, ours in rounds) * 1000, 2),
        },
        "clients": chosen.clients,
        "rounds": len(rounds),
    }
    if chosen.json:
        print(json.dumps(found))
    else:
        print(f"p99 until acknowledged: {ratio:.2f} times a bare endpoint (aim {AIM:g}); {found['p99_ms']} ms")
    return 0 if ratio <= AIM else 1


# ---- the servers -----------------------------------------------------------------------------------


async def _serve(which: str, state: str) -> None:
    async with _bare() if which == "bare" else _ours(Path(state)) as app:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off")
        socket = config.bind_socket()
        print("http://{}:{}".format(*socket.getsockname()[:2]), flush=True)
        await uvicorn.Server(config).serve([socket])


@contextlib.asynccontextmanager
async def _bare() -> AsyncIterator[Starlette]:
    async def receive(request: Request) -> Response:
        body = await request.body()
        stamp = request.headers["x-zendesk-webhook-signature-timestamp"]
        digest = hmac.new(SECRET.encode(), stamp.encode() + body, hashlib.sha256).digest()
        given = request.headers["x-zendesk-webhook-signature"]
        if not hmac.compare_digest(base64.b64encode(digest).decode(), given):
            return Response(status_code=401)
        return JSONResponse({"events": [orjson.loads(body)["id"]]}, 202)

    yield Starlette(routes=[Route("/in/desk", receive, methods=["POST"])])


@contextlib.asynccontextmanager
async def _ours(state: Path) -> AsyncIterator[Starlette]:
    clock = SystemClock()
    words = {"subdomain": "acme", "email": "a@b.example", "api_token": "${env:S}", "webhook_secret": "${env:S}"}
    nobody: object = None  # nothing is sent
    desk: Connector = catalog.open(
        "zendesk",
        words,
        secrets=Secrets({"S": SECRET}),
        http=nobody,  # type: ignore[arg-type]  # as it says
        clock=clock,
    )
    bus = bus_room.open(state / "bus.db", partitions=12, keep=3600.0, clock=clock)
    await bus.ensure_topic(TOPIC, 12)
    try:
        yield Ingress({"desk": desk}, bus=bus, clock=clock, topic=lambda name: f"penstock.events.{name}").asgi
    finally:
        await bus.close()


# ---- the clients -----------------------------------------------------------------------------------


async def _measured(clients: int, deliveries: int, rounds: int) -> list[tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        urls = [stack.enter_context(_running(which, folder)) for which in ("bare", "ours")]
        async with aiohttp.ClientSession() as session:
            for url in urls:
                await _round(session, url, clients, deliveries // 3)  # warm
            found = []
            for number in range(rounds):
                order = urls if number % 2 else urls[::-1]
                times = {url: await _round(session, url, clients, deliveries) for url in order}
                found.append((times[urls[0]], times[urls[1]]))
            return found


@contextlib.contextmanager
def _running(which: str, folder: str) -> Iterator[str]:
    words = [sys.executable, "-m", "benchmarks.ingress", "--serve", which, "--state", folder]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def _round(session: aiohttp.ClientSession, url: str, clients: int, deliveries: int) -> float:
    """
    Return the p99 in seconds of so many deliveries.
    """
    sample = orjson.loads(SAMPLE.read_bytes())
    base = time.time_ns()
    numbers = iter(range(deliveries))
    took: list[float] = []

    async def client() -> None:
        for number in numbers:
            sample["detail"]["id"] = str(base + number)
            sample["id"] = str(base + number)
            body = orjson.dumps(sample)
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            digest = hmac.new(SECRET.encode(), stamp.encode() + body, hashlib.sha256).digest()
            headers = {
                "content-type": "application/json",
                "x-zendesk-webhook-signature": base64.b64encode(digest).decode(),
                "x-zendesk-webhook-signature-timestamp": stamp,
            }
            begun = time.perf_counter()
            async with session.post(f"{url}/in/desk", data=body, headers=headers) as response:
                await response.read()
                assert response.status == 202, response.status
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(clients)))
    return statistics.quantiles(took, n=100)[98]


if __name__ == "__main__":
    sys.exit(main())
