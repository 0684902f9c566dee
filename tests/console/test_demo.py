"""
The demo, and what can be read of it afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pipelines
from ai.estimates import estimate
from console.cli import front
from console.cli.exits import Exit
from console.demo import overlay
from console.demo.report import Scene
from console.demo.show import Played
from console.demo.tickets import TICKETS
from pipelines.models import model_spec
from schemas.entries import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """
    Play the demo once, as a person does; give its report and its state.
    """
    state = tmp_path_factory.mktemp("demo") / "state"
    words = [sys.executable, "-m", "penstock", "demo", "--fast", "--no-input", "--json", "--state", str(state)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert 0 == ended.returncode, ended.stderr
    yield json.loads(ended.stdout), state


def test_every_ticket_has_the_verdict_it_must_have(played: tuple[dict[str, Any], Path]) -> None:
    """
    The demo ends 0, and every ticket came to its verdict, with its note in the desk.
    """
    report, _ = played
    found = {ticket["ticket"]: (ticket["verdict"], ticket["notes"]) for ticket in report["tickets"]}

    assert {t.id: (t.verdict, 1 if t.verdict == "delivered" else 0) for t in TICKETS} == found
    assert [] == report["faults"]


def test_every_story_is_played(played: tuple[dict[str, Any], Path]) -> None:
    """
    A question in Slack is answered, by way of a draft that somebody approves; a mail gets a draft, and the automatic one
    behind it nothing; an account in the CRM is completed.
    """
    report, _ = played
    told = {one["story"]: one for one in report["stories"]}

    assert ["Slack question", "Mail", "CRM account"] == list(told)
    assert {"delivered"} == {one["verdict"] for one in told.values()}
    assert {0} == {one["cost_micro_usd"] for one in told.values()}
    assert all(one["tokens_kept"] > 0 for one in told.values())


def test_the_runs_of_the_stories_are_kept(
    played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """
    They have a state of their own beside the tickets', with the automatic mail that was left alone.
    """
    _, state = played
    mails = ["runs", "list", "--pipeline", "mail-draft", "--state", str(state / "stories"), "--json"]

    found = _json(capsys, mails)["runs"]

    assert {"delivered": 1, "filtered": 1} == Counter(run["verdict"] for run in found)


def test_the_second_delivery_is_counted_and_not_run(played: tuple[dict[str, Any], Path]) -> None:
    """
    A webhook that comes twice is one run, one note, and one redelivery.
    """
    report, _ = played
    (twice,) = [ticket for ticket in report["tickets"] if ticket["role"] == "delivered twice"]

    assert (1, 1) == (twice["redelivered"], twice["notes"])


def test_the_huge_ticket_stays_within_its_budget(played: tuple[dict[str, Any], Path]) -> None:
    """
    60 kB of log become at most the tokens of the context.
    """
    report, _ = played
    (huge,) = [ticket for ticket in report["tickets"] if ticket["role"].startswith("huge")]

    assert huge["tokens_wanted"] > 10_000
    assert huge["tokens_kept"] <= huge["tokens_budget"]


def test_our_own_notes_come_back_and_cost_nothing(
    played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The events our notes cause in the desk are own writes.
    """
    _, state = played

    echoes = _json(capsys, ["runs", "--verdict", "own-write", "--state", str(state), "--json"])["runs"]

    assert sum(ticket.verdict == "delivered" for ticket in TICKETS) == len(echoes)
    assert {0} == {run["cost"] for run in echoes}


def test_runs_are_listed_and_narrowed(played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """
    `runs` lists the newest first, `--subject` and `--verdict` narrow, the shape of `--json` has a version.
    """
    _, state = played
    everything = _json(capsys, ["runs", "--state", str(state), "--json"])
    spam = _json(
        capsys, ["runs", "list", "--subject", "4715", "--verdict", "filtered", "--state", str(state), "--json"]
    )

    assert (1, "runs") == (everything["version"], everything["kind"])
    times = [run["created_at"] for run in everything["runs"]]
    assert sorted(times, reverse=True) == times
    assert ["ticket/4715/created"] == [run["event_id"] for run in spam["runs"]]

    assert Exit.OK == front.run(["runs", "--state", str(state)])
    assert "ticket-summary" in capsys.readouterr().out


def test_a_narrow_terminal_keeps_what_matters(played: tuple[dict[str, Any], Path]) -> None:
    """
    The long record of a mail and the reason give way; run, pipeline and verdict stand there whole.
    """
    _, state = played
    words = [sys.executable, "-m", "penstock", "runs", "--pipeline", "mail-draft", "--state", str(state / "stories")]
    narrow = {**os.environ, "COLUMNS": "80"}
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, env=narrow).stdout.splitlines()

    assert ["run", "time", "(UTC)", "pipeline", "record", "verdict", "cost", "why"] == lines[0].split()
    for line, verdict in zip(lines[1:], ("filtered", "delivered"), strict=True):
        run, *_, pipeline, record, said, cost = line.split()[:7]
        assert (8, "mail-draft", True, verdict, "$0") == (len(run), pipeline, record.endswith("…"), said, cost)
    assert max(map(len, lines)) <= 80


