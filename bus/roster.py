"""
Who reads what in one consumer group on one topic, whichever processes its members are in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Tenure(NamedTuple):
    """
    Who reads a partition, for the how manieth time somebody does.
    """

    member: bytes | None
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """
    The partitions of one member.
    """

    held: Mapping[int, int]
    """The epoch under which it reads each."""
    leaving: Sequence[int]
    """What it must give up, for others."""


@dataclass(slots=True)
class Roster:
    """
    Members in the order in which they joined, and who has each partition.
    """

    members: list[bytes] = field(default_factory=list)
    tenures: dict[int, Tenure] = field(default_factory=dict)

    def settle(self, mine: Sequence[bytes], partitions: int) -> dict[bytes, Share]:
        """
        Let *mine* join, give them what is theirs as far as it is free, and return what each has.
        """
        self.members += [member for member in mine if member not in self.members]
        held = {member: self._of(member) for member in self.members}
        wanted = share(range(partitions), list(held.values()))
        shares = {}
        for member, numbers in zip(self.members, wanted, strict=True):
            if member in mine:
                self._take(member, [number for number in numbers if self._is_free(number)])
                now = {number: self.tenures[number].epoch for number in self._of(member)}
                shares[member] = Share(held=now, leaving=[number for number in now if number not in numbers])
        return shares

    def release(self, member: bytes, numbers: Iterable[int]) -> None:
        """
        Free what *member* has finished with.
        """
        for number in numbers:
            tenure = self.tenures.get(number)
            if tenure is not None and tenure.member == member:
                self.tenures[number] = Tenure(None, tenure.epoch)

    def leave(self, member: bytes) -> None:
        """
        Take *member* out, and free what it had.
        """
        self.release(member, self._of(member))
        self.members = [one for one in self.members if one != member]

    def lost(self, member: bytes, epochs: Mapping[int, int]) -> list[int]:
        """
        Return those that *member* does not read any more under these *epochs*.
        """
        return sorted(number for number, epoch in epochs.items() if self.tenures.get(number) != Tenure(member, epoch))

    def _of(self, member: bytes) -> list[int]:
        return sorted(number for number, tenure in self.tenures.items() if tenure.member == member)

    def _is_free(self, number: int) -> bool:
        return number not in self.tenures or self.tenures[number].member not in self.members

    def _take(self, member: bytes, numbers: Iterable[int]) -> None:
        for number in numbers:
            epoch = self.tenures[number].epoch if number in self.tenures else 0
            self.tenures[number] = Tenure(member, epoch + 1)


def share(partitions: Iterable[int], held: Sequence[Sequence[int]]) -> list[list[int]]:
    """
    Divide *partitions* evenly among the members, moving as few as possible of what they *held*.
    """
    everything = list(partitions)
    least, spare = divmod(len(everything), len(held))
    shares: list[list[int]] = []
    for current in held:
        most = least + (1 if spare and len(current) > least else 0)
        spare -= most - least
        shares.append(list(current[:most]))
    kept = {partition for mine in shares for partition in mine}
    free = [partition for partition in everything if partition not in kept]
    while free:
        min(shares, key=len).append(free.pop(0))
    return shares
