"""
Our Vault client against a real Vault or OpenBao: `make vault VAULT=/path/to/vault` (or `bao`).

Neither server comes from a package registry, so this is run by hand; the tests use the double beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import hvac

from console.testing import free_port
from penstock.clock import SystemClock
from penstock.errors import PenstockError
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import Redactor
from penstock.secrets import SecretRefs, Secrets

ROOT = "root-of-a-server-that-is-gone-in-a-moment"
REF = SecretRefs.parse("${vault:kv/teams/crm#token}")
POLICY = 'path "kv/data/teams/*" { capabilities = ["read"] }'


class Hurrying(SystemClock):
    """
    A clock on which a minute passes whenever somebody asks for it: stores are left alone for some seconds.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@contextlib.contextmanager
def serving(binary: str) -> Iterator[tuple[hvac.Client, str]]:
    """
    Start *binary* in memory on a free port; give a client with all rights, and its address.
    """
    port = free_port()
    command = [binary, "server", "-dev", f"-dev-root-token-id={ROOT}", f"-dev-listen-address=127.0.0.1:{port}"]
    address = f"http://127.0.0.1:{port}"
    home = tempfile.TemporaryDirectory()  # it leaves its token in its home
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"HOME": home.name}
    )
    client = hvac.Client(address, token=ROOT)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                if client.sys.is_initialized():
                    break
            assert process.poll() is None and time.monotonic() < until, f"{binary} does not answer"
            time.sleep(0.2)
        yield client, address
    finally:
        process.kill()
        process.wait()
        home.cleanup()


def prepare(client: hvac.Client) -> dict[str, str]:
    """
    Make a KV engine and a role that may read a part of it; return what its holder has in the environment.
    """
    client.sys.enable_secrets_engine("kv", path="kv", options={"version": "2"})
    client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy("teams", POLICY)
    client.auth.approle.create_or_update_approle("hub", token_policies=["teams"], token_ttl="1h")
    put(client, "first-secret")
    return {
        "VAULT_ROLE_ID": client.auth.approle.read_role_id("hub")["data"]["role_id"],
        "VAULT_SECRET_ID": client.auth.approle.generate_secret_id("hub")["data"]["secret_id"],
    }


def put(client: hvac.Client, value: str, path: str = "teams/crm") -> None:
    """
    Write a version.
    """
    client.secrets.kv.v2.create_or_update_secret(path, {"token": value}, mount_point="kv")


@contextlib.asynccontextmanager
async def reading(
    environment: dict[str, str], *refs: SecretRefs, clock: SystemClock | None = None
) -> AsyncIterator[Secrets]:
    """
    Keep *refs* as a hub does.
    """
    http = AiohttpHttp()
    secrets = Secrets(environment, redactor=Redactor(), clock=clock)
    try:
        async with secrets.renewed(refs or (REF,), http=http):
            yield secrets
    finally:
        await http.close()


async def problem(environment: dict[str, str], ref: str) -> str:
    """
    Return what is said of a reference that cannot be had.
    """
    try:
        async with reading(environment, SecretRefs.parse(ref)):
            return ""
    except PenstockError as error:
        return str(error)


async def look(client: hvac.Client, address: str, login: dict[str, str]) -> dict[str, Any]:
    """
    Return what was found, by what was tried.
    """
    token, role = {"VAULT_ADDR": address, "VAULT_TOKEN": ROOT}, {"VAULT_ADDR": address, **login}
    found: dict[str, Any] = {}
    async with reading(token) as secrets:
        found["a token reads"] = [each.reveal() for each in secrets.all(REF)] == ["first-secret"]
    clock = Hurrying()

    async def renewed(secrets: Secrets) -> list[str]:
        clock.ahead += 60
        await secrets.renew(REF)
        return [each.reveal() for each in secrets.all(REF)]

    async with reading(role, clock=clock) as secrets:
        found["a role reads"] = [each.reveal() for each in secrets.all(REF)] == ["first-secret"]
        put(client, "second-secret")
        found["both are live after a rotation"] = await renewed(secrets) == ["second-secret", "first-secret"]
        client.secrets.kv.v2.delete_secret_versions("teams/crm", [1], mount_point="kv")
        found["a deleted version is not"] = await renewed(secrets) == ["second-secret"]
        client.sys.seal()
        found["a sealed server leaves it in use"] = await renewed(secrets) == ["second-secret"]
    found["a sealed server is told"] = "answered 503" in await problem(token, "${vault:kv/teams/crm#token}")
    return found


async def refusals(client: hvac.Client, address: str, login: dict[str, str]) -> dict[str, Any]:
    """
    Return what is said of what cannot be had.
    """
    put(client, "not-for-the-hub", "others/bank")
    token, role = {"VAULT_ADDR": address, "VAULT_TOKEN": ROOT}, {"VAULT_ADDR": address, **login}
    return {
        "a path that is not there": await problem(token, "${vault:kv/teams/nobody#token}"),
        "a key that is not there": await problem(token, "${vault:kv/teams/crm#password}"),
        "an engine that is not there": await problem(token, "${vault:nothing/teams/crm#token}"),
        "a path the role may not read": await problem(role, "${vault:kv/others/bank#token}"),
        "a token that is none": await problem(token | {"VAULT_TOKEN": "hvs.nothing"}, "${vault:kv/teams/crm#token}"),
        "a role that is none": await problem(role | {"VAULT_SECRET_ID": "nothing"}, "${vault:kv/teams/crm#token}"),
    }


def main() -> int:
    """
    Print what was found; 1 when something is not as the tests' double says.
    """
    with serving(sys.argv[1]) as (client, address):
        login = prepare(client)
        told = asyncio.run(refusals(client, address, login))
        found = asyncio.run(look(client, address, login))
    for what, said in told.items():
        sys.stdout.write(f"{what}: {said or 'NOTHING WAS SAID'}\n")
    for what, good in found.items():
        sys.stdout.write(f"{'yes' if good else 'NO '} {what}\n")
    return int(not (all(told.values()) and all(found.values())))


if __name__ == "__main__":
    sys.exit(main())
