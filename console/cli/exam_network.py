"""
What `penstock doctor` looks at outside this machine. Only reads.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ai import AIError, ModelSpec
from ai.keyring import Keyring
from ai.providers import adapter
from connectors import catalog, open_call
from console.cli import exam_secrets
from console.cli.exam import Finding
from console.references import of_connection, references
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.http import Http, NotSent, Response, SentNoAnswer
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret, SecretAway, Secrets
from pipelines.models import model_specs

if TYPE_CHECKING:
    from pipelines.declaration import Connection, Declaration

WITHIN = 8.0  # seconds per look


async def outside(declaration: Declaration, *, offline: bool) -> list[Finding]:
    """
    Look at every secret, connection and model at once; raises `Invalid` for a model that cannot be one.
    """
    specs = model_specs(declaration)
    secrets = Secrets()
    http = AiohttpHttp()
    keyring = Keyring(secrets, http)
    try:
        found = await exam_secrets.each(references(declaration), secrets, http, offline=offline)
        looks: list[Awaitable[Finding]] = [
            _connection(name, connection, secrets, http, offline=offline, stored=_stored(declaration, name))
            for name, connection in declaration.connections.items()
        ]
        looks += [_model(spec, keyring, http, offline=offline) for spec in specs.values()]
        return [*found, *await asyncio.gather(*looks)]
    finally:
        await http.close()


def _stored(declaration: Declaration, name: str) -> bool:
    """
    Say whether a store keeps a secret of the connection.
    """
    return any(refs.newest.remote for refs in of_connection(declaration, name))


async def _connection(
    name: str, connection: Connection, secrets: Secrets, http: Http, *, offline: bool, stored: bool
) -> Finding:
    what, clock = f"connection {name}", SystemClock()
    if offline and stored:
        return Finding(what=what, state="note", says=f"{connection.connector}: not asked (--offline)")
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
    except SecretAway as error:
        return Finding(what=what, state="down", says=str(error))
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


async def _model(spec: ModelSpec, keyring: Keyring, http: Http, *, offline: bool) -> Finding:
    what = f"model {spec.name}"
    if spec.provider == "offline":
        return Finding(what=what, state="ok", says=f"{spec.label}: in this process, costs nothing")
    if offline and spec.key and spec.key.newest.remote:
        return Finding(what=what, state="note", says=f"{spec.label}: not asked (--offline)")
    try:
        if offline:
            says = "the key is set" if keyring.has(spec) else "signs in as this machine"
            return Finding(what=what, state="note", says=f"{spec.label}: {says}; not asked (--offline)")
        keys = await keyring.of(spec)
        response = await http.send(adapter(spec.provider).probe(spec, next(iter(keys), None)), timeout=WITHIN)
    except MissingSecret as error:
        return Finding(what=what, state="bad", says=str(error))
    except SecretAway as error:
        return Finding(what=what, state="down", says=str(error))
    except AIError as error:
        next_step = "look at the network" if error.error_class == "connection" else "look at who this machine is"
        return Finding(what=what, state="down", says=f"{spec.label}: {error}", next=next_step)
    except (NotSent, SentNoAnswer) as error:
        return Finding(
            what=what, state="down", says=f"{spec.label}: {error}", next="look at models.url and the network"
        )
    return _answered(what, spec, response)


def _answered(what: str, spec: ModelSpec, response: Response) -> Finding:
    error = adapter(spec.provider).classify(response)
    if error is not None and error.error_class == "auth":
        refused, next_step = ("the key", "make a new key") if spec.key else ("this machine", "give it a role there")
        says = f"{spec.label}: {refused} is refused ({response.status})"
        return Finding(what=what, state="down", says=says, next=next_step)
    if response.status >= 500 or response.status == 429:
        return Finding(what=what, state="down", says=f"{spec.label}: answered {response.status}")
    return Finding(what=what, state="ok", says=f"{spec.label}: answered in {response.seconds * 1000:.0f} ms")
