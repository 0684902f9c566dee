"""
`penstock docs` describes a hub on Kafka.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.cli import front, streams
from console.cli.exits import Exit

HUB = "version: 1\nhub: {bus: {kafka: 'k:9092', prefix: desk}}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    return tmp_path / "hub" / "pipelines.yaml"


def test_topics_and_groups_carry_the_prefix(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Each connection has a topic and each pipeline a group.
    """
    file.write_text(file.read_text().replace("version: 1\n", HUB))
    streams.out.cache_clear()
    capsys.readouterr()

    assert Exit.OK == front.run(["docs", "--asyncapi", "--file", str(file)])
    said = capsys.readouterr().out
    assert {"desk.events.helpdesk"} == {each["address"] for each in json.loads(said)["channels"].values()}
    assert "desk.ticket-summary" in said


@pytest.mark.parametrize("words", [["docs", "--asyncapi"], ["docs"]])
def test_without_kafka_or_a_question_there_is_nothing_to_say(file: Path, words: list[str]) -> None:
    """
    Both are refused with what to write.
    """
    assert Exit.INVALID == front.run([*words, "--file", str(file)])
