"""
`penstock cost`: who spent how much, to the micro-dollar.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

import ledger as ledger_room
from console.cli import front, streams
from console.cli.exits import Exit
from ledger import Ledger, NewRun
from penstock.clock import SystemClock
from schemas.entries import ModelCall, Usage

ASK: dict[str, Any] = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
LATE_EVENING = int(datetime(2026, 11, 24, 23, 30, tzinfo=UTC).timestamp() * 1000)
SINCE = ["--since", "2026-11-01"]
CONFIGS = {
    "c1": {"labels": {"team": "support", "feature": "briefing", "tier": "gold"}},
    "c2": {"labels": {"team": "sales", "region": "eu"}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """
    A hub in Paris that asked some models on an evening.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    monkeypatch.chdir(tmp_path / "hub")
    file = tmp_path / "hub" / "pipelines.yaml"
    file.write_text(file.read_text().replace("version: 1\n", "version: 1\nhub: {timezone: Europe/Paris}\n"))
    asyncio.run(_spend(tmp_path / "hub"))
    capsys.readouterr()
    return tmp_path / "hub"


async def _spend(project: Path) -> None:
    book = await ledger_room.open(project / ".penstock/ledger.db", clock=SystemClock())
    for name, config in CONFIGS.items():
        await book.remember_config(name, orjson.dumps(config).decode())
    hour = 3_600_000
    for event, config, user, at, call in (
        ("1", "c1", "ann", LATE_EVENING - hour, {"cost": 1_500_001, "usage": Usage(input=900, output=80)}),
        ("2", "c1", "bob", LATE_EVENING, {"cost": 20, "late": True}),
        ("3", "c2", "ann", LATE_EVENING, {"cost": 0, "outcome": "rate_limited"}),
        ("4", "c2", "ann", LATE_EVENING, {"cost": 0, "priced": False, "model": "home-made"}),
        ("5", "c2", "", LATE_EVENING, {"cost": 700, "outcome": "lost"}),
    ):
        await _asked(book, event, config, user, {"at": at, **call})
    await book.close()


async def _asked(book: Ledger, event: str, config: str, user: str, entry: dict[str, Any]) -> None:
    place = {
        "source": "s",
        "subject": event,
        "body_hash": "h",
        "topic": "t",
        "partition": 0,
        "offset": 0,
        "bus_time": 0,
    }
    run = NewRun(pipeline="ticket-summary", lane=event, event_id=event, config_hash=config, user=user, **place)
    claim: Any = await book.claim(run)
    usual = {"run": run.run, "step": "ask", "model": "small", "provider": "openai", "request_model": "gpt"}
    async with book.step(claim, "ask", **ASK) as step, step.call(amount=0, caps=[]) as slot:
        await slot.settle(ModelCall(call=slot.call, **usual | entry))
    await book.finish(claim, "delivered")


