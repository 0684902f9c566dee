"""
What `penstock doctor` looks at outside this machine. Only reads.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import httpx

from ai import ModelSpec
from ai.providers import adapter
from ai.providers.contract import Question
from connectors import catalog, open_call
from console.cli.exam import Finding
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.http import Http, NotSent, SentNoAnswer
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret, Secrets
from pipelines.models import model_specs
from schemas.entries import Prompt

if TYPE_CHECKING:
    from pipelines.declaration import Connection, Declaration

WITHIN = 8.0  # seconds per look
_ASKS = ("/chat/completions", "/messages")


async def outside(declaration: Declaration, *, offline: bool) -> list[Finding]:
    """
    Look at every secret, connection and model at once; raises `Invalid` for a model that cannot be one.
    """
    specs = model_specs(declaration)
    secrets = Secrets()
    http = AiohttpHttp()
    try:
        looks: list[Awaitable[Finding]] = [
            _connection(name, connection, secrets, http, offline=offline)
            for name, connection in declaration.connections.items()
        ]
        looks += [_model(spec, secrets, http, offline=offline) for spec in specs.values()]
        return list(await asyncio.gather(*looks))
    finally:
        await http.close()


async def _connection(name: str, connection: Connection, secrets: Secrets, http: Http, *, offline: bool) -> Finding:
    what, clock = f"connection {name}", SystemClock()
    try:
        connector = catalog.open(connection.connector, connection.settings, secrets=secrets, http=http, clock=clock)
        if offline:
            return Finding(
                what=what, state="note", says=f"{connection.connector}: secrets are set; not asked (--offline)"
            )
        key = hashlib.sha256(f"doctor:{name}".encode()).hexdigest()
        health = await connector.health(open_call(connector, http, key=key, slot="", timeout=WITHIN, clock=clock))
    except MissingSecret as error:
        return Finding(what=what, state="bad", says=str(error))
    except PenstockError as error:
        return Finding(what=what, state="down", says=str(error), next="look at the connection's settings")
    says = f"{connection.connector}: {health.detail}" + (f", acts as {health.acts_as}" if health.acts_as else "")
    match health.state:
        case "ok":
            return Finding(what=what, state="ok", says=says)
        case "degraded":
            return Finding(what=what, state="note", says=says)
        case "auth":
            return Finding(what=what, state="down", says=says, next="the credential is refused: make a new one")
    return Finding(what=what, state="down", says=says, next="look at its address, and at the system itself")


async def _model(spec: ModelSpec, secrets: Secrets, http: Http, *, offline: bool) -> Finding:
    what = f"model {spec.name}"
    if spec.provider == "offline":
        return Finding(what=what, state="ok", says=f"{spec.label}: in this process, costs nothing")
    try:
        key = secrets.get(spec.key).reveal() if spec.key else None
    except MissingSecret as error:
        return Finding(what=what, state="bad", says=str(error))
    if offline:
        return Finding(what=what, state="note", says=f"{spec.label}: the key is set; not asked (--offline)")
    try:
        response = await http.send(_list_models(spec, key), timeout=WITHIN)
    except (NotSent, SentNoAnswer) as error:
        return Finding(
            what=what, state="down", says=f"{spec.label}: {error}", next="look at models.url and the network"
        )
    if response.status in (401, 403):
        return Finding(
            what=what, state="down", says=f"{spec.label}: the key is refused ({response.status})", next="make a new key"
        )
    if response.status >= 500 or response.status == 429:
        return Finding(what=what, state="down", says=f"{spec.label}: answered {response.status}")
    return Finding(what=what, state="ok", says=f"{spec.label}: answered in {response.seconds * 1000:.0f} ms")


def _list_models(spec: ModelSpec, key: str | None) -> httpx.Request:
    """
    Return the cheapest authenticated request: the list of models, with the headers of a real question.
    """
    nothing = Prompt(system="", user="", tokens=0)
    question = Question(spec=spec, prompt=nothing, schema_name="nothing", schema={"type": "object"}, room=1)
    asked = adapter(spec.provider).request(question, key)
    path = asked.url.path
    for end in _ASKS:
        path = path.removesuffix(end)
    headers = {name: value for name, value in asked.headers.items() if name not in ("content-length", "content-type")}
    return httpx.Request("GET", asked.url.copy_with(path=f"{path}/models"), headers=headers)
