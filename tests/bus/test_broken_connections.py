"""
aiokafka under uvloop, when a connection has just broken.
"""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from bus.broken_connections import tell_broken_connections
from bus.cluster import Cluster
from bus.kafka_member import KafkaMember


class Broken:
    """
    A writer of uvloop whose transport is closed.
    """

    closed = False

    def write(self, _data: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        self.closed = True


class Reading:
    """
    A reading task that is over.
    """

    def done(self) -> bool:
        return True


async def test_a_connection_that_cannot_be_written_to_is_told_as_broken() -> None:
    """
    The group's coordinator goes on after an error of Kafka; of any other it would end.
    """
    tell_broken_connections()
    connection = AIOKafkaConnection("127.0.0.1", 1)
    writer = Broken()
    connection._writer, connection._reader, connection._read_task = writer, object(), Reading()
    connection._versions = {3: (0, 0)}

    with pytest.raises(KafkaConnectionError, match="broken"):
        connection.send(MetadataRequest([]))
    assert writer.closed
    assert not connection.connected()


async def test_a_cancelled_fetch_is_no_cancelled_stop() -> None:
    """
    aiokafka cancels its own fetch from a broker that is away and lets the caller hear of it: the stop goes on.
    """
    member = KafkaMember(Cluster(servers=("127.0.0.1:1",), prefix="penstock"), "topic", "group")

    async def leave() -> None:
        fetch = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        fetch.cancel()
        await fetch

    member._leave = leave

    await member.close()
