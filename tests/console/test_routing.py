"""
`penstock cost routing`: how far asks had to climb, and what that saved.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import ledger as ledger_room
from console.cli import front, streams
from console.cli.exits import Exit
from ledger import NewRun
from ledger.pairing import SHADOW, Pair
from penstock.clock import SystemClock
from schemas.entries import ModelCall, Usage

ASK: dict[str, Any] = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
USAGE = Usage(input=1000, output=100)  # small: 120 micro-USD, large: 1,200
SMALL, LARGE = {"model": "small", "cost": 120}, {"model": "large", "cost": 1200, "rung": 1}
ROUTED = """version: 1
connections:
  helpdesk:
    connector: zendesk
    subdomain: acme
    email: hub@acme.example
    api_token: ${env:ZENDESK_TOKEN}
    webhook_secret: ${env:ZENDESK_HOOK}
models:
  small: {provider: openai, model: one, url: "http://llm.example/v1", window: 32k, price: {input: 0.1 USD, output: 0.2 USD}}
  large: {provider: openai, model: two, url: "http://llm.example/v1", window: 32k, price: {input: 1 USD, output: 2 USD}}
  spare: {provider: offline, model: extractive}
routes:
  cheap-first: {try: [small, large], escalate_when: output.confidence < 0.75}
pipelines:
  ticket-summary:
    trigger: {connection: helpdesk, events: [ticket.created]}
    context:
      tokens: 2000
      sections:
        ticket: {from: event.data, fields: [subject, description], cut: middle}
    ask: {route: cheap-first, template: ticket-summary.j2, output: ticket-summary.json}
    deliver:
      - {to: helpdesk.internal_note, template: ticket-note.j2}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A hub whose one pipeline asks a cheap model first.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    monkeypatch.chdir(tmp_path / "hub")
    (tmp_path / "hub" / "pipelines.yaml").write_text(ROUTED)
    return tmp_path / "hub"


async def asked(project: Path, *asks: list[dict[str, Any]]) -> None:
    """
    Let each of *asks* have made its calls.
    """
    clock = SystemClock()
    book = await ledger_room.open(project / ".penstock/ledger.db", clock=clock)
    place = {"source": "s", "subject": "7", "body_hash": "h", "topic": "t", "partition": 0, "offset": 0, "bus_time": 0}
    for number, calls in enumerate(asks):
        run = NewRun(pipeline="ticket-summary", lane=f"{number}", event_id=f"{number}", config_hash="c", **place)
        claim: Any = await book.claim(run)
        usual = {"run": run.run, "step": "ask", "provider": "openai", "request_model": "m", "usage": USAGE}
        async with book.step(claim, "ask", **ASK) as step:
            for call in calls:
                async with step.call(amount=0, caps=[]) as slot:
                    await slot.settle(ModelCall(call=slot.call, at=clock.now_ms(), **usual | call))
            await step.done({})
        await book.finish(claim, "delivered")
    await book.close()


