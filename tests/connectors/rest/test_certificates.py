"""
Mutual TLS: a real server that demands a certificate, and what is said of certificates that cannot be used.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors import catalog, open_call
from connectors.settings import SettingError
from penstock import errors
from penstock.clock import SystemClock
from penstock.http import Response
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import MASK, Redactor
from penstock.secrets import MissingSecret, Secrets
from tests.connectors.rest.authority import Held, Strict, issued
from tests.connectors.rest.test_rest import SYSTEM

OURS = {
    "client_certificate": "${env:CERTIFICATE}",
    "client_key": "${env:KEY}",
    "ca_certificates": "${env:AUTHORITIES}",
    "auth": {"nothing": True},
    "private_networks": ["127.0.0.0/8"],
}


@pytest.fixture(scope="module")
def authority() -> Held:
    return issued("authority of a test")


@pytest.fixture(scope="module")
def hub(authority: Held) -> Held:
    return issued("hub", authority)


@pytest.fixture
async def http() -> AsyncIterator[AiohttpHttp]:
    client = AiohttpHttp()
    yield client
    await client.close()


@contextmanager
def strict(folder: Path, authority: Held, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Iterator[Strict]:
    with Strict(folder, authority, issued("server", authority), version).serving() as server:
        yield server


def environment(authority: Held, held: Held | None) -> dict[str, str]:
    found = {"TOKEN": "t", "HOOK": "h", "AUTHORITIES": authority.pem}
    return found if held is None else {**found, "CERTIFICATE": held.pem, "KEY": held.key_pem()}


def described(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**SYSTEM, **OURS, **changes}.items() if value is not None}


def connect(url: str, http: Any, known: Mapping[str, str], **changes: Any) -> Any:
    given = described(**{"url": url, **changes})
    return catalog.open("rest", given, secrets=Secrets(known, redactor=Redactor()), http=http, clock=SystemClock())


async def look(connector: Any, http: Any) -> Any:
    call = open_call(connector, http, key="k" * 64, slot="", timeout=5.0, clock=SystemClock())
    return await connector.lookups["order"].fetch("42", call, 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_system_that_demands_a_certificate(
    tmp_path: Path, authority: Held, hub: Held, http: AiohttpHttp, version: ssl.TLSVersion
) -> None:
    """It gets ours, and its own is judged by our authority alone; health says who answers."""
    with strict(tmp_path, authority, version) as server:
        connector = connect(server.url, http, environment(authority, hub))
        assert hub.key_pem()[40:80] not in repr(vars(connector))
        found = await look(connector, http)
        health = await connector.health(
            open_call(connector, http, key="k" * 64, slot="", timeout=5.0, clock=SystemClock())
        )

        assert found == [{"name": "A bike"}]
        assert server.known == ["hub", "hub"]
        assert (health.state, health.acts_as) == ("ok", "1")


def test_what_a_system_says_of_certificates_stays(authority: Held, hub: Held) -> None:
    """Only the whole of what we hold is taken out of an answer, not the words every certificate has."""
    connector = connect("https://erp.acme.example", None, environment(authority, hub))
    theirs = issued("somebody").pem
    told = orjson.dumps({"theirs": theirs, "ours": hub.key_pem()})
    said = connector.edge.unechoed(Response(status=200, body=told)).json()

    assert said == {"theirs": theirs, "ours": MASK}


@pytest.mark.parametrize("given", [None, "stranger"])
async def test_a_certificate_that_is_refused(
    tmp_path: Path, authority: Held, http: AiohttpHttp, given: str | None
) -> None:
    """It is a matter of credentials, and for a person: the system read nothing of the request."""
    ours = issued("hub", issued("another authority")) if given else None
    none = None if given else {"client_certificate": None, "client_key": None}
    with strict(tmp_path, authority) as server:
        connector = connect(server.url, http, environment(authority, ours), **(none or {}))
        with pytest.raises(errors.AuthFailed, match="our certificate is refused"):
            await look(connector, http)
        call = open_call(connector, http, key="k" * 64, slot="", timeout=5.0, clock=SystemClock())
        assert (await connector.health(call)).state == "auth"

        assert server.heard == []


async def test_a_system_we_do_not_trust(tmp_path: Path, authority: Held, hub: Held, http: AiohttpHttp) -> None:
    """Nothing is sent to a server whose certificate another authority signed, ours included."""
    with strict(tmp_path, authority) as server:
        known = environment(authority, hub) | {"AUTHORITIES": issued("another authority").pem}
        for changes in ({}, {"ca_certificates": None}):
            with pytest.raises(errors.Unavailable, match="certificate verify failed"):
                await look(connect(server.url, http, known, **changes), http)

        assert server.heard == []


async def test_a_certificate_in_files_is_replaced(
    tmp_path: Path, authority: Held, http: AiohttpHttp, caplog: pytest.LogCaptureFixture
) -> None:
    """New files count with the next request; while only one of the two is new, the pair before holds."""

    def put(name: str, text: str) -> None:
        (tmp_path / f"{name}.new").write_text(text)
        (tmp_path / f"{name}.new").replace(tmp_path / name)

    first, second = issued("first", authority), issued("second", authority)
    put("cert.pem", first.pem)
    put("key.pem", first.key_pem())
    files = {"client_certificate": f"${{file:{tmp_path}/cert.pem}}", "client_key": f"${{file:{tmp_path}/key.pem}}"}
    with strict(tmp_path, authority) as server:
        connector = connect(server.url, http, environment(authority, None), **files)
        await look(connector, http)
        put("cert.pem", second.pem)
        await look(connector, http)
        assert "stay as they were" in caplog.text
        put("key.pem", second.key_pem())
        await look(connector, http)

        assert server.known == ["first", "first", "second"]


def _mismatched(known: dict[str, str], authority: Held) -> dict[str, str]:
    return known | {"KEY": issued("another", authority).key_pem()}


def _encrypted(known: dict[str, str], authority: Held) -> dict[str, str]:
    return known | {"KEY": issued("another", authority).key_pem(b"phrase")}


@pytest.mark.parametrize(
    ("spoiled", "setting", "said"),
    [
        (lambda known, _: known | {"CERTIFICATE": "rubbish"}, "client_certificate", "no certificate in PEM"),
        (lambda known, _: known | {"CERTIFICATE": "ü"}, "client_certificate", "no certificate in PEM"),
        (lambda known, _: known | {"CERTIFICATE": known["KEY"]}, "client_certificate", "no certificate in PEM"),
        (lambda known, _: known | {"KEY": "canary-rubbish"}, "client_key", "no private key in PEM"),
        (
            lambda known, _: known | {"KEY": known["KEY"][:100] + "canary"},
            "client_key",
            "no private key|cannot be used",
        ),
        (lambda known, _: known | {"AUTHORITIES": "rubbish"}, "ca_certificates", "no certificate in PEM"),
        (_mismatched, "client_key", "not the key of 'client_certificate'"),
        (_encrypted, "client_key", "encrypted"),
    ],
)
def test_what_cannot_be_used(
    authority: Held, hub: Held, spoiled: Callable[[dict[str, str], Held], dict[str, str]], setting: str, said: str
) -> None:
    """One error, with the setting it is about, at the start; nothing of a key is repeated."""
    known = spoiled(environment(authority, hub), authority)
    with pytest.raises(SettingError, match=said) as raised:
        connect("https://erp.acme.example", None, known)

    assert raised.value.keys == (setting,)
    assert "canary" not in str(raised.value)


def test_what_is_missing(tmp_path: Path, authority: Held) -> None:
    """Every reference that leads nowhere is named in one error."""
    with pytest.raises(MissingSecret) as raised:
        connect(
            "https://erp.acme.example",
            None,
            environment(authority, None),
            client_certificate=f"${{file:{tmp_path}/none.pem}}",
        )

    assert f"{tmp_path}/none.pem" in str(raised.value)
    assert "${env:KEY}" in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "keys", "said"),
    [
        ({"client_key": None}, ("client_certificate",), "goes with 'client_key'"),
        ({"client_certificate": None}, ("client_key",), "goes with 'client_certificate'"),
        ({"url": "http://127.0.0.1:8080"}, ("client_certificate",), "https://"),
    ],
)
def test_what_does_not_go_together(
    authority: Held, hub: Held, changes: dict[str, Any], keys: tuple[str, ...], said: str
) -> None:
    """`check` says it with its place, and so does a start."""
    with pytest.raises(SettingError, match=said) as raised:
        catalog.spec("rest", described(**changes))
    assert raised.value.keys == keys
    with pytest.raises(SettingError, match=said):
        connect(**{"url": SYSTEM["url"], "http": None, "known": environment(authority, hub), **changes})
