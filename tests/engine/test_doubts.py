"""
What of a write whose answer was lost stands in its record.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.doubts import still_ours, with_fields
from engine.echoes import value_hash
from schemas.entries import Run, RunDetail, WriteEntry

RUN = Run(
    run="0" * 32, tenant="", pipeline="p", lane="l", seq=1, source="s", event_id="e", subject="1", state="running"
)


def detail(**more: Any) -> RunDetail:
    fields = {"Industry": value_hash("Retail"), "Description": value_hash("Sells bikes.")}
    write = {"connection": "crm", "record": "1", "step": "crm.update", "generation": 0, "fields": fields}
    entry = WriteEntry.model_validate(write | {"value_hash": "h", "state": "unknown", "at": 1} | more)
    return RunDetail(run=RUN, event=None, steps=(), calls=(), writes=(entry,))


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"Industry": "Retail", "Description": "Sells bikes.", "Name": "N"}, {"Industry", "Description"}),
        ({"Industry": "Retail", "Description": "By a person."}, {"Industry"}),  # somebody went on with it
        ({"Industry": None, "Description": ""}, set()),  # it never arrived
        ({}, set()),
        (None, set()),  # nobody has read the record
    ],
)
def test_what_the_record_holds_of_it(record: dict[str, Any] | None, found: set[str]) -> None:
    """
    A field is ours when it holds the very value that was to be set.
    """
    assert found == set(still_ours(detail(), 0, "crm.update", record))


@pytest.mark.parametrize("other", [{"state": "done"}, {"step": "crm.note"}, {"generation": 1}])
def test_what_is_known_or_of_others_is_no_doubt(other: dict[str, Any]) -> None:
    """
    Only this step, in this generation, and only without an answer.
    """
    assert {} == still_ours(detail(**other), 0, "crm.update", {"Industry": "Retail"})
    assert {} == still_ours(None, 0, "crm.update", {"Industry": "Retail"})


def test_they_are_set_beside_the_others() -> None:
    """
    What is to be set now goes before what was to be set then.
    """
    assert with_fields(None, {}) is None
    assert {"text": "t"} == with_fields({"text": "t"}, {})
    assert {"fields": {"A": 1}} == with_fields(None, {"A": 1})
    assert {"fields": {"A": 2, "B": 3}} == with_fields({"fields": {"A": 2}}, {"A": 1, "B": 3})