def output(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    assert Exit.OK == front.run(["cost", "routing", *words]), capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_route_says_what_it_saved(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Share per rung, escalations by cause, and the difference to always asking the dearest model.
    """
    unsure, wrong = LARGE | {"cause": "unsure"}, LARGE | {"cause": "invalid_output"}
    asks = [*[[SMALL]] * 7, [SMALL, unsure], [SMALL, unsure], [SMALL, SMALL, wrong], [{"model": "spare"}]]
    asyncio.run(asked(project, *asks))

    (line,) = json.loads(output(capsys, "--json")[0])["routes"]

    assert line == {
        "pipeline": "ticket-summary",
        "route": "cheap-first",
        "rungs": [
            {"model": "small", "asks": 7, "cost": 11 * 120, "share": 0.7},
            {"model": "large", "asks": 3, "cost": 3 * 1200, "share": 0.3},
        ],
        "asks": 10,
        "cost": 11 * 120 + 3 * 1200,
        "escalations": {"unsure": 2, "invalid_output": 1},
        "elsewhere": 1,
        "dearest": "large",
        "saved": 10 * 1200 - (11 * 120 + 3 * 1200),
        "shadow": {
            "share": 0.0,
            "fields": ["mood", "language"],
            "pairs": 0,
            "agreement": None,
            "agreement_95": None,
            "escalated_pairs": 0,
            "escalated_agree": 0,
            "cost": 0,
        },
        "proposal": None,
    }
    printed, _ = output(capsys)
    assert "about $0.00708" in printed
    assert "unsure 2, invalid_output 1; 1 ask of other models" in " ".join(printed.split())


def test_a_route_may_cost_more_than_it_saves(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    When every ask climbs, both models are paid; a number below zero says so.
    """
    asyncio.run(asked(project, *[[SMALL, LARGE | {"cause": "unsure"}]] * 2))

    assert json.loads(output(capsys, "--json")[0])["routes"][0]["saved"] == -240
    assert "-$0.00024" in output(capsys)[0]


def test_nothing_is_compared_with_an_unknown_price(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    What nobody knows is said to be unknown.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace(", price: {input: 1 USD, output: 2 USD}", ""))
    asyncio.run(asked(project, [SMALL]))

    (line,) = json.loads(output(capsys, "--json")[0])["routes"]
    assert (line["dearest"], line["saved"]) == (None, None)
    assert "unknown" in output(capsys)[0]


def test_a_hub_without_routes_is_told_how(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    There is nothing to show, and a place to read on.
    """
    asyncio.run(asked(project, [SMALL]))

    assert "no pipeline has a route" in output(capsys, "--pipeline", "another")[1]


def compared(project: Path, count: int, *, escalated: int = 0, differ: int = 0, share: str = "10%") -> None:
    """
    Let the route have a shadow, and *count* used answers be compared, of which *differ* are others.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("< 0.75}", f"< 0.75, shadow: {share}}}"))
    usual: dict[str, Any] = {"route": "cheap-first", "small": "small", "large": "large", "share": 0.1}
    costs = {"small_cost": 120, "large_cost": 1200}

    async def keep() -> None:
        clock = SystemClock()
        book = await ledger_room.open(project / ".penstock/ledger.db", clock=clock)
        place = {"source": "s", "subject": "7", "body_hash": "h", "topic": "t", "partition": 0, "offset": 0}
        for number in range(count + escalated):
            run = NewRun(
                pipeline="ticket-summary", lane=f"{number}", event_id=f"p{number}", config_hash="c", bus_time=0, **place
            )
            claim: Any = await book.claim(run)
            kept = number < count
            score = 0.76 + 0.24 * number / count if kept else 0.5 + 0.24 * (number - count) / escalated
            pair = Pair(kept=kept, agree=number >= differ, scores={"output.confidence": score}, **usual | costs)
            async with book.step(claim, SHADOW, kind="lookup", action_class="ai", timeout=60.0) as step:
                if kept:
                    async with step.call(amount=2_000, caps=[], model="large") as slot:
                        call = {"run": run.run, "step": SHADOW, "provider": "openai", "request_model": "m"}
                        entry = ModelCall(call=slot.call, at=clock.now_ms(), cost=1200, model="large", rung=1, **call)
                        await slot.settle(entry, with_step=True)
                await step.done({}, pair=pair)
            await book.finish(claim, "delivered")
        await book.close()

    asyncio.run(keep())


def test_a_shadow_says_how_often_models_agree(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Of the used answers, with Wilson's interval; what comparing cost is no cost of the route.
    """
    compared(project, 10, escalated=2, differ=5)
    (line,) = json.loads(output(capsys, "--json")[0])["routes"]

    assert (line["asks"], line["elsewhere"], line["cost"]) == (0, 0, 0)
    assert line["shadow"] == {
        "share": 0.1,
        "fields": ["mood", "language"],
        "pairs": 10,
        "agreement": 0.5,
        "agreement_95": [0.2366, 0.7634],
        "escalated_pairs": 2,
        "escalated_agree": 2,
        "cost": 12_000,
    }
    printed, _ = output(capsys)
    assert "10 kept answers compared, 50.0% agree (23.7% to 76.3%); shadows cost $0.012" in printed


def test_a_threshold_is_proposed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Every answer agreed: the threshold may fall, and what that saves is told.
    """
    compared(project, 240, escalated=60)
    (line,) = json.loads(output(capsys, "--json", "--propose", "--disagreement", "5%")[0])["routes"]
    found = line["proposal"]

    assert (found["target"], found["why_not"]) == (0.05, None)
    assert found["escalate_when"] == "output.confidence < 0.5"
    assert found["proposed"]["share_kept"] == 1.0
    assert found["now"]["share_kept"] == pytest.approx(2_400 / 2_460)
    assert found["saved_against_now"] == round(1_000 * 1_200 * 60 / 2_460)
    assert found["saved_against_large"] == 1_000 * (1_200 - 120)
    assert found["escalated_at_most"] == 0.9
    printed, _ = output(capsys, "--propose", "--disagreement", "5%")
    assert "escalate_when: output.confidence < 0.5   (now output.confidence < 0.75)" in printed


def test_few_pairs_say_when_there_will_be_enough(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    How many are there, and a day.
    """
    compared(project, 5)

    assert "5 of 200 compared answers are there; there will probably be enough on 20" in output(capsys, "--propose")[0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("output.confidence < 0.75", "output.mood == 'angry'", "`escalate_when` compares no single number"),
        ("", "", "0 of 200 compared answers are there; give the route a `shadow`"),
    ],
)
def test_what_cannot_be_proposed_says_why(
    project: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    """
    An expression of another kind, or nothing to go by.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace(old, new))
    asyncio.run(asked(project, [SMALL]))

    assert says in output(capsys, "--propose")[0]


def test_a_schema_of_free_text_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nothing can be compared, whatever the share.
    """
    schema = {"type": "object", "additionalProperties": False, "properties": {"summary": {"type": "string"}}}
    (project / "schemas/ticket-summary.json").write_text(json.dumps(schema))
    compared(project, 0)

    assert "no field of the answer can be compared" in output(capsys)[0]


def test_a_share_that_is_none_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One clear error, with its place.
    """
    assert front.run(["cost", "routing", "--propose", "--disagreement", "two"]) == Exit.INVALID
    assert "--disagreement" in capsys.readouterr().err
