"""
Our adapters against a model server that others wrote.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

import ai
import ledger as ledgers
from ai.errors import AIError
from ai.models import ModelSpec, Rates
from ai.pacing import Paced
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.metrics import Instruments
from penstock.secrets import SecretRefs, Secrets
from tests.ai.aimock.server import Aimock, Missing, fetch
from tests.ai.conftest import Desk
from tests.ai.faulty import GOOD
from tests.ai.google_cloud import GoogleCloud

KEY = "sk-made-up-0123456789"
MODELS = {
    "openai": {"provider": "openai", "model": "gpt-5-mini", "url": "/v1"},
    "azure": {"provider": "azure", "model": "gpt-4o-mini", "url": "", "api_version": "2024-10-21"},
    "anthropic": {"provider": "anthropic", "model": "claude-haiku-4-5", "url": ""},
    "google": {"provider": "google", "model": "gemini-2.5-flash", "url": "/v1beta"},
    "vertex": {"provider": "vertex", "model": "gemini-2.5-flash", "url": "", "project": "acme", "region": "us-central1"},
    "bedrock": {"provider": "bedrock", "model": "us.anthropic.claude-haiku-4-5-20251001-v1:0", "url": "", "region": "us-east-1"},
    "nova": {"provider": "bedrock", "model": "us.amazon.nova-lite-v1:0", "url": "", "region": "us-east-1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    try:
        node = fetch()
    except Missing as error:
        pytest.skip(str(error))
    server = Aimock(node, tmp_path_factory.mktemp("aimock"), about="lamp", answer=GOOD)
    try:
        server.ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def others(server: Aimock, cloud: GoogleCloud) -> AsyncIterator[Desk]:
    """
    Give an AI layer whose models are all at the other's server.
    """
    server.chaos()
    environment = {"KEY": KEY, "ACCOUNT": cloud.account}
    models = {
        name: ModelSpec(
            name=name,
            key=SecretRefs.parse("${env:ACCOUNT}" if name == "vertex" else "${env:KEY}"),
            price=Rates(input=1_000_000, output=2_000_000),
            **(given | {"url": server.url + given["url"]}),  # type: ignore[arg-type]
        )
        for name, given in MODELS.items()
    }
    http, clock = AiohttpHttp(), SystemClock()
    ledger = await ledgers.open(None, clock=clock)
    layer = ai.open(models, http=http, ledger=ledger, secrets=Secrets(environment), clock=clock)
    yield Desk(
        double=None, ledger=ledger, http=http, environment=environment, ai=layer, fails=[], instruments=Instruments()
    )  # type: ignore[arg-type]
    await http.close()
    await ledger.close()


@pytest.mark.parametrize("model", MODELS)
async def test_an_answer(others: Desk, server: Aimock, model: str) -> None:
    """
    The other's server takes our question for its vendor's, and we read its answer.
    """
    before = len(server.asked())

    answer = await others.ask(model=model)

    assert answer.output == {"summary": "The parcel is late.", "mood": "frustrated", "confidence": 0.9}
    assert len(server.asked()) == before + 1


@pytest.mark.parametrize("model", MODELS)
async def test_a_slow_answer(others: Desk, server: Aimock, model: str) -> None:
    """
    An answer that takes longer than the ask may is `timeout`; one that does not is an answer.
    """
    await others.ask(model=model, timeout=20)  # signed in and connected, which may take a while of its own
    server.chaos(latencyMs=700)

    with pytest.raises(AIError) as caught:
        await others.ask(model=model, timeout=0.4)
    answer = await others.ask(model=model, timeout=20)

    assert caught.value.error_class == "timeout"
    assert answer.output["mood"] == "frustrated"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("rates", "error_class"),
    [
        ({"disconnectRate": 1}, "connection"),
        ({"malformedRate": 1}, "malformed_response"),
        ({"dropRate": 1}, "server"),
    ],
)
async def test_a_failure(others: Desk, server: Aimock, model: str, rates: dict[str, int], error_class: str) -> None:
    """
    Broken connections, broken JSON and 500 have the class of the table at every vendor.
    """
    server.chaos(**rates)

    with pytest.raises(AIError) as caught:
        await others.ask(model=model)

    assert caught.value.error_class == error_class


@pytest.mark.parametrize("model", MODELS)
async def test_too_fast(others: Desk, server: Aimock, model: str) -> None:
    """
    429 lets the run come again when the server said.
    """
    server.chaos(rateLimitRate=1)

    with pytest.raises(Paced):
        await others.ask(model=model)

    (pace,) = await others.ledger.paces()
    assert pace.paused_until > others.ai._tools.clock.now_ms() - 1_000
