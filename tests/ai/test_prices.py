from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices.data_snapshot import get_snapshot

from ai import prices
from ai.estimates import estimate
from ai.models import ModelSpec, Rates
from schemas.entries import Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def spec(provider: Any, model: str, **more: Any) -> ModelSpec:
    return ModelSpec(name="m", provider=provider, model=model, **more)


def listed(provider: str) -> list[Any]:
    named = {"vertex": "google", "bedrock": "aws"}.get(provider, provider)
    found = next(known for known in get_snapshot().providers if known.id == named)
    return [model for model in found.models if prices.find(spec(provider, model.id), NOW) is not None]


@pytest.mark.parametrize("provider", ["openai", "azure", "anthropic", "google", "vertex", "bedrock"])
def test_costs_are_those_of_the_price_list(provider: str) -> None:
    """
    For every listed model and any usage our integers are genai-prices' decimals, rounded up.
    """
    pick = random.Random(7)
    models = listed(provider)
    for model in models:
        ours = prices.find(spec(provider, model.id), NOW)
        assert ours is not None
        for size in (100, 250_000, 900_000):
            given, made = pick.randint(1, size), pick.randint(0, 5000)
            read = pick.randint(0, given) if model.get_prices(NOW).cache_read_mtok is not None else 0
            theirs = model.get_prices(NOW).calc_price(
                TheirUsage(input_tokens=given, output_tokens=made, cache_read_tokens=read)
            )

            cost = ours.cost(Usage(input=given, output=made, cache_read=read))

            assert 0 <= cost - theirs["total_price"] * 1_000_000 < 1 + Decimal("0.2"), (model.id, given, made, read)
    assert len(models) >= 14


@pytest.mark.parametrize(
    ("provider", "model", "known"),
    [
        ("openai", "gpt-5-mini", True),
        ("openai", "gpt-5-mini-2025-08-07", True),
        ("openai", "GPT-5-mini", True),
        ("openai", "gpt-5.6", False),  # the list has it as another name of gpt-5.6-sol
        ("openai", "gpt-5.6-sol", True),
        ("openai", "gpt-5-mini-turbo", False),
        ("openai", "gpt-4.1-2099-01-01", False),
        ("openai", "chat-latest", False),
        ("openai", "", False),
        ("anthropic", "claude-sonnet-4-5-20250929", True),
        ("anthropic", "claude-sonnet-4-20250514", True),
        ("anthropic", "claude-3-5-haiku-latest", True),
        ("anthropic", "claude-haiku-4-5", True),
        ("anthropic", "claude-haiku-4-5-special", False),
        ("anthropic", "gpt-5-mini", False),
        ("openai", "claude-haiku-4-5", False),
        ("azure", "gpt-5-mini", True),  # the list sends Azure's other models to OpenAI's prices
        ("azure", "o4-mini", True),
        ("azure", "our-deployment", False),
        ("google", "gemini-2.5-flash", True),
        ("google", "gemini-flash-latest", False),
        ("google", "claude-haiku-4-5", True),
        ("vertex", "gemini-2.0-flash-001", True),
        ("vertex", "gemini-2.5-flash-tuned", False),
        ("bedrock", "amazon.nova-lite-v1:0", True),
        ("bedrock", "us.amazon.nova-lite-v1:0", True),
        ("bedrock", "amazon.nova", False),
        ("bedrock", "us.meta.llama4-scout-17b-instruct-v1:0", True),
        ("bedrock", "anthropic.claude-opus-4-5-20251101-v1:0", True),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-5", True),
        ("bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123", False),
        ("bedrock", "claude-haiku-4-5", False),
    ],
)
def test_only_the_named_model_is_found(provider: str, model: str, known: bool) -> None:
    """
    A model's own id is found, dated or not; an alias of another model, or a longer name, is not.
    """
    assert (prices.find(spec(provider, model)) is not None) is known


def test_a_snapshot_has_its_own_price() -> None:
    """
    A dated snapshot that the list prices by itself is not charged as its successor.
    """
    snapshot, current = prices.find(spec("openai", "gpt-4o-2024-05-13")), prices.find(spec("openai", "gpt-4o"))
    assert snapshot is not None
    assert current is not None

    assert snapshot.worst_case(1000, 1000) > current.worst_case(1000, 1000)