def output(capsys: pytest.CaptureFixture[str], words: list[str], code: Exit = Exit.OK) -> tuple[str, str]:
    """
    Run a command that must end with *code*; return stdout and stderr.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    assert code == front.run(["cost", *words]), capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out, printed.err


def sums(capsys: pytest.CaptureFixture[str], by: str) -> dict[tuple[str, ...], int]:
    """
    Return the money by the values of *by*.
    """
    found = json.loads(output(capsys, ["--by", by, *SINCE, "--json"])[0])
    assert found["by"] == by.split(",")
    return {tuple(line[name] for name in found["by"]): line["cost"] for line in found["lines"]}


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("pipeline", {("ticket-summary",): 1_500_721}),
        ("feature", {("briefing",): 1_500_021, ("",): 700}),
        ("team", {("support",): 1_500_021, ("sales",): 700}),
        ("tier", {("gold",): 1_500_021, ("",): 700}),
        ("region", {("",): 1_500_021, ("eu",): 700}),
        ("tenant", {("",): 1_500_721}),
        ("user", {("ann",): 1_500_001, ("bob",): 20, ("",): 700}),
        ("model", {("small",): 1_500_721, ("home-made",): 0}),
        ("day", {("2026-11-24",): 1_500_001, ("2026-11-25",): 720}),  # the day begins in Paris at 23:00 UTC
        ("team,user", {("support", "ann"): 1_500_001, ("support", "bob"): 20, ("sales", "ann"): 0, ("sales", ""): 700}),
    ],
)
def test_money_is_attributed(
    project: Path, capsys: pytest.CaptureFixture[str], by: str, expected: dict[tuple[str, ...], int]
) -> None:
    """
    By what calls carry themselves, and by the labels their pipeline had; every sum is exact.
    """
    assert expected == sums(capsys, by)


def test_the_json_has_everything(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Its names are those of the ledger; late and lost money is part of the cost and shown, unknown prices are counted.
    """
    found = json.loads(output(capsys, ["--by", "pipeline", *SINCE, "--json"])[0])

    assert (found["kind"], found["timezone"], found["over"]) == ("cost", "Europe/Paris", False)
    assert found["lines"] == [{"pipeline": "ticket-summary", **found["total"]}]
    assert found["total"] == {
        "calls": 5,
        "tokens_in": 900,
        "tokens_out": 80,
        "tokens_cached": 0,
        "cost": 1_500_721,
        "late": 20,
        "swept": 0,
        "lost": 700,
        "unpriced": 1,
        "outcomes": {"ok": 3, "rate_limited": 1, "lost": 1},
        "hits": 0,
        "saved": 0,
    }


def test_the_table_reads_well(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A line per value, the total, and a word on what nobody knows.
    """
    printed, said = output(capsys, ["--by", "model", *SINCE])

    lines = [line.split() for line in printed.splitlines() if line.strip(" ─")]
    assert lines[0] == ["model", "calls", "in", "out", "cached", "cost", "late", "lost", "errors"]
    assert lines[1][:7] == ["small", "4", "900", "80", "0", "$1.500721", "$0.00002"]
    assert lines[2][5] == "unknown"
    assert lines[3][:8] == ["total", "5", "900", "80", "0", "$1.500721", "+", "unknown"]
    assert "the cost of 1 call is unknown" in said


@pytest.mark.parametrize(
    ("most", "more", "code", "says"),
    [
        ("1.500700 USD", [], Exit.BUDGET, "1.500721 USD were spent, more than 1.5007 USD"),
        ("100 USD", [], Exit.BUDGET, "nobody can say whether more than 100 USD were spent"),
        ("1.500001 USD", ["--until", "2026-11-25"], Exit.OK, ""),
        ("1.50 USD", ["--until", "2026-11-25"], Exit.BUDGET, "more than 1.5 USD"),
        ("0.01 USD", ["--pipeline", "another"], Exit.OK, "no model was asked"),
        ("100 dollars", [], Exit.INVALID, "--fail-over"),
    ],
)
def test_a_script_can_stop_at_an_amount(
    project: Path, capsys: pytest.CaptureFixture[str], most: str, more: list[str], code: Exit, says: str
) -> None:
    """
    5 when more was spent, or when the cost of some calls is unknown; days are the hub's.
    """
    _, said = output(capsys, [*SINCE, "--fail-over", most, *more], code)

    assert says in said


def test_a_typing_error_is_no_label(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A word nobody uses is refused, with those that somebody does.
    """
    _, said = output(capsys, ["--by", "taem", *SINCE], Exit.INVALID)

    assert "'taem'" in said
    assert "pipeline, tenant, user, model, day, feature, region, team, tier" in said


def test_a_ledger_is_enough(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a declaration days are UTC's.
    """
    monkeypatch.chdir("/")

    found = json.loads(output(capsys, ["--state", str(project / ".penstock"), *SINCE, "--by", "day", "--json"])[0])

    assert [line["day"] for line in found["lines"]] == ["2026-11-24"]
