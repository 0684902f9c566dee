"""
Tokens are fetched rarely, in time, and nothing is said of the secret.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path

import pytest

from bus.tokens import Client, ClientCredentials, given
from penstock.clock import ManualClock
from penstock.errors import AuthFailed, Unavailable
from penstock.http import NotSent, SentNoAnswer
from penstock.secrets import Secret, Secrets
from tests.bus.issuer import Issuer

URL = "https://login.example/token"


def source(issuer: Issuer, clock: ManualClock, *, scope: str | None = "kafka:write") -> ClientCredentials:
    client = Client(url=URL, client_id="pen:stock", secret=lambda: Secret("s3cret/&"), scope=scope)
    return ClientCredentials(client, http=issuer, clock=clock)


async def test_a_client_asks_as_the_standard_says(clock: ManualClock) -> None:
    """RFC 6749: a form with grant type and scope; id and secret, each encoded, as HTTP Basic."""
    issuer = Issuer()

    assert "t0ken" == await source(issuer, clock)()
    (request,) = issuer.requests
    basic = request.headers["authorization"].removeprefix("Basic ")
    assert ("POST", URL) == (request.method, str(request.url))
    assert b"grant_type=client_credentials&scope=kafka%3Awrite" == request.content
    assert b"pen%3Astock:s3cret%2F%26" == base64.b64decode(basic)


async def test_a_token_is_kept_while_it_lives(clock: ManualClock) -> None:
    """It is replaced a minute before its end, and not before; whoever asks meanwhile waits for the one request."""
    issuer = Issuer(life=600)
    tokens = source(issuer, clock)
    await asyncio.gather(tokens(), tokens(), tokens())
    await clock.advance(539)
    await tokens()
    before = len(issuer.requests)
    issuer.token = "next"
    await clock.advance(2)

    assert (1, "next", 2) == (before, await tokens(), len(issuer.requests))


@pytest.mark.parametrize(("life", "fresh"), [(100, 79), ("100", 79), (None, 47), ("soon", 47)])
async def test_a_short_token_is_replaced_early_enough(clock: ManualClock, life: object, fresh: int) -> None:
    """A fifth of its life before its end; one that does not say how long it lives is used for a minute."""
    issuer = Issuer(life=life)
    tokens = source(issuer, clock)
    await tokens()
    await clock.advance(fresh)
    await tokens()
    before = len(issuer.requests)
    await clock.advance(2)
    await tokens()

    assert (1, 2) == (before, len(issuer.requests))


async def test_a_token_is_used_to_its_end_when_there_is_no_new_one(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint that is away for a moment stops nothing; afterwards it does."""
    issuer = Issuer(life=100)
    tokens = source(issuer, clock)
    await tokens()
    issuer.status = 503
    await clock.advance(90)
    with caplog.at_level(logging.WARNING):
        assert "t0ken" == await tokens()
    await clock.advance(11)

    assert "the present token is used until it ends" in caplog.text
    with pytest.raises(Unavailable, match=f"the token endpoint {URL} answered 503"):
        await tokens()


@pytest.mark.parametrize(
    ("issuer", "kind", "says"),
    [
        (Issuer(status=401), AuthFailed, "refused the client 'pen:stock': invalid_client (401)"),
        (Issuer(status=400, error="Bad s3cret/&"), AuthFailed, "refused the client 'pen:stock': 400"),
        (Issuer(status=302, body=b"elsewhere"), AuthFailed, "refused the client 'pen:stock': 302"),
        (Issuer(status=429), Unavailable, "answered 429"),
        (Issuer(body=b"{}"), AuthFailed, "answered 200 without an `access_token` that could be one"),
        (
            Issuer(body=b'{"access_token": "a\\r\\nb"}'),
            AuthFailed,
            "answered 200 without an `access_token` that could be one",
        ),
        (Issuer(body=b"[1]"), AuthFailed, "answered 200 without an `access_token` that could be one"),
        (Issuer(broken=NotSent("no connection")), Unavailable, "gave no answer: no connection"),
        (Issuer(broken=SentNoAnswer("reset")), Unavailable, "gave no answer: reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_goes_wrong_is_said_without_the_secret(
    clock: ManualClock, issuer: Issuer, kind: type[Exception], says: str
) -> None:
    """Which endpoint, which client, which error; neither the secret nor what the endpoint repeated of it."""
    with pytest.raises(kind) as error:
        await source(issuer, clock)()

    assert f"the token endpoint {URL} {says}" in str(error.value)
    assert "s3cret" not in str(error.value)


async def test_a_token_in_a_file_is_read_anew(tmp_path: Path) -> None:
    """Who renews it writes the file; the next connection uses the new one."""
    file, secrets = tmp_path / "token", Secrets()
    token = given(lambda: secrets.get(f"${{file:{file}}}"))
    file.write_text("first\n")
    first = await token()
    file.write_text("the second\n"[4:])

    assert ("first", "second") == (first, await token())


async def test_a_text_that_is_no_token_is_not_sent() -> None:
    """A line end inside would end the message to the broker; the error does not repeat it."""
    with pytest.raises(AuthFailed) as error:
        await given(lambda: Secret("some thing"))()

    assert "`hub.bus.security.token` leads to a text that cannot be a token" == str(error.value)