def test_a_server_of_one_s_own_has_no_price() -> None:
    """
    A known name at an unknown address is another machine: its price is unknown until somebody says it.
    """
    own = {"url": "http://localhost:11434/v1"}

    assert prices.find(spec("openai", "gpt-5-mini", **own)) is None
    assert prices.find(spec("openai", "x", price_as="openai/gpt-5-mini", **own)) == prices.find(
        spec("openai", "gpt-5-mini")
    )
    assert prices.find(spec("openai", "openai/gpt-4o-mini", url="https://openrouter.ai/api/v1")) is not None


def test_where_bedrock_serves_a_model_has_its_price() -> None:
    """
    A model asked in one region, or across a continent, costs more than one asked anywhere; a newer one is another.
    """
    name = "anthropic.claude-haiku-4-5-20251001-v1:0"
    anywhere, europe, here = (prices.find(spec("bedrock", full)) for full in (f"global.{name}", f"eu.{name}", name))
    assert anywhere is not None
    assert europe is not None

    assert anywhere.input.base < europe.input.base
    assert europe == here
    assert prices.find(spec("bedrock", "us.anthropic.claude-opus-5")) != prices.find(
        spec("bedrock", "us.anthropic.claude-opus-5-5")
    )


@pytest.mark.parametrize(
    ("provider", "model", "price_as"),
    [
        ("azure", "gpt-5-mini", "azure/gpt-5-mini"),
        ("google", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("vertex", "gemini-2.5-flash", "vertex/gemini-2.5-flash"),
        ("bedrock", "us.amazon.nova-lite-v1:0", "bedrock/us.amazon.nova-lite-v1:0"),
        ("bedrock", "amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
    ],
)
def test_an_address_of_one_s_own_changes_no_cloud_price(provider: str, model: str, price_as: str) -> None:
    """
    Behind a gateway or a private endpoint a cloud's model costs what it costs, and `price_as` names it as we do.
    """
    known = prices.find(spec(provider, model))
    assert known is not None

    assert prices.find(spec(provider, model, url="https://gateway.example")) == known
    assert prices.find(spec(provider, "ours", price_as=price_as)) == known


def test_an_override_replaces_the_list() -> None:
    """
    A price in the declaration counts, and cached tokens cost the input rate unless it says otherwise.
    """
    price = prices.find(spec("openai", "gpt-5-mini", price=Rates(input=3, output=5_000_000)))
    assert price is not None

    assert price.cost(Usage(input=1_000_000, output=2, cache_read=500_000)) == 13
    assert price.cost(Usage(input=1, output=0)) == 1


def test_offline_is_free() -> None:
    """
    The offline provider costs nothing, by definition.
    """
    price = prices.find(spec("offline", "extractive"))
    assert price is not None

    assert price.worst_case(1_000_000, 1_000_000) == 0


def test_the_worst_case_is_never_below_the_cost() -> None:
    """
    Whatever is cached and however large, no call within its bounds costs more than its worst case.
    """
    pick = random.Random(1)
    for model in listed("anthropic") + listed("openai"):
        provider = "anthropic" if "claude" in model.id else "openai"
        price = prices.find(spec(provider, model.id))
        assert price is not None
        for _ in range(20):
            most, room = pick.choice([1000, 199_999, 200_001, 500_000]), pick.randint(1, 9000)
            given = pick.randint(0, most)
            read = pick.randint(0, given)
            usage = Usage(
                input=given, output=pick.randint(0, room), cache_read=read, cache_write=pick.randint(0, given - read)
            )

            assert price.cost(usage) <= price.worst_case(most, room), (model.id, usage)


def test_windows() -> None:
    """
    The window is the declared one, else the list's, else unknown.
    """
    assert prices.window(spec("openai", "gpt-5-mini", window=9)) == 9
    assert prices.window(spec("openai", "gpt-5-mini")) == 400_000
    assert prices.window(spec("openai", "nobody")) is None


def test_estimates() -> None:
    """
    The whole ask costs at least its first try plus one with twice the room; unknown stays unknown.
    """
    found = estimate(spec("openai", "gpt-4o-mini"), 2000, 300)
    assert found is not None

    first, worst = found
    assert 0 < 3 * first < worst < 6 * first
    assert estimate(spec("openai", "nobody"), 2000, 300) is None
