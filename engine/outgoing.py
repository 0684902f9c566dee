"""
An event as it goes onto the bus.
"""

from __future__ import annotations

from bus.contract import Outgoing
from connectors.contract import Connector
from schemas.events import Event


def outgoing(topic: str, connector: Connector, event: Event) -> Outgoing:
    """
    Return the message of *event*; whether it is our own write is judged here and kept with it for people to see.
    """
    own = connector.own(event)
    key, headers, value = event.model_copy(update={"ownwrite": own}).to_kafka()
    return Outgoing(topic=topic, key=key, value=value, headers=headers)
