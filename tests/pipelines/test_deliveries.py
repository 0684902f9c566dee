"""
What a delivery sees of an answer, and of what people outside wrote.
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.expressions import compile_expression, compile_template
from pipelines.deliveries import DeliveryPlan


def plan(**changes: Any) -> DeliveryPlan:
    usual: dict[str, Any] = {
        "step": "note",
        "connection": "desk",
        "action": "note",
        "mode": "add",
        "on_unknown": "park",
        "record": None,
        "when": None,
        "unless": None,
        "template": None,
        "fields": {},
    }
    return DeliveryPlan(**(usual | changes))


def test_the_answer_does_not_choose_the_record() -> None:
    """
    Even an expression that `check` would refuse cannot read the answer.
    """
    scope = {"event": {"subject": "35", "data": {"parent": "7"}}, "output": {"record": "1"}}

    assert plan().record_of(scope) == "35"
    assert plan(record=compile_expression("event.data.parent")).record_of(scope) == "7"
    with pytest.raises(PenstockError):
        plan(record=compile_expression("output.record")).record_of(scope)


def test_what_a_template_places_of_the_event_is_text() -> None:
    """
    A subject, a name and an answer are text alike; the template's own words are not touched.
    """
    template = compile_template("<b>{{ event.data.subject }}</b> @{{ record.owner }} {{ output.summary }}", "note.j2")
    event = {"subject": "35", "data": {"subject": "<i>{{ x }} @all", "untouched": "<i>"}}
    scope = {"event": event, "record": {"owner": "![x](y)"}, "output": {"summary": "Fine."}}

    assert plan(template=template).render(scope) == {"text": "<b>< i>{ { x }} @ all</b> @! [x] (y) Fine."}
    assert event["data"]["untouched"] == "<i>"
