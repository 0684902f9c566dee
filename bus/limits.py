"""
What every bus takes and refuses alike, so that a hub can move from one to another.
"""

from __future__ import annotations

import re

from bus.contract import Outgoing
from penstock.errors import Invalid

MOST_MESSAGE_BYTES = 16 * 1024 * 1024
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka allows
_MOST_PARTITIONS = 1024


def check_message(message: Outgoing) -> None:
    """
    Raise `Invalid` for a message that is too large.
    """
    if len(message.value) > MOST_MESSAGE_BYTES:
        text = f"a message of {len(message.value)} bytes for {message.topic!r}; at most {MOST_MESSAGE_BYTES} fit"
        raise Invalid(text)


def check_topic(topic: str, partitions: int) -> None:
    """
    Raise `Invalid` for a topic that Kafka would refuse.
    """
    if not _TOPIC.fullmatch(topic):
        message = f"{topic!r} cannot name a topic"
        raise Invalid(message, hint="use letters, digits, '.', '_' and '-', at most 249 of them")
    if not 1 <= partitions <= _MOST_PARTITIONS:
        message = f"topic {topic!r} cannot have {partitions} partitions"
        raise Invalid(message, hint=f"use 1 to {_MOST_PARTITIONS}")
