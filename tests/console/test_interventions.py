"""
What a person does at the command line about runs that died or stand aside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import ledger as ledger_room
from console.cli import front, streams
from console.cli.exits import Exit
from ledger import Ledger, NewRun, WriteIntent
from ledger.beats import Beat
from ledger.contract import Claim
from ledger.returning import Failure
from penstock.clock import SystemClock
from penstock.errors import Rejected, UnknownOutcome

BODY = (
    b'{"specversion":"1.0","id":"1","source":"s","type":"ticket.created","subject":"7","time":"2026-01-05T00:00:00Z"}'
)
NOTE = "helpdesk.internal_note"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    Make a project and go there.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    monkeypatch.chdir(tmp_path / "hub")
    return tmp_path / "hub"


def output(capsys: pytest.CaptureFixture[str], words: list[str], code: Exit | None = Exit.OK) -> tuple[str, str]:
    """
    Run a command that must end with *code*, when one is given; return stdout and stderr.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    ended = front.run(words)
    assert code in (ended, None), capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out, printed.err


def in_ledger(project: Path, work: Callable[[Ledger], Awaitable[Any]]) -> Any:
    """
    Do *work* on the project's ledger, as a hub would have.
    """

    async def opened() -> Any:
        book = await ledger_room.open(project / ".penstock/ledger.db", clock=SystemClock())
        try:
            return await work(book)
        finally:
            await book.close()

    return asyncio.run(opened())


def new(event: str, *, pipeline: str = "ticket-summary", lane: str | None = None) -> NewRun:
    return NewRun(
        pipeline=pipeline,
        lane=lane or event,
        source="s",
        event_id=event,
        subject=event,
        body_hash="h",
        config_hash="c",
        topic="t",
        partition=0,
        offset=0,
        bus_time=0,
    )


async def claimed(book: Ledger, run: NewRun) -> Claim:
    claim = await book.claim(run)
    assert isinstance(claim, Claim)
    return claim


async def die(book: Ledger, run: NewRun, *, answered: bool = False, why: str = "No such field.") -> None:
    """
    Let a run die: before it was asked about, or at its write.
    """
    claim = await claimed(book, run)
    if answered:
        async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            await step.done({})
        with pytest.raises(Rejected):
            async with book.step(claim, NOTE, kind="write", action_class="read-back", timeout=5):
                raise Rejected(why)
    failed = Failure(step=NOTE if answered else "context", config_hash="c")
    await book.finish(claim, "dead", why=why, body=BODY, failed=failed)


async def park(book: Ledger, run: NewRun) -> None:
    """
    Let a blind write end without an answer.
    """
    claim = await claimed(book, run)
    intent = WriteIntent(connection="helpdesk", record="7", fields={}, value_hash="v")
    with pytest.raises(UnknownOutcome):
        async with book.step(claim, NOTE, kind="write", action_class="blind", timeout=5, write=intent):
            raise UnknownOutcome
    await book.aside(claim, "parked", BODY, why="nobody knows")


async def deliver(book: Ledger, run: NewRun) -> None:
    await book.finish(await claimed(book, run), "delivered", body=BODY)


def dead_letters(project: Path) -> None:
    """
    Leave one that was never asked about, one that died at its write, and one that is older than a delivered run.
    """

    async def work(book: Ledger) -> None:
        await die(book, new("1"))
        await die(book, new("2"), answered=True, why="The field is locked.")
        await die(book, new("3", lane="x"))
        await deliver(book, new("4", lane="x"))
        await book.conclude(new("5"), "dead", "The message is not a CloudEvent")

    in_ledger(project, work)


# ---- replay --------------------------------------------------------------------------------------


