"""
What people see of answers that were used again, and how they forget them.
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
from ledger import Ledger, NewRun
from ledger.caching import Hit, Question
from ledger.contract import Claim
from penstock.clock import SystemClock
from schemas.entries import Answer, ModelCall

ASK: dict[str, Any] = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
QUESTION = Question(key="ab" * 32, step="ask", keep=3600.0, patience=60.0)
SAVED = 1_234


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A hub in which one run paid for an answer, and another took it.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    monkeypatch.chdir(tmp_path / "hub")
    asyncio.run(_work(tmp_path / "hub"))
    return tmp_path / "hub"


async def _claimed(book: Ledger, event: str) -> Claim:
    place = {
        "source": "s",
        "subject": event,
        "body_hash": "h",
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "bus_time": 0,
    }
    run = NewRun(pipeline="ticket-summary", lane=event, event_id=event, config_hash="c", **place)
    claim = await book.claim(run)
    assert isinstance(claim, Claim)
    return claim


async def _work(project: Path) -> None:
    book = await ledger_room.open(project / ".penstock/ledger.db", clock=SystemClock())
    payer, taker = await _claimed(book, "1"), await _claimed(book, "2")
    says = Answer(
        output={"summary": "Late."}, model="small", provider="openai", label="openai/gpt", ask_hash="h", schema_hash="s"
    )
    await book.ask_for(QUESTION, payer)
    async with book.step(payer, "ask", **ASK) as step:
        usual = {"run": payer.run, "step": "ask", "model": "small", "provider": "openai", "request_model": "gpt"}
        async with step.call(amount=SAVED, caps=[]) as slot:
            await slot.settle(ModelCall(call=slot.call, cost=SAVED, at=SystemClock().now_ms(), **usual))
        await step.done(says.model_copy(update={"question": QUESTION.key, "cost": SAVED}).model_dump(mode="json"))
    async with book.step(taker, "ask", **ASK) as step:
        taken = says.model_copy(update={"cached": payer.run, "saved": SAVED})
        await step.done(taken.model_dump(mode="json"), hit=Hit(source=payer.run, model="small", saved=SAVED))
    for claim in (payer, taker):
        await book.finish(claim, "delivered", body=b"{}")
    await book.close()


def output(capsys: pytest.CaptureFixture[str], words: list[str], code: Exit = Exit.OK) -> tuple[str, str]:
    """
    Run a command that must end with *code*; return stdout and stderr.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    assert code == front.run(words), capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out, printed.err


def runs(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """
    Return the id of each run by its record.
    """
    listed = json.loads(output(capsys, ["runs", "--json"])[0])["runs"]
    return {run["subject"]: run["run"] for run in listed}


def test_a_run_says_whose_answer_it_has(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The sheet names the run that paid, and what was saved; that of the payer has no such words.
    """
    ids = runs(capsys)
    taken, _ = output(capsys, ["runs", "show", ids["2"]])
    paid, _ = output(capsys, ["runs", "show", ids["1"]])

    said = f"from the cache: paid for by run {ids['1']}, saved $0.001234"
    assert said in " ".join(taken.split())
    assert "from the cache" not in paid


def test_what_was_saved_is_a_column_of_its_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Hits are no calls, and what they saved is not part of the cost.
    """
    printed, _ = output(capsys, ["cost", "--by", "model"])
    found = json.loads(output(capsys, ["cost", "--by", "model,day", "--json"])[0])

    lines = [line.split() for line in printed.splitlines() if line.strip(" ─")]
    assert lines[0] == ["model", "calls", "in", "out", "cached", "cost", "hits", "saved", "errors"]
    assert lines[1] == ["small", "1", "0", "0", "0", "$0.001234", "1", "$0.001234"]
    assert [(line["calls"], line["cost"], line["hits"], line["saved"]) for line in found["lines"]] == [
        (1, SAVED, 1, SAVED)
    ]


def test_clearing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    All answers, or those of one pipeline that there is.
    """
    _, refused = output(capsys, ["cache", "clear", "--pipeline", "ticket-sumary"], Exit.INVALID)
    _, said = output(capsys, ["cache", "clear", "--pipeline", "ticket-summary"])
    printed, _ = output(capsys, ["cache", "clear", "--json"])

    assert "one of ticket-summary" in refused
    assert "1 question forgotten" in said
    assert json.loads(printed)["cleared"] == 0