def test_a_run_is_shown_on_one_sheet(played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """
    `runs show` has event, receipt, prompt, answer, calls and writes, and nothing that steers a terminal.
    """
    _, state = played
    (hostile,) = _json(
        capsys, ["runs", "--subject", "4713", "--verdict", "delivered", "--state", str(state), "--json"]
    )["runs"]

    code = front.run(["runs", "show", hostile["run"][:8], "--state", str(state)])

    shown = capsys.readouterr().out
    assert code == Exit.OK
    for part in ("event ticket.created", "receipt", "prompt: system", "prompt: user", "answer", "calls", "writes"):
        assert part in shown
    assert "IGNORE ALL PREVIOUS INSTRUCTIONS" in shown
    assert "\\u202e" in shown
    assert not {"\u202e", "\u200b"} & set(shown)


def test_an_unknown_run_is_a_finding(played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """
    A run that is not there ends with 1 and where to look.
    """
    _, state = played

    assert Exit.FINDINGS == front.run(["runs", "show", "ffffffff", "--state", str(state)])
    assert "penstock runs lists them" in capsys.readouterr().err


def test_preview_of_a_run_shows_the_prompt_it_had(
    played: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The frames of a preview are those of the run, nonce included.
    """
    _, state = played
    monkeypatch.setenv("PENSTOCK_STATE", str(state))
    (run,) = _json(capsys, ["runs", "--subject", "4717", "--verdict", "delivered", "--state", str(state), "--json"])[
        "runs"
    ]
    detail = _json(capsys, ["runs", "show", run["run"], "--state", str(state), "--json"])
    (ask,) = [step for step in detail["steps"] if step["kind"] == "ask"]

    words = [
        "preview",
        "ticket-summary",
        "--run",
        run["run"],
        "--offline",
        "--json",
        "-f",
        str(ROOT / "pipelines.yaml"),
    ]
    prompt = _json(capsys, words)["prompt"]

    assert f"<ticket {prompt['nonce']}>" in ask["receipt"]["prompt"]["user"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"verdict": "dead"}, "verdict dead instead of delivered"),
        ({"notes": ("a", "b")}, "2 notes instead of 1"),
        ({"status": "solved"}, "status 'solved'"),
        ({"public": 1}, "1 public replies"),
    ],
)
def test_what_is_not_as_it_must_be_is_a_fault(change: dict[str, Any], says: str) -> None:
    """
    The demo can fail: a wrong verdict, note, status or reply is said.
    """
    verdict = change.pop("verdict", "delivered")
    run = Run(
        run="0" * 32,
        tenant="",
        pipeline="p",
        lane="l",
        seq=1,
        source="s",
        event_id="e",
        subject="1",
        state="final",
        verdict=verdict,
    )
    scene = Scene(ticket=TICKETS[0], run=run, receipt=None, prompt="", notes=("a",), status="new", public=0)
    scene = replace(scene, **change)

    (fault,) = scene.faults

    assert says in fault


def test_a_second_delivery_nobody_noticed_is_a_fault() -> None:
    """
    The demo says when the ticket that came twice was not counted.
    """
    run = Run(
        run="0" * 32, tenant="", pipeline="p", lane="l", seq=1, source="s", event_id="e", subject="1", state="final"
    )
    scenes = {
        ticket.id: Scene(
            ticket=ticket,
            run=run.model_copy(update={"verdict": ticket.verdict}),
            receipt=None,
            prompt="",
            notes=("a",) if ticket.verdict == "delivered" else (),
            status="new",
            public=0,
        )
        for ticket in TICKETS
    }

    faults = Played(scenes=scenes, runs=(), deliveries=0, url="", seconds=0).faults

    assert ["ticket 4716: its second delivery was not recognised"] == faults


def test_a_state_that_is_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The demo begins anew: a folder with a ledger is not touched.
    """
    (tmp_path / "ledger.db").touch()

    assert Exit.INVALID == front.run(["demo", "--state", str(tmp_path), "--no-input"])
    assert "name a new folder" in capsys.readouterr().err


def test_a_real_model_needs_its_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `--model openai` without a key says which one is missing.
    """
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    assert Exit.INVALID == front.run(["demo", "--model", "openai", "--no-input"])
    assert "OPENAI_API_KEY" in capsys.readouterr().err


def _json(capsys: pytest.CaptureFixture[str], words: list[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert Exit.OK == front.run(words)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("choice", ["openai", "anthropic"])
def test_the_real_models_of_the_demo_have_a_price_and_fit_the_cap(choice: Any) -> None:
    """
    Whoever chooses a real model meets no unknown price and no cap on the way.
    """
    loaded = pipelines.load(ROOT / "pipelines.yaml")
    assert loaded.declaration is not None
    declaration = overlay.overlaid(loaded.declaration, desk="http://127.0.0.1:1", model=choice, state="x")
    pipeline = declaration.pipelines[overlay.PIPELINE]
    (name, written), *_ = declaration.models.items()

    costs = estimate(model_spec(name, written), 2500, 300)

    assert costs is not None
    assert pipeline.limits.per_event is not None
    assert costs[1] <= pipeline.limits.per_event


def test_the_overlay_leaves_the_examples_alone() -> None:
    """
    The demo lays the desk over the worked examples in memory; the declaration itself stays.
    """
    before = pipelines.load(ROOT / "pipelines.yaml").declaration
    after = pipelines.load(ROOT / "pipelines.yaml").declaration
    assert before is not None
    overlay.overlaid(before, desk="http://127.0.0.1:1", model="offline", state="x")

    assert before == after
