"""
aiokafka on uvloop, when a connection has just broken.

There, writing to it raises `RuntimeError`, which aiokafka does not know: its group coordinator would end of
it, and the member would read nothing more for good. What asyncio's own loop leads to is an error of Kafka.
"""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _send_or_break(connection: Any, request: Any, *args: Any, **keywords: Any) -> Any:
    """
    Send *request*; a connection that cannot be written to is closed, and told as what it is.
    """
    try:
        return _send(connection, request, *args, **keywords)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error


def tell_broken_connections() -> None:
    """
    Let every connection of this process say when it broke.
    """
    AIOKafkaConnection.send = _send_or_break
