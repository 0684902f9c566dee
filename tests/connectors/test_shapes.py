"""
Lists in shapes, changes that are left out with a reason, and our address as a system knows it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from connectors.contract import Delivery
from connectors.formulas import compiled_shape, render
from connectors.mapping import EventRule, events_of, left_out
from connectors.verification import Stamp, Verify, verify
from penstock.errors import Forged, Rejected

PARAGRAPHS = {
    "type": "'doc'",
    "content": {
        "$each": "args.text | lines",
        "$item": {
            "type": "'paragraph'",
            "content": {"$each": "[item] if item else []", "$item": {"type": "'text'", "text": "item"}},
        },
    },
}


def test_a_list_in_a_shape() -> None:
    """Each line is a paragraph, an empty one has no text, and no text becomes anything but text."""
    text = "a \"b\" {{ 1 }}\n\n'c': [item]"

    assert render(compiled_shape(PARAGRAPHS), {"args": {"text": text}}) == {
        "type": "doc",
        "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": 'a "b" {{ 1 }}'}]},
            {"type": "paragraph", "content": []},
            {"type": "paragraph", "content": [{"type": "text", "text": "'c': [item]"}]},
        ],
    }


def test_a_list_of_what_is_not_there() -> None:
    """It is left out with its key; what is no list does not fit."""
    shape = compiled_shape({"labels": {"$each": "fields.labels", "$item": {"add": "item"}}, "x": 1})

    assert render(shape, {"fields": {}}) == {"x": 1}
    assert render(shape, {"fields": {"labels": ["a"]}}) == {"labels": [{"add": "a"}], "x": 1}
    with pytest.raises(Rejected):
        render(shape, {"fields": {"labels": "a"}})


@pytest.mark.parametrize("wrong", [{"$each": "a"}, {"$item": "a"}, {"$each": "a", "$item": "b", "c": "d"}])
def test_half_a_list(wrong: dict[str, str]) -> None:
    """It has both keys and no others."""
    with pytest.raises(ValueError, match=r"\$each"):
        compiled_shape({"x": wrong})


def rule(**more: Any) -> EventRule:
    return EventRule.model_validate(
        {
            "types": {"thing.made": "Made."},
            "each": "body",
            "when": "item.kind == 'made'",
            "unless": {"when": "item.by == 'import'", "why": "Imports are no events."},
            "type": "'thing.made'",
            "id": "item.id",
            "source": "'https://x.example'",
            "subject": "item.id",
            "time": "'2026-01-05T12:00:00Z'",
            "data": {},
            **more,
        }
    )


def test_changes_that_are_left_out() -> None:
    """They give no event, and the reason is there; the others of the same delivery are events."""
    imported, typed = {"kind": "made", "by": "import", "id": "1"}, {"kind": "made", "by": "hand", "id": "2"}
    other = {"kind": "sold", "by": "import", "id": "3"}

    assert [event.id for event in events_of(rule(), {"body": [imported, typed, other]})] == ["2"]
    assert left_out(rule(), {"body": [imported]}) == "Imports are no events."
    assert left_out(rule(), {"body": [typed, other]}) is None
    assert left_out(rule(unless=None), {"body": [imported]}) is None


def test_names_for_parts() -> None:
    """`let` names what several formulas need; what it cannot find is null."""
    named = rule(let={"part": "(item.id | replace('-', '\\n') | lines)[1]"}, id="'part/' ~ part", unless=None)
    bodies = [{"kind": "made", "id": "a-7"}]

    assert [event.id for event in events_of(named, {"body": bodies})] == ["part/7"]
    assert [event.id for event in events_of(named, {"body": [{"kind": "made", "id": "a"}]})] == ["part/"]


@pytest.mark.parametrize("public", ["https://hub.example.com", "https://hub.example.com/"])
def test_behind_a_proxy(public: str) -> None:
    """The signature covers the address the system called, not the one a proxy asked us with."""
    signed = Verify(
        secret="s",
        public="public_url",
        message="{method}{url}{body}{timestamp}",
        encoding="base64",
        header="x-signature",
        timestamp=Stamp(header="x-time", form="unix-ms"),
    )
    message = b"POSThttps://hub.example.com/in/crm?a=%20b[]1767603600000"
    headers = {
        "x-signature": base64.b64encode(hmac.new(b"secret", message, hashlib.sha256).digest()).decode(),
        "x-time": "1767603600000",
    }
    url = "http://10.0.0.7:8080/in/crm?a=%20b"
    delivery = Delivery(method="POST", url=url, headers=headers, body=b"[]", received_ms=1767603600000)
    verify(signed, delivery, ["secret"], {"public_url": public})

    with pytest.raises(Forged):
        verify(signed, delivery, ["secret"], {})
    with pytest.raises(Forged):
        verify(signed, delivery, ["secret"], {"public_url": "https://other.example.com"})
