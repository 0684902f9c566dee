"""
Who calls a model, and what each asks: the same question, with the same schema, of a model at the same address.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, cast

from penstock import HOUSE

Asked = tuple[str, int, int]
"""What the model said, and the tokens of input and output that it counted."""
Ask = Callable[[int], Awaitable[Asked]]
"""Asks about the event of that number."""

KEY = "bench-key-0123456789abcdef"
SYSTEM = "Summarise the ticket for the agent who opens it. Invent nothing. Answer in the ticket's language."
ROOM = 300  # tokens
TIMEOUT = 120.0  # seconds
_SENTENCE = "My parcel has not arrived, the page says it is in delivery for nine days now, and nobody answered me. "
_MODELS = {"openai": "gpt-4.1-mini", "anthropic": "claude-haiku-4-5"}


def text(number: int) -> str:
    """
    Return a ticket of some 800 tokens, unlike any other.
    """
    return f"<ticket>\nsubject: Order {number} is late\ndescription: {_SENTENCE * 36}\n</ticket>"


def schema() -> dict[str, Any]:
    """
    Return the schema of the answer.
    """
    found: dict[str, Any] = json.loads((HOUSE / "schemas" / "ticket-summary.json").read_text("utf-8"))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """
    Who calls.
    """

    modules: tuple[str, ...]
    """What it needs; importing them is measured."""
    open: Callable[[str], AbstractAsyncContextManager[Ask]]
    """Takes the base URL of the model."""


def adapter(provider: str) -> Callable[[str], AbstractAsyncContextManager[Ask]]:
    """
    Do what an SDK does, with our adapter: build, send, classify, read.
    """

    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Ask]:
        from ai.models import ModelSpec
        from ai.providers import adapter as words_of
        from ai.providers.contract import Question
        from penstock.http_aiohttp import AiohttpHttp
        from schemas.entries import Prompt

        http, words, wanted = AiohttpHttp(), words_of(provider), schema()
        spec = ModelSpec(name="bench", provider=cast("Any", provider), model=_MODELS[provider], url=f"{url}/v1")

        async def ask(number: int) -> Asked:
            prompt = Prompt(system=SYSTEM, user=text(number), tokens=800)
            question = Question(spec=spec, prompt=prompt, schema_name="summary", schema=wanted, room=ROOM)
            response = await http.send(words.request(question, KEY), timeout=TIMEOUT)
            if (error := words.classify(response)) is not None:
                raise error
            reading = words.read(response)
            return reading.text, reading.usage.input, reading.usage.output

        yield ask
        await http.close()

    return opened


@contextlib.asynccontextmanager
async def whole(url: str) -> AsyncIterator[Ask]:
    """
    Ask as a pipeline does: with a claim, a reservation, a checked answer and its entry in a ledger.
    """
    import ai
    import ledger as ledgers
    from ai.models import ModelSpec, Rates
    from ai.output import OutputSchema
    from ledger.contract import Claim, NewRun
    from penstock.clock import SystemClock
    from penstock.http_aiohttp import AiohttpHttp
    from penstock.secrets import SecretRefs, Secrets
    from schemas.entries import Prompt

    http, clock, output = AiohttpHttp(), SystemClock(), OutputSchema(name="summary", schema=schema())
    book = await ledgers.open(None, clock=clock)
    key, rates = SecretRefs.parse("${env:KEY}"), Rates(input=1, output=1)
    spec = ModelSpec(name="m", provider="openai", model=_MODELS["openai"], url=f"{url}/v1", key=key, price=rates)
    layer = ai.open({"m": spec}, http=http, ledger=book, secrets=Secrets({"KEY": KEY}), clock=clock)
    same = {"source": "bench", "subject": "1", "body_hash": "b", "config_hash": "c", "topic": "t", "bus_time": 0}

    async def ask(number: int) -> Asked:
        user, name = text(number), str(number)
        run = NewRun(pipeline="p", lane=name, event_id=name, partition=0, offset=number, **cast("Any", same))
        claim = await book.claim(run)
        assert isinstance(claim, Claim)
        prompt = Prompt(system=SYSTEM, user=user, tokens=800)
        told: dict[str, Any] = {"max_output": ROOM, "timeout": TIMEOUT, "ask_hash": name, "evidence": user}
        answer = await layer.ask(claim, prompt, model="m", output=output, new=True, **told)
        return json.dumps(answer.output), 0, 0  # what it counted is in the ledger

    yield ask
    await http.close()
    await book.close()


@contextlib.asynccontextmanager
async def openai(url: str) -> AsyncIterator[Ask]:
    """
    Ask with OpenAI's own client, as its documentation shows it; without its hidden retries.
    """
    from openai import AsyncOpenAI

    from ai.providers.dialects import openai_strict

    named = {"name": "summary", "schema": openai_strict(schema()), "strict": True}
    wanted: Any = {"type": "json_schema", "json_schema": named}
    async with AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT) as client:

        async def ask(number: int) -> Asked:
            answer = await client.chat.completions.create(
                model=_MODELS["openai"],
                messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": text(number)}],
                response_format=wanted,
                max_completion_tokens=ROOM,
                temperature=0,
            )
            assert answer.usage is not None
            said = answer.choices[0].message.content or ""
            return said, answer.usage.prompt_tokens, answer.usage.completion_tokens

        yield ask


@contextlib.asynccontextmanager
async def anthropic(url: str) -> AsyncIterator[Ask]:
    """
    Ask with Anthropic's own client, likewise.
    """
    from anthropic import AsyncAnthropic

    from ai.providers.dialects import anthropic_strict

    config: Any = {"format": {"type": "json_schema", "schema": anthropic_strict(schema())}}
    async with AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0, timeout=TIMEOUT) as client:

        async def ask(number: int) -> Asked:
            answer = await client.messages.create(
                model=_MODELS["anthropic"],
                max_tokens=ROOM,
                system=SYSTEM,
                messages=[{"role": "user", "content": text(number)}],
                output_config=config,
            )
            said = "".join(block.text for block in answer.content if block.type == "text")
            return said, answer.usage.input_tokens, answer.usage.output_tokens

        yield ask


_HTTP = "penstock.http_aiohttp"
CONTENDERS: Mapping[str, Contender] = {
    "penstock, OpenAI": Contender(modules=("ai.providers.openai", _HTTP), open=adapter("openai")),
    "openai SDK": Contender(modules=("openai",), open=openai),
    "penstock, Anthropic": Contender(modules=("ai.providers.anthropic", _HTTP), open=adapter("anthropic")),
    "anthropic SDK": Contender(modules=("anthropic",), open=anthropic),
    "penstock, AI.ask": Contender(modules=("ai", "ledger", "ai.providers.openai", _HTTP), open=whole),
}
