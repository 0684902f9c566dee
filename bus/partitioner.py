"""
Which partition a message belongs to: Kafka's own default, so that moving to Kafka keeps every order.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995
_ROTATION = 24  # bits
_WORD = 4  # bytes
_MASK = 0xFFFFFFFF  # arithmetic of 32 bits without a sign
_POSITIVE = 0x7FFFFFFF  # Kafka's toPositive: the sign bit is dropped, not negated

_REMEMBERED_KEYS = 65_536  # the hash costs more than a look-up, and records change again and again


def murmur2(data: bytes) -> int:
    """
    Return the 32-bit murmur2 hash of *data*, without a sign, as Kafka's Java client computes it.
    """
    length = len(data)
    whole = length - length % _WORD
    state = _SEED ^ length
    for start in range(0, whole, _WORD):
        word = int.from_bytes(data[start : start + _WORD], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> _ROTATION) * _MULTIPLIER & _MASK
        state = (state * _MULTIPLIER & _MASK) ^ word
    if whole < length:
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    state = (state ^ state >> 13) * _MULTIPLIER & _MASK
    return state ^ state >> 15


@lru_cache(maxsize=_REMEMBERED_KEYS)
def partition_of(key: bytes, partitions: int) -> int:
    """
    Return the partition of *key* among *partitions*: `toPositive(murmur2(key)) % n`.
    """
    return (murmur2(key) & _POSITIVE) % partitions


class Partitioner:
    """
    Chooses partitions; messages without a key take turns, topic by topic.
    """

    def __init__(self) -> None:
        self._turns: Counter[str] = Counter()

    def choose(self, topic: str, key: bytes | None, partitions: int) -> int:
        """
        Return the number of the partition a message with *key* goes to.
        """
        if key is not None:
            return partition_of(key, partitions)
        turn = self._turns[topic]
        self._turns[topic] = turn + 1
        return turn % partitions
