"""
The envelope, held against the CloudEvents project's own package.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.events import Event

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    Event,
    id=TEXT,
    source=st.just("https://acme.zendesk.com"),
    type=st.sampled_from(["ticket.created", "message.posted"]),
    subject=TEXT,
    time=st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)),  # noqa: DTZ001
    data=st.dictionaries(TEXT, JSON, max_size=4),
    partitionkey=st.none() | TEXT,
    actor=st.none() | TEXT,
    ownwrite=st.none() | TEXT,
    depth=st.integers(0, 3),
    tenant=st.none() | TEXT,
    lumped=st.booleans(),
)
ATTRIBUTES = ("id", "source", "type", "subject", "partitionkey", "actor", "ownwrite", "tenant")


def _same(event: Event, theirs: Any) -> None:
    attributes = theirs.get_attributes()
    for name in ATTRIBUTES:
        assert attributes.get(name) == getattr(event, name), name
    assert theirs.get_time() == event.time
    assert theirs.get_data() == event.data


@given(event=EVENTS)
def test_our_structured_json_is_read_by_the_reference_package(event: Event) -> None:
    """
    Attributes, extensions, time and data survive the way through their JSON format.
    """
    _same(event, JSONFormat().read(None, event.to_json()))


@given(event=EVENTS)
def test_our_kafka_record_is_read_by_the_reference_package(event: Event) -> None:
    """
    Binary mode of the Kafka protocol binding.
    """
    key, headers, value = event.to_kafka()
    message = kafka.KafkaMessage(headers=dict(headers), key=key, value=value)
    theirs = kafka.from_binary(message, JSONFormat())
    attributes = theirs.get_attributes()
    if event.partitionkey is None:  # their reader fills the extension from the record's key
        assert attributes.pop("partitionkey", event.key.encode()) in (event.key, event.key.encode())
        attributes["partitionkey"] = None

    for name in ATTRIBUTES:
        assert attributes.get(name) == getattr(event, name), name
    assert theirs.get_data() == event.data


@given(event=EVENTS)
def test_both_forms_come_back_equal(event: Event) -> None:
    """
    What we write we read, in both forms.
    """
    _, headers, value = event.to_kafka()

    assert Event.from_json(event.to_json()) == event
    assert Event.from_kafka(headers, value) == event


@given(event=EVENTS)
def test_its_json_data_is_what_its_json_says(event: Event) -> None:
    """
    What expressions see was never written and read again, and is the same.
    """
    assert json.loads(event.to_json()) == event.to_data()


def test_data_of_other_kinds_becomes_json_data_at_once() -> None:
    """
    A date that YAML has read is text from then on, as it will be on the bus.
    """
    fields = {"id": "1", "source": "s", "type": "t", "subject": "1", "time": datetime.now(UTC)}
    event = Event.model_validate({**fields, "data": {"day": date(2026, 1, 5)}})

    assert event.data == {"day": "2026-01-05"}


def test_a_foreign_record_is_read_in_both_modes() -> None:
    """
    Events written by the reference package become ours, structured or binary.
    """
    attributes = {
        "id": "1",
        "source": "https://x.example",
        "type": "ticket.created",
        "subject": "35",
        "time": datetime(2026, 1, 5, tzinfo=UTC),
        "datacontenttype": "application/json",
        "partitionkey": "k",
    }
    foreign = CloudEvent(attributes, {"a": [1, "ü"]})
    binary = kafka.to_binary(foreign, JSONFormat())
    structured = kafka.to_structured(foreign, JSONFormat())

    for message in (binary, structured):
        event = Event.from_kafka(list(message.headers.items()), message.value)
        assert (event.id, event.key, event.data) == ("1", "k", {"a": [1, "ü"]})


def test_the_key_is_the_partition_key_or_the_subject() -> None:
    """
    Order is kept per partition key, by default per record.
    """
    event = Event(id="1", source="s", type="a.b", subject="35", time=datetime(2026, 1, 5, tzinfo=UTC), data={})

    assert event.key == "35"
    assert event.model_copy(update={"partitionkey": "thread"}).key == "thread"


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"time": "2026-01-05T00:00:00"},  # no zone
        {"specversion": "0.3"},
        {"data": "text"},
        {"data": {"a": "\ud800"}},  # cannot be stored
        {"data": {"a": 2**70}},
        {"depth": -1},
        {"datacontenttype": "text/plain"},
        {"unknown": 1},
    ],
)
def test_what_is_no_event_is_refused(change: dict[str, Any]) -> None:
    """
    Each broken attribute is refused by its name.
    """
    good = {
        "id": "1",
        "source": "s",
        "type": "a.b",
        "subject": "35",
        "time": "2026-01-05T00:00:00Z",
        "data": {},
    }
    Event.model_validate(good)
    with pytest.raises((ValidationError, TypeError)):
        Event.model_validate(good | change)


def test_rubbish_is_a_value_error() -> None:
    """
    Whatever lies on a topic, reading it raises nothing but `ValueError`.
    """
    for value in (b"", b"\xff", b"[]", b"null", b"{}", json.dumps({"id": 1}).encode()):
        for headers in ([], [("content-type", b"application/cloudevents+json")], [("ce_id", b"\xff")]):
            with pytest.raises(ValueError):
                Event.from_kafka(headers, value)


def test_a_copy_with_another_value_says_so_everywhere() -> None:
    """
    What was worked out for the event it was made from is not kept.
    """
    event = Event(
        id="1",
        source="https://acme.example",
        type="ticket.created",
        subject="7",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        data={},
    )
    event.to_data()["subject"] = "spoilt"
    copied = event.model_copy(update={"ownwrite": "actor=1"})

    assert "ownwrite" not in event.to_data()
    assert event.to_data()["subject"] == event.subject
    assert copied.to_data()["ownwrite"] == "actor=1"
    assert copied != event


def test_what_is_not_so_is_not_said() -> None:
    """
    Events are as short as before where nothing is to be told; what is told survives both forms.
    """
    event = Event.model_validate(
        {"id": "1", "source": "s", "type": "a.b", "subject": "35", "time": "2026-01-05T00:00:00Z", "data": {}}
    )
    lump = event.model_copy(update={"lumped": True})
    _key, headers, value = lump.to_kafka()

    assert {"depth", "lumped"}.isdisjoint(event.to_data())
    assert Event.from_json(lump.to_json()) == Event.from_kafka(headers, value) == lump
