"""
A question's way from Slack through a hub in this process, and back: an answer, or a draft that somebody decides on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import pipelines
from ai.double import ModelDouble
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.slack.double import BOT, TOKEN, SlackDouble
from console.app import Hub, open_hub
from console.cli.deciding import decide
from console.serving import listening
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from schemas.entries import RunDetail

HOOK = "journey-signing-secret"
SECRETS = {"SLACK_BOT_TOKEN": TOKEN, "SLACK_SIGNING_SECRET": HOOK, "OPENAI_API_KEY": "sk-test"}
WITHIN = 60.0  # seconds


@dataclass
class Journey:
    """
    A workspace, a model, and a hub that runs between them.
    """

    slack: SlackDouble
    model: ModelDouble
    hub: Hub

    def asks(self, text: str = "Where is order 4711?") -> str:
        return f"C0SUPPORT1/{self.slack.say(text)['ts']}"

    def answers(self, record: str) -> list[str]:
        thread = record.partition("/")[2]
        said = self.slack.channels["C0SUPPORT1"]
        return [one["text"] for one in said if one.get("bot_id") == BOT and one.get("thread_ts") == thread]

    def drafts(self) -> list[dict[str, Any]]:
        return [one for one in self.slack.channels["C0REVIEW01"] if one.get("bot_id") == BOT]

    async def detail(self, record: str, state: str = "final") -> RunDetail:
        async with asyncio.timeout(WITHIN):
            while True:
                for run in await self.hub.ledger.runs(RunQuery(subject=record)):
                    detail = await self.hub.ledger.detail(run.run)
                    if run.state == state and run.verdict != "own-write" and detail is not None:
                        return detail
                await asyncio.sleep(0.02)

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(WITHIN):
            while not holds():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def journey(folder: Path, *, sure: bool, **more: Any) -> AsyncIterator[Journey]:
    """
    Start the worked example between doubles; whether the model is *sure* decides which delivery it takes.
    """
    slack = SlackDouble(token=TOKEN)
    bar = "output.confidence >= 0.0" if sure else "output.confidence >= 1.1"
    unless = "output.confidence < 0.0" if sure else "output.confidence < 1.1"
    async with ModelDouble(keys={"main": "sk-test"}) as model, serving(slack) as url:
        laid = {"connections.chat.url": f"{url}/api", "models.small.url": model.openai_url} | more
        laid["models.small.price_as"] = "openai/gpt-5-mini"
        root = overlay(HOUSE, folder / "hub", laid, pipelines=["slack-reply"])
        text = (root / "pipelines.yaml").read_text("utf-8")
        text = text.replace("output.confidence >= 0.8", bar).replace("output.confidence < 0.8", unless)
        (root / "pipelines.yaml").write_text(text, "utf-8")
        declared = pipelines.load(root / "pipelines.yaml").declaration
        assert declared is not None
        async with open_hub(declared, root, secrets=Secrets(SECRETS)) as hub:
            await hub.engine.start()
            try:
                async with listening(hub, "127.0.0.1", 0) as own:
                    slack.hooks.subscribe(f"{own}/in/chat", HOOK)
                    yield Journey(slack, model, hub)
            finally:
                await hub.engine.stop()


async def test_a_question_is_answered_in_its_thread(tmp_path: Path) -> None:
    """
    A placeholder appears, and becomes the answer: one message, one call; our own messages start nothing.
    """
    async with journey(tmp_path, sure=True) as way:
        record = way.asks()
        detail = await way.detail(record)
        await way.slack.hooks.settled()
        posts = [call for call in way.slack.calls if call["path"].endswith("postMessage")]

        assert detail.run.verdict == "delivered"
        assert len(way.answers(record)) == 1
        assert "please check" in way.answers(record)[0]
        assert len(posts) == 1, "the placeholder"
        assert len(detail.calls) == 1
        ours = [run for run in await way.hub.ledger.runs(RunQuery(subject=record)) if run.run != detail.run.run]
        assert {run.verdict for run in ours} <= {"own-write"}


async def test_what_slack_sends_twice_is_answered_once(tmp_path: Path) -> None:
    """
    A duplicate with another event id is the same event.
    """
    async with journey(tmp_path, sure=True) as way:
        record = way.asks()
        way.slack.tell_again()
        way.slack.tell_again()
        detail = await way.detail(record)
        await way.slack.hooks.settled()
        async with asyncio.timeout(WITHIN):
            while (await way.hub.ledger.detail(detail.run.run)).run.redelivered < 2:  # type: ignore[union-attr]
                await asyncio.sleep(0.02)

        assert len(way.answers(record)) == 1


async def test_an_approved_draft_is_sent(tmp_path: Path) -> None:
    """
    The run stands aside, the button brings it back, the answer stands in the thread, and nothing is paid again.
    """
    async with journey(tmp_path, sure=False) as way:
        record = way.asks()
        waiting = await way.detail(record, "aside")
        assert waiting.run.reason == "approval"
        assert way.answers(record) == []
        way.slack.press("approve")
        way.slack.press("approve")
        detail = await way.detail(record)
        await way.until(lambda: not [block for block in way.drafts()[0]["blocks"] if block["type"] == "actions"])

        assert (detail.run.verdict, detail.run.error) == ("delivered", "chat.approval: approved by U0NADIA01")
        assert len(way.answers(record)) == 1
        assert len(way.drafts()) == 1
        assert len(detail.calls) == 1
        assert [(one.what, one.person) for one in detail.decisions] == [("approved", "U0NADIA01")]
        assert [step.step for step in detail.steps] == ["ask", "chat.approval", "chat.approval/approved"]


async def test_an_edited_draft_is_sent_as_it_was_edited(tmp_path: Path) -> None:
    """
    Edit opens the form, and what is sent with it stands in the thread.
    """
    async with journey(tmp_path, sure=False) as way:
        record = way.asks()
        await way.detail(record, "aside")
        way.slack.press("edit")
        await way.until(lambda: way.slack.forms)
        way.slack.press("", text="It is in Lyon, I asked.")
        detail = await way.detail(record)

        assert way.answers(record) == ["It is in Lyon, I asked."]
        assert "with changes" in str(detail.run.error)


async def test_a_discarded_draft_ends_the_run(tmp_path: Path) -> None:
    """
    Nothing is sent, and who said no is known.
    """
    async with journey(tmp_path, sure=False) as way:
        record = way.asks()
        await way.detail(record, "aside")
        way.slack.press("discard")
        detail = await way.detail(record)

        assert (detail.run.verdict, detail.run.error) == ("discarded", "chat.approval: discarded by U0NADIA01")
        assert way.answers(record) == []


async def test_a_draft_nobody_looked_at(tmp_path: Path) -> None:
    """
    When its time is over the run ends, the draft says so, and a late button changes nothing.
    """
    deliver = [{"to": "chat.approval", "template": "slack-answer.j2", "expires": "1s"}]
    async with journey(tmp_path, sure=False, **{"pipelines.slack-reply.deliver": deliver}) as way:
        record = way.asks()
        detail = await way.detail(record)
        await way.until(lambda: "Nobody decided" in str(way.drafts()[0]["blocks"]))

        assert detail.run.verdict == "discarded"
        assert "in time" in str(detail.run.error)
        assert way.answers(record) == []


@pytest.mark.parametrize("changed", [None, "Said <by> hand."])
async def test_a_person_without_slack_decides(tmp_path: Path, changed: str | None) -> None:
    """
    `penstock runs decide RUN --approve` does what the button does, and `--text` what the form does.
    """
    async with journey(tmp_path, sure=False) as way:
        record = way.asks()
        waiting = await way.detail(record, "aside")
        draft = tmp_path / "draft.txt"
        draft.write_text(f"{changed}\n")
        code = await asyncio.to_thread(
            decide,
            way.hub.root / "pipelines.yaml",
            waiting.run.run,
            ["approved"],
            insist=False,
            state=None,
            as_json=False,
            text=None if changed is None else str(draft),
        )
        detail = await way.detail(record)

        assert code == 0
        assert detail.run.verdict == "delivered"
        assert len(way.answers(record)) == 1
        if changed is not None:
            assert way.answers(record) == ["Said &lt;by&gt; hand."]
            assert [one.text for one in detail.drafts] == [changed]


async def test_a_write_whose_answer_is_lost(tmp_path: Path) -> None:
    """
    The approved answer, the draft and the answer without approval each stand there once.
    """
    async with journey(tmp_path, sure=False) as way:
        way.slack.faults.add(Fault(kind="drop-after", match="chat.postMessage"))
        record = way.asks()
        await way.detail(record, "aside")
        way.slack.faults.add(Fault(kind="drop-after", match="chat.postMessage"))
        way.slack.press("approve")
        detail = await way.detail(record)

        assert detail.run.verdict == "delivered"
        assert len(way.drafts()) == 1
        assert len(way.answers(record)) == 1


async def test_a_run_that_dies_leaves_no_placeholder(tmp_path: Path) -> None:
    """
    When nothing will be written, the placeholder is taken away.
    """
    async with journey(tmp_path, sure=True) as way:
        way.slack.faults.add(
            Fault(kind="status", status=200, match="chat.update", body={"ok": False, "error": "is_archived"})
        )
        record = way.asks()
        detail = await way.detail(record)
        await way.until(lambda: not way.answers(record))

        assert detail.run.verdict == "dead"
