"""
The AsyncAPI document says what is really sent.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from bus.asyncapi import describe
from schemas.events import Event


def test_it_names_topics_groups_and_what_is_sent() -> None:
    """Every header of a real event is described, and the payload is the data alone."""
    found = json.loads(describe(["p.events.desk"], [("p.events.desk", "p.brief")], version="1", servers=["k:9092"]))
    event = Event(id="1", source="s", type="t.created", subject="7", time=datetime(2026, 1, 1, tzinfo=UTC), data={})
    _, headers, _ = event.to_kafka()
    messages = found["components"]["messages"].values()

    assert "3.0.0" == found["asyncapi"]
    assert {"p.events.desk"} == {channel["address"] for channel in found["channels"].values()}
    assert {"send", "receive"} == {each["action"] for each in found["operations"].values()}
    assert 2 == len(messages)
    for message in messages:
        assert {name for name, _ in headers} - {"content-type"} <= message["headers"]["properties"].keys()
        assert "object" == message["payload"]["type"]
        assert {"ce_id", "ce_source", "ce_specversion"} <= set(message["headers"]["required"])
