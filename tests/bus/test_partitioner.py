"""
Partitions are chosen exactly as Kafka's Java client chooses them.
"""

from __future__ import annotations

import pytest

from bus.partitioner import Partitioner, murmur2, partition_of

JAVA = [  # from UtilsTest.testMurmur2 of Apache Kafka
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "signed"), JAVA)
def test_the_hash_is_the_one_of_kafkas_java_client(key: bytes, signed: int) -> None:
    """murmur2 gives Java's value, read as a number without a sign."""
    assert signed & 0xFFFFFFFF == murmur2(key)


@pytest.mark.parametrize(("key", "signed"), JAVA)
def test_a_negative_hash_loses_its_sign_bit(key: bytes, signed: int) -> None:
    """The partition is toPositive(murmur2(key)) % n, which is not the absolute value."""
    assert (signed & 0x7FFFFFFF) % 12 == partition_of(key, 12)


def test_an_empty_key_is_a_key() -> None:
    """Messages with an empty key stay together; only a missing key takes turns."""
    partitioner = Partitioner()

    assert 1 == len({partitioner.choose("t", b"", 12) for _ in range(5)})


def test_messages_without_a_key_take_turns_in_each_topic() -> None:
    """Round-robin is counted per topic."""
    partitioner = Partitioner()
    first = [partitioner.choose("a", None, 3) for _ in range(4)]
    other = partitioner.choose("b", None, 3)

    assert [0, 1, 2, 0] == first
    assert 0 == other
