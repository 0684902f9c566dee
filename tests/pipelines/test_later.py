"""
Keys that a later version carries out are refused by `run` from one table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import later, load
from pipelines.shape import known_keys
from tests.pipelines.corpus.harness import BASE

GOOD = (BASE / "pipelines.yaml").read_text("utf-8")
EVENTS = "      events: [ticket.created]\n"
NOTE = "        template: note.j2\n"


def refused(folder: Path, *changes: tuple[str, str]) -> list[str]:
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "pipelines.yaml"
    path.write_text(text, "utf-8")
    loaded = load(path)
    assert loaded.declaration is not None, loaded.findings
    return [finding.message for finding in later.refusals(loaded.declaration, loaded.places)]


def test_everything_that_works(tmp_path: Path) -> None:
    """Keys that work, and later keys with the value they have anyway, are not refused."""
    changes = [
        ("version: 1\n", "version: 1\nhub: {ledger: '${env:X}'}\n"),
        ("max_output: 200", "max_output: 200, timeout: 30s, mode: live, cache: normalised"),
        ("per_event: 0.02 USD", "per_event: 0.02 USD, at_limit: drop"),
        (EVENTS, EVENTS + "      key: event.subject\n      settle: 20s\n      start: 2h\n      max_age: 1h\n"),
        (
            NOTE,
            NOTE
            + "        when: output.confidence > 0.5\n        write: add\n        show_progress: false\n        if_record_changed: skip\n",
        ),
        (
            "    limits:",
            "    on_error: {retry: 2, backoff: 1s..9s, give_up_after: 2h}\n    rollout: {mode: live}\n    limits:",
        ),
    ]

    assert [] == refused(tmp_path, *changes)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mode", ("    limits:", "    rollout: {mode: shadow}\n    limits:")),
    ],
)
def test_refused(tmp_path: Path, name: str, change: tuple[str, str]) -> None:
    """A key of the table is refused by its name."""
    assert [f"{name!r} does not work in this version"] == refused(tmp_path, change)


def test_table_names_keys_there_are() -> None:
    """Every entry of the table is a key of the language."""
    for entry in later.TABLE:
        *above, name = entry.keys.split(".")
        keys = tuple(0 if part == "*" and above[at - 1] == "deliver" else part for at, part in enumerate(above))

        assert name == "*" or name in known_keys(keys), entry.keys
