from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from ai.double import Fault
from ai.errors import AIError
from ai.pacing import Paced
from ai.providers import anthropic, azure, bedrock, dialogue, google, openai, vertex
from ai.providers.contract import Malformed, Reading
from ai.providers.dialogue import Asked, Replied
from ai.providers.faults import MOST_TOKENS
from ledger.contract import Cap
from penstock.http import Response
from tests.ai.faulty import BODIES, TEXTS, WIRE

DAY = "2026-11-24"
SCOPE = "pipeline:ticket-summary"
PROVIDERS = ("small", "azure", "large", "google", "vertex", "bedrock")
CANARY = "canary"
ADAPTERS = [
    (openai, dialogue.OPENAI), (azure, dialogue.OPENAI), (anthropic, dialogue.ANTHROPIC),
    (google, dialogue.GEMINI), (vertex, dialogue.VERTEX), (bedrock, dialogue.BEDROCK),
]  # fmt: skip
JUNK = [None, True, 1, -1, 2**70, 1.5, "x", [], [None], [[]], {}, {"x": 1}]


async def outcome(desk: Any, model: str, *, timeout: float = 20.0) -> str:
    """
    Ask once; return `ok` or the class, after the books were looked at.
    """
    claim = await desk.claim()
    before, _ = await desk.ledger.spent(SCOPE, DAY)
    try:
        await desk.ask(claim, model=model, timeout=timeout, caps=lambda: [Cap(scope=SCOPE, period=DAY, limit=10**12)])
        found = "ok"
    except AIError as error:
        assert CANARY not in f"{error!r}"
        assert len(str(error)) < 2_000
        found = error.error_class
    except Paced as error:
        assert CANARY not in f"{error!r}"
        found = "rate_limited"
        desk.ai.paces._pacers.clear()  # the next one is not about this
    spent, held = await desk.ledger.spent(SCOPE, DAY)
    calls = await desk.calls(claim)
    assert held == 0
    assert spent - before == sum(call.cost for call in calls)
    assert CANARY not in repr(calls)
    return found


def test_the_corpus_is_large() -> None:
    """
    There are at least sixty faulty answers.
    """
    assert len(TEXTS) + len(BODIES) + len(WIRE) >= 60


@pytest.mark.parametrize("model", PROVIDERS)
async def test_whatever_a_model_says(desk: Any, model: str) -> None:
    """
    Every faulty text ends in its class after one repair, or is used where it can be; the books are right.
    """
    wrong = {}
    for name, (text, allowed) in TEXTS.items():
        desk.double.answers.clear()
        desk.double.answers.extend([text, text, text])
        found = await outcome(desk, model)
        if found not in allowed.split("|"):
            wrong[name] = found

    assert {} == wrong


@pytest.mark.parametrize("model", PROVIDERS)
async def test_whatever_comes_as_a_success(desk: Any, model: str) -> None:
    """
    A success that is none of the provider's is `malformed_response`, however it looks.
    """
    wrong = {}
    for name, body in BODIES.items():
        desk.double.faults.append(Fault(kind="raw", body=body))
        found = await outcome(desk, model)
        if found != "malformed_response":
            wrong[name] = found

    assert {} == wrong


@pytest.mark.parametrize("model", PROVIDERS)
async def test_whatever_happens_on_the_way(desk: Any, model: str) -> None:
    """
    Breaks, silence, drips, floods and strange errors end in their class, in time.
    """
    wrong = {}
    for name, (fault, allowed) in WIRE.items():
        desk.double.faults.extend([fault, fault])
        found = await outcome(desk, model, timeout=0.6 if fault.seconds == 5 else 20)
        desk.double.faults.clear()
        if found != allowed:
            wrong[name] = found

    assert {} == wrong


def mutations(answer: Any) -> Iterator[tuple[str, Any]]:
    """
    Yield *answer* with each of its nodes replaced by each kind of junk, and with each left out.
    """
    for path in [*_paths(answer)]:
        for junk in [*JUNK, ...]:
            changed = copy.deepcopy(answer)
            place = changed
            for step in path[:-1]:
                place = place[step]
            if junk is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = junk
            yield f"{path}={junk!r}", changed


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, inner in steps:
        yield (*path, step)
        yield from _paths(inner, (*path, step))


@pytest.mark.parametrize("by_tool", [False, True])
@pytest.mark.parametrize("finish", ["stop", "length", "refusal"])
@pytest.mark.parametrize(("adapter", "words"), ADAPTERS)
def test_a_mutated_answer_is_read_or_malformed(adapter: Any, words: Any, finish: Any, by_tool: bool) -> None:
    """
    With any part of it of the wrong kind or missing, an answer is read, with counts that are counts, or is `Malformed`.
    """
    asked = Asked(model="m", user="u", schema={}, room=9, input=1, by_tool=by_tool)
    answer = words.reply(asked, Replied(text='{"a":1}', finish=finish, input=5, output=3), "a-1")
    for name, changed in mutations(answer):
        try:
            reading = adapter.read(Response(status=200, body=orjson.dumps(_small(changed))))
        except Malformed:
            continue
        assert isinstance(reading, Reading), name
        assert isinstance(reading.text, str), name
        assert reading.refusal is None or isinstance(reading.refusal, str), name
        assert reading.response_id is None or isinstance(reading.response_id, str), name
        assert all(0 <= count <= 4 * MOST_TOKENS for count in reading.usage.model_dump().values()), name
        assert reading.finish_reason in ("stop", "length", "content_filter", "context"), name


def _small(node: Any) -> Any:
    """
    Return *node* with its numbers as JSON can have them.
    """
    if isinstance(node, dict):
        return {name: _small(value) for name, value in node.items()}
    if isinstance(node, list):
        return [_small(value) for value in node]
    return 2**63 - 1 if isinstance(node, int) and node > 2**63 else node