def test_a_replay_is_a_plan_until_somebody_says_yes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    How many, what is paid, what is written, what is newer, what cannot be: printed, ends with 10, nothing done.
    """
    dead_letters(project)
    printed, said = output(capsys, ["replay"], Exit.CHANGES)
    data = json.loads(output(capsys, ["replay", "--json"], Exit.CHANGES)[0])

    assert "3 runs of 4 would be replayed" in printed
    assert "ask: 1 with the answer that is paid already" in printed
    assert "ask: 1 asked, at most $0.0" in printed
    assert f"{NOTE}: 2 written" in printed
    assert "1 end superseded" in printed
    assert "left alone: " + new("5").run[:8] in printed
    assert "--yes" in said
    assert (3, 1, 1, []) == (data["coming_back"], data["giving_way"], data["asked"], data["came_back"])
    assert 0 < data["worst_case_micro_usd"]
    assert ["1", "2", "3", "5"] == [run["subject"] for run in data["runs"]]
    assert ["context", NOTE, "context", "trigger"] == [run["failed_step"] for run in data["runs"]]
    states = in_ledger(project, lambda book: book.counts())
    assert {("ticket-summary", "dead"): 4, ("ticket-summary", "delivered"): 1} == states


def test_yes_lets_them_come_back_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The second time there is nothing left to replay but what cannot be.
    """
    dead_letters(project)
    _, said = output(capsys, ["replay", "--yes"])
    _, again = output(capsys, ["replay", "--yes"])
    shown, _ = output(capsys, ["runs", "show", new("1").run])

    assert "3 runs came back" in said
    assert "nothing to replay" in again
    assert "decisions\n  replay  by " in shown
    states = in_ledger(project, lambda book: book.counts())
    assert 3 == states["ticket-summary", "waiting"]


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        (["--reason", "FIELD IS locked"], ["2"]),
        (["--reason", "100%"], []),
        (["--subject", "3"], ["3"]),
        (["--limit", "2"], ["1", "2"]),
        (["--since", "1h"], ["1", "2", "3", "5"]),
        (["--until", "1h"], []),
        (["--pipeline", "other"], []),
        (["--verdict", "delivered", "--again"], ["4"]),
        ([new("3").run[:12], new("1").run], ["1", "3"]),
    ],
)
def test_what_is_replayed_is_chosen(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], subjects: list[str]
) -> None:
    """
    By id, reason, record, time, pipeline, verdict and number; the oldest first.
    """
    dead_letters(project)
    code = Exit.CHANGES if subjects else Exit.OK
    data = json.loads(output(capsys, ["replay", "--json", *words], code)[0])

    assert subjects == [run["subject"] for run in data["runs"]]


def test_who_insists_pays_for_the_older_one_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With --even-if-newer the older run would be asked about as well.
    """
    dead_letters(project)
    data = json.loads(output(capsys, ["replay", "--even-if-newer", "--json"], Exit.CHANGES)[0])

    assert (0, 2) == (data["giving_way"], data["asked"])


def test_again_says_that_everything_is_paid_and_written_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Its plan shouts, and only --yes acts.
    """
    dead_letters(project)
    name = new("2").run
    printed, _ = output(capsys, ["replay", name, "--again"], Exit.CHANGES)
    output(capsys, ["replay", name, "--again", "--yes"])

    assert "ask: 1 asked and paid AGAIN, at most $0.0" in printed
    assert f"{NOTE}: 1 written AGAIN" in printed
    assert 1 == in_ledger(project, lambda book: book.detail(name)).run.generation


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--verdict", "delivered"], Exit.INVALID, "--again asks, pays and writes again"),
        (["--verdict", "waiting"], Exit.INVALID, "is no verdict"),
        (["ffffffffff"], Exit.INVALID, "no run begins with"),
        ([new("5").run], Exit.FINDINGS, "nothing to replay"),
        (["--until", "yesterday"], Exit.INVALID, "--until"),
    ],
)
def test_what_cannot_be_replayed_says_why(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: Exit, message: str
) -> None:
    """
    A wrong choice is refused with the way out.
    """
    dead_letters(project)
    _, said = output(capsys, ["replay", *words], code)

    assert message in said


