"""
All stores at once, for a hub in a process of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
from aiohttp import web
from moto.server import ThreadedMotoServer
from yarl import URL

from penstock.clock import SystemClock
from penstock.http import Request, Response
from tests.stores.google import GoogleDouble
from tests.stores.hashicorp import VaultDouble
from tests.stores.microsoft import CLIENT, CLIENT_SECRET, TENANT, MicrosoftDouble
from tests.stores.serving import certificate, serving

REGION = "eu-central-1"
AWS_KEY = "AKIAMADEUPMADEUP0001"


@dataclass
class Stores:
    """
    Where each store is, what a hub needs to find them, and how to reach into them.
    """

    environment: dict[str, str]
    vault: VaultDouble
    google: GoogleDouble
    microsoft: MicrosoftDouble
    azure: str
    aws: Any

    def put(self, store: str, name: str, value: str) -> str:
        """
        Write *value* into *store*; return the reference to it.
        """
        match store:
            case "aws":
                self.aws.create_secret(Name=name, SecretString=value)
                return f"${{aws:{name}}}"
            case "azure":
                self.microsoft.put(name, value)
                return f"${{azure:{self.azure}/{name}}}"
            case "gcp":
                self.google.put(f"acme/{name}", value)
                return f"${{gcp:acme/{name}}}"
        self.vault.put(f"kv/{name}", it=value)
        return f"${{vault:kv/{name}#it}}"

    def fail(self, said: str) -> None:
        """
        Let the doubles answer nothing but errors that repeat *said*.
        """
        self.vault.status, self.vault.said = 500, said.encode()
        self.google.fails = self.microsoft.fails = 500
        self.google.said = self.microsoft.said = said


def as_server(double: VaultDouble) -> web.Application:
    """
    Return *double* as a server.
    """

    async def answer(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = URL(str(request.rel_url), encoded=True)
        said: Response = await double.send(Request(request.method, url, headers, await request.read()))
        return web.Response(status=said.status, body=said.body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    return app


@contextlib.asynccontextmanager
async def stores(folder: Path, logins: Mapping[str, str]) -> AsyncIterator[Stores]:
    """
    Run every store, empty; *logins* are what a hub proves itself with: `VAULT_TOKEN`, `AWS_SECRET_ACCESS_KEY`.
    """
    vault, google, microsoft = (
        VaultDouble(SystemClock(), token=logins["VAULT_TOKEN"]),
        GoogleDouble(),
        MicrosoftDouble(),
    )
    trusted, tls = certificate(folder)
    aws = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    aws.start()
    host, port = aws.get_host_and_port()
    try:
        async with (
            serving(as_server(vault)) as vault_at,
            serving(google.app) as google_at,
            serving(microsoft.app, tls) as azure_at,
        ):
            environment = {
                **logins,
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                "AWS_REGION": REGION,
                "AWS_ACCESS_KEY_ID": AWS_KEY,
                "VAULT_ADDR": f"http://{vault_at}",
                "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://{google_at}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(google.key_file(folder, google_at)),
                "AZURE_AUTHORITY_HOST": f"https://{azure_at}",
                "AZURE_TENANT_ID": TENANT,
                "AZURE_CLIENT_ID": CLIENT,
                "AZURE_CLIENT_SECRET": CLIENT_SECRET,
                "SSL_CERT_FILE": str(trusted),
            }
            client = botocore.session.Session().create_client(
                "secretsmanager",
                region_name=REGION,
                endpoint_url=environment["AWS_ENDPOINT_URL"],
                aws_access_key_id=AWS_KEY,
                aws_secret_access_key=logins["AWS_SECRET_ACCESS_KEY"],
            )
            yield Stores(environment, vault, google, microsoft, azure_at, client)
            client.close()
    finally:
        aws.stop()
