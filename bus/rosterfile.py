"""
The members of every group in the bus file, and the processes they are in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from bus.log import Seat
from bus.roster import Roster, Share, Tenure
from penstock.boot import boot_id, boot_ms

LEASE = 30.0  # seconds until a process that was stopped loses its partitions; a dead one loses them at once

T = TypeVar("T")


class RosterFile:
    """
    These tables, as one process sees them. Every method belongs to the transaction of a commit.
    """

    def __init__(self, connection: sqlite3.Connection, process: str) -> None:
        self._connection = connection
        self._process = process
        self.changed = False
        """Whether this transaction has changed who is there."""

    def settle(self, group: str, topic: str, members: Sequence[bytes], partitions: int) -> dict[bytes, Share]:
        """
        Let *members* of this process into the group; return their shares.
        """
        self._renew(add=True)
        return self._change(group, topic, lambda roster: roster.settle(members, partitions))

    def release(self, by: Seat, numbers: Collection[int]) -> None:
        """
        Free partitions of *by*.
        """
        self._change(by.group, by.topic, lambda roster: roster.release(by.member, numbers))

    def leave(self, by: Seat) -> None:
        """
        Take *by* out.
        """
        self._change(by.group, by.topic, lambda roster: roster.leave(by.member))

    def of(self, group: str, topic: str) -> Roster:
        """
        Return the roster of one group.
        """
        named = (group, topic)
        members = self._connection.execute(_MEMBERS, named)
        tenures = self._connection.execute(_TENURES, named)
        return Roster([row[0] for row in members], {number: Tenure(one, epoch) for number, one, epoch in tenures})

    def shift(self) -> int:
        """
        Return the count of changes.
        """
        return int(self._connection.execute("SELECT number FROM shift").fetchone()[0])

    def keep_up(self, gone: Collection[str]) -> None:
        """
        Lengthen the lease of this process, and take out those that are *gone* or whose lease has ended.
        """
        self._renew(add=False)
        over = self._connection.execute(_OVER, (self._process, boot_id(), boot_ms())).fetchall()
        self._remove({*gone, *(row[0] for row in over)})

    def withdraw(self) -> None:
        """
        Take this process out.
        """
        self._remove({self._process})

    def _renew(self, *, add: bool) -> None:
        until = boot_ms() + int(LEASE * 1000)
        self._connection.execute(_ADD if add else _RENEW, {"name": self._process, "boot": boot_id(), "until": until})

    def _remove(self, processes: Collection[str]) -> None:
        for name in processes:
            members = self._connection.execute("DELETE FROM member WHERE process = ?", (name,)).rowcount
            if self._connection.execute("DELETE FROM process WHERE name = ?", (name,)).rowcount or members:
                self._count()

    def _change(self, group: str, topic: str, work: Callable[[Roster], T]) -> T:
        roster = self.of(group, topic)
        members, tenures = list(roster.members), dict(roster.tenures)
        result = work(roster)
        for number, tenure in roster.tenures.items():
            if tenures.get(number) != tenure:
                self._connection.execute(_KEEP_TENURE, (group, topic, number, *tenure))
        for member in set(members) - set(roster.members):
            self._connection.execute(_REMOVE_MEMBER, (group, topic, member))
        for member in [one for one in roster.members if one not in members]:
            self._connection.execute(_ADD_MEMBER, {"group": group, "topic": topic, "id": member, "in": self._process})
        if (members, tenures) != (roster.members, roster.tenures):
            self._count()
        return result

    def _count(self) -> None:
        self._connection.execute(_SHIFT)
        self.changed = True


_MEMBERS = "SELECT id FROM member WHERE consumers = ? AND topic = ? ORDER BY place"
_TENURES = "SELECT number, member, epoch FROM tenure WHERE consumers = ? AND topic = ? ORDER BY number"
_OVER = "SELECT name FROM process WHERE name <> ? AND (boot <> ? OR until_ms < ?)"
_ADD = """
INSERT INTO process (name, boot, until_ms) VALUES (:name, :boot, :until)
ON CONFLICT DO NOTHING
"""
_RENEW = "UPDATE process SET until_ms = :until, boot = :boot WHERE name = :name"
_SHIFT = "UPDATE shift SET number = number + 1"
_KEEP_TENURE = """
INSERT INTO tenure (consumers, topic, number, member, epoch) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET member = excluded.member, epoch = excluded.epoch
"""
_REMOVE_MEMBER = "DELETE FROM member WHERE consumers = ? AND topic = ? AND id = ?"
_ADD_MEMBER = """
INSERT INTO member (consumers, topic, place, id, process)
SELECT :group, :topic, coalesce(max(place), 0) + 1, :id, :in FROM member WHERE consumers = :group AND topic = :topic
"""