def test_runs_of_a_pipeline_that_is_gone_are_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Nobody would take them up.
    """
    in_ledger(project, lambda book: die(book, new("1", pipeline="old")))
    printed, _ = output(capsys, ["replay"])

    assert "pipeline old is not declared any more" in printed


# ---- decide --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"), [("--delivered", "waiting"), ("--again", "waiting"), ("--discard", "discarded")]
)
def test_a_parked_run_is_decided(project: Path, capsys: pytest.CaptureFixture[str], word: str, state: str) -> None:
    """
    It goes on, or ends; who said so is shown. A second decision finds nothing to decide.
    """
    in_ledger(project, lambda book: park(book, new("1")))
    name = new("1").run
    _, said = output(capsys, ["runs", "decide", name[:10], word])
    shown, _ = output(capsys, ["runs", "show", name])
    _, twice = output(capsys, ["runs", "decide", name, "--discard"], Exit.INVALID)

    assert name[:8] in said
    assert state in shown
    assert "by " in shown.split("decisions")[1].splitlines()[1]
    assert f"is {state}: there is nothing to decide" in twice


@pytest.mark.parametrize("words", [[], ["--again", "--discard"]])
def test_a_decision_is_one(project: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """
    None, or two at once, is refused.
    """
    in_ledger(project, lambda book: park(book, new("1")))
    _, said = output(capsys, ["runs", "decide", new("1").run, *words], Exit.INVALID)

    assert "one of --delivered, --again, --approve, --discard" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--discard", "--text", "draft.txt"], "only what is approved is sent"),
        (["--approve", "--text", "missing.txt"], "missing.txt cannot be read"),
        (["--approve", "--text", "empty.txt"], "there is no text in empty.txt"),
        (["--approve", "--text", "bytes.txt"], "bytes.txt cannot be read"),
    ],
)
def test_a_changed_draft_is_text(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    """
    What cannot be sent is refused before anything is decided.
    """
    monkeypatch.chdir(project)
    for name, content in (("draft.txt", b"So."), ("empty.txt", b" \n"), ("bytes.txt", b"\xff")):
        (project / name).write_bytes(content)
    in_ledger(project, lambda book: park(book, new("1")))
    _, said = output(capsys, ["runs", "decide", new("1").run, *words], Exit.INVALID)

    assert says in said


# ---- pauses --------------------------------------------------------------------------------------


def test_a_pipeline_is_paused_and_resumed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Who looks at runs, pipelines or the machine is told of the pause, its reason and its end.
    """
    in_ledger(project, lambda book: die(book, new("1")))
    _, said = output(capsys, ["pause", "ticket-summary", "--for", "2h", "--reason", "the desk moves"])
    (kept,) = in_ledger(project, lambda book: book.pauses())
    told = [
        output(capsys, ["runs"])[1],
        output(capsys, ["pipelines"])[1],
        output(capsys, ["doctor", "--offline"], code=None)[0],
    ]
    shown = json.loads(output(capsys, ["pipelines", "--json"])[0])["pipelines"]
    output(capsys, ["resume", "ticket-summary"])
    _, twice = output(capsys, ["resume", "ticket-summary"], Exit.FINDINGS)

    assert "ticket-summary is paused until 2" in said
    assert 7_200_000 - 600_000 < kept.until - kept.since <= 7_200_000
    assert [] == [text for text in told if "the desk moves (" not in text]
    assert {"dead": 1} == shown[0]["runs"]
    assert "the desk moves (" in shown[0]["paused"]["reason"]
    assert "is not paused" in twice
    assert [] == in_ledger(project, lambda book: book.pauses())


