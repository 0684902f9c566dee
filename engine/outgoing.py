"""
An event as it goes onto the bus.
"""

from __future__ import annotations

from bus.contract import Outgoing
from connectors.contract import Connector
from pipelines.views import changed_fields
from schemas.events import Event


def outgoing(topic: str, connector: Connector, event: Event, *, polled: bool = False) -> Outgoing:
    """
    Return the message of *event*; whether it is our own write is judged here and kept with it for people to see.

    One that was *polled* may be of more than one change, unless it says of which.
    """
    lumped = polled and event.actor is None and not changed_fields(event)
    known = {"ownwrite": connector.own(event), "lumped": lumped}
    key, headers, value = event.model_copy(update=known).to_kafka()
    return Outgoing(topic=topic, key=key, value=value, headers=headers)