def test_a_fuse_that_blew_shows_in_doctor(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Which pipeline, at which record, until when; and it is something to mend.
    """

    async def blow(book: Ledger) -> None:
        claim = await book.claim(new("1"))
        assert isinstance(claim, Claim)
        await book.blow(claim, until=SystemClock().now_ms() + 60_000, limit="100/hour")
        await book.finish(claim, "dead", body=BODY)

    in_ledger(project, blow)
    found = json.loads(output(capsys, ["doctor", "--offline", "--json"], code=None)[0])["findings"]
    (fuse,) = [one for one in found if one["what"] == "fuse"]

    assert fuse["state"] == "bad"
    assert "ticket-summary wrote too often for '1' (limits.fuse) at 2" in fuse["says"]
    assert "1 of its events ended dead" in fuse["says"]


@pytest.mark.parametrize(
    ("ago", "silence", "state", "says"),
    [
        (3.0, "2h", "bad", "silent for 3.0 h: its last event came at 2"),
        (1.0, "2h", "ok", "and at most 2h of silence are allowed"),
        (3.0, "usual", "ok", "; what is usual is not known yet"),
        (3.0, "off", None, ""),
    ],
)
def test_a_silent_source_shows_in_doctor(
    project: Path, capsys: pytest.CaptureFixture[str], ago: float, silence: str, state: str | None, says: str
) -> None:
    """
    How long it is silent, and what was to be expected; who speaks is told of as well.
    """

    async def listen(book: Ledger) -> None:
        at = SystemClock().now_ms() - int(ago * 3_600_000)
        names = [("helpdesk", "webhook"), ("helpdesk", "*")]
        beats = [Beat(connection=connection, source=source, events=1, at=at) for connection, source in names]
        await book.beat(beats, watched=names, gap=600)

    in_ledger(project, listen)
    text = (project / "pipelines.yaml").read_text()
    (project / "pipelines.yaml").write_text(
        text.replace("connections:", f"hub: {{silence: {silence}}}\n\nconnections:", 1)
    )
    found = json.loads(output(capsys, ["doctor", "--offline", "--json"], code=None)[0])["findings"]
    sources = [one for one in found if one["what"].startswith("source ")]

    assert [one["state"] for one in sources] == ([] if state is None else [state])
    assert all(says.removeprefix("and ") in one["says"] for one in sources)
    assert [one["what"] for one in sources] in ([], ["source helpdesk" + ("/webhook" if silence == "usual" else "")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ticket-sumary"], "one of ticket-summary"),
        (["ticket-summary", "--for", "soon"], "is no span"),
        (["ticket-summary", "--until", "soon"], "is no date or time"),
        (["ticket-summary", "--until", "2020-01-01"], "has passed"),
        (["ticket-summary", "--until", "2999-01-01", "--for", "2h"], "say one of them"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """
    With what to write instead; nothing is paused.
    """
    in_ledger(project, lambda book: book.counts())
    _, said = output(capsys, ["pause", *words], Exit.INVALID)

    assert message in said
    assert [] == in_ledger(project, lambda book: book.pauses())


# ---- pipelines that are gone ---------------------------------------------------------------------


def test_run_refuses_while_runs_are_left_of_a_pipeline_that_is_gone(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It names both ways out: retire it, or say which pipeline takes over.
    """
    for name in ("ZENDESK_TOKEN", "ZENDESK_HOOK", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "made-up")
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("subdomain: acme ", "url: http://127.0.0.1:9\n    subdomain: acme "))
    in_ledger(project, lambda book: park(book, new("1", pipeline="old")))
    _, refused = output(capsys, ["run", "--once"], Exit.INVALID)
    listed, _ = output(capsys, ["pipelines"])
    _, plan = output(capsys, ["pipelines", "retire", "old"], Exit.CHANGES)
    written = file.read_text()
    file.write_text(written.replace("  ticket-summary:\n", "  ticket-summary:\n    was: old\n"))
    output(capsys, ["run", "--once"])
    adopted = in_ledger(project, lambda book: book.counts())

    assert "write `was: old`" in refused
    assert "penstock pipelines retire old" in refused
    assert "not declared" in listed
    assert "1 run of old (1 aside) would end as discarded" in plan
    assert {("ticket-summary", "aside"): 1} == adopted


def test_retired_is_discarded(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With --yes; a pipeline that is declared is not retired.
    """
    in_ledger(project, lambda book: park(book, new("1", pipeline="old")))
    _, said = output(capsys, ["pipelines", "retire", "old", "--yes"])
    _, nothing = output(capsys, ["pipelines", "retire", "old", "--yes"])
    _, refused = output(capsys, ["pipelines", "retire", "ticket-summary"], Exit.INVALID)

    assert "1 run of old ended as discarded" in said
    assert "no runs that are not final" in nothing
    assert "is declared" in refused
    assert {("old", "discarded"): 1} == in_ledger(project, lambda book: book.counts())
