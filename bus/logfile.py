"""
The SQLite file of the embedded bus, as its one writing thread sees it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bus.contract import Partition, Position
from bus.log import Placed, Seat, Span, fenced
from bus.rosterfile import RosterFile
from penstock.errors import Invalid

OFFSET_BITS = 40
_APPLICATION = 0x50656E42  # "PenB", in the header of every bus file
_VERSION = 2
_BUSY_TIMEOUT = 5.0  # seconds
_FOLD_AFTER = 16 * 1024 * 1024  # bytes appended to the write-ahead log before it is folded into the file
_COMMIT_BYTES = 8192  # what a commit adds to the write-ahead log beside its messages, about
_OWNER_ONLY = 0o600
_SCHEMAS = tuple(Path(__file__).with_name(name) for name in ("schema.sql", "members.sql"))  # one per version

_INSERT = "INSERT INTO message (place, at_ms, key, value, headers) VALUES "
_COLUMNS = 5
_ROW = f"({', '.join('?' * _COLUMNS)})"
_MOST_ROWS = 256  # per statement
_STORE = "INSERT INTO position (consumers, log, next) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next"
_START = "INSERT INTO position (consumers, log, next) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_OLDEST = "SELECT place, at_ms FROM message WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"


@dataclass(slots=True)
class Tail:
    """
    Where the next message of a log goes.
    """

    base: int
    """The place of offset 0."""
    first: int
    end: int
    last_ms: int
    """When its newest message was appended; the next is never earlier, even when the clock is."""

    @property
    def span(self) -> Span:
        """
        The offsets it holds.
        """
        return Span(self.first, self.end)


@dataclass(slots=True)
class News:
    """
    What a commit changed.
    """

    topics: dict[str, int] = field(default_factory=dict)
    spans: dict[Partition, Span] = field(default_factory=dict)
    positions: dict[str, dict[Partition, int]] = field(default_factory=dict)
    appended: set[str] = field(default_factory=set)
    """The topics that have new messages."""
    shifted: bool = False
    """Whether members of groups may have changed."""


class LogFile:
    """
    One connection that writes. Every method belongs to the transaction `begin` opened.
    """

    def __init__(self, path: Path, process: str) -> None:
        self._connection = connect(path)
        self.rosters = RosterFile(self._connection, process)
        self._version = self._shift = 0
        self._tails: dict[Partition, Tail] = {}
        self._values: list[int | bytes | None] = []
        """What the commit will insert, row after row."""
        self._touched: set[Partition] = set()
        self._news = News()
        self._unfolded = 0
        try:
            _prepare(self._connection, path)
            # After a failed write the pages in the write-ahead log may be gone from the disk though not from memory:
            # nothing may be appended behind them.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._version = self._seen_version()
            self._load()
        except BaseException:
            self._connection.close()
            raise

    def begin(self) -> None:
        """
        Open the transaction of a group of jobs, and learn what other processes have done since the last one.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        self._follow()

    def catch_up(self) -> News | None:
        """
        Return what other processes have done; None when nothing.
        """
        if self._seen_version() == self._version:
            return None
        self._connection.execute("BEGIN")
        self._follow()
        self._connection.execute("COMMIT")
        return self._take_news()

    def create(self, topic: str, partitions: int) -> None:
        """
        Record *topic* and its logs, unless another process just did.
        """
        if self._connection.execute("SELECT 1 FROM topic WHERE name = ?", (topic,)).fetchone():
            return
        self._connection.execute("INSERT INTO topic (name, partitions) VALUES (?, ?)", (topic, partitions))
        for number in range(partitions):
            cursor = self._connection.execute("INSERT INTO log (topic, number) VALUES (?, ?)", (topic, number))
            partition = Partition(topic, number)
            self._tails[partition] = Tail((cursor.lastrowid or 0) << OFFSET_BITS, 0, 0, 0)
            self._touched.add(partition)
        self._news.topics[topic] = partitions

    def append(self, placed: Sequence[Placed], headers: Sequence[bytes | None], now_ms: int) -> list[Position]:
        """
        Number *placed* and keep them for the commit, which writes the messages of all jobs at once.
        """
        positions = []
        tails, values, touched = self._tails, self._values, self._touched
        for (partition, message), packed in zip(placed, headers, strict=True):
            tail = tails[partition]
            offset = tail.end
            tail.end = offset + 1
            tail.last_ms = max(tail.last_ms, now_ms)
            values += (tail.base + offset, tail.last_ms, message.key, message.value, packed)
            touched.add(partition)
            positions.append(Position(partition.topic, partition.number, offset))
        self._unfolded += sum(len(message.value) for _, message in placed)
        return positions

    def start(self, group: str, positions: Mapping[Partition, int]) -> None:
        """
        Store *positions* of *group* where it has none.
        """
        for partition, offset in positions.items():
            row = (group, self._tails[partition].base >> OFFSET_BITS, offset)
            if self._connection.execute(_START, row).rowcount:
                self._news.positions.setdefault(group, {})[partition] = offset

    def store(self, by: Seat, positions: Mapping[Partition, int], epochs: Mapping[Partition, int]) -> None:
        """
        Store *positions* of *by*'s group; raises `Fenced` before anything is written.
        """
        numbers = {partition.number: epoch for partition, epoch in epochs.items()}
        if lost := self.rosters.of(by.group, by.topic).lost(by.member, numbers):
            raise fenced(by, [Partition(by.topic, number) for number in lost])
        rows = [(by.group, self._tails[one].base >> OFFSET_BITS, offset) for one, offset in positions.items()]
        self._connection.executemany(_STORE, rows)
        self._news.positions.setdefault(by.group, {}).update(positions)

    def trim(self, partition: Partition, before_ms: int, most: int) -> int:
        """
        Delete up to *most* of the oldest messages appended before *before_ms*; return how many went.
        """
        tail = self._tails[partition]
        start = tail.base + tail.first
        oldest = self._connection.execute(_OLDEST, (start, tail.base + tail.end, most)).fetchall()
        gone = len([place for place, at_ms in oldest if at_ms < before_ms])
        if gone:
            self._connection.execute("DELETE FROM message WHERE place >= ? AND place < ?", (start, start + gone))
            tail.first += gone
            self._connection.execute("UPDATE log SET first = ? WHERE id = ?", (tail.first, tail.base >> OFFSET_BITS))
            self._touched.add(partition)
        return gone

    def commit(self) -> News:
        """
        Make everything since `begin` durable; return what changed.
        """
        self._insert()
        self._connection.execute("COMMIT")
        self._unfolded += _COMMIT_BYTES
        return self._take_news()

    def fold(self) -> None:
        """
        Move the write-ahead log into the file when it has grown; a reader in its way only delays it.
        """
        if self._unfolded > _FOLD_AFTER:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._unfolded = 0

    def everything(self) -> News:
        """
        Return all it holds, as news for whoever knows nothing yet or may have missed a commit.
        """
        positions: dict[str, dict[Partition, int]] = {}
        names = {tail.base >> OFFSET_BITS: partition for partition, tail in self._tails.items()}
        for group, log, offset in self._connection.execute("SELECT consumers, log, next FROM position"):
            positions.setdefault(group, {})[names[log]] = offset
        topics = dict(self._connection.execute("SELECT name, partitions FROM topic").fetchall())
        spans = {partition: tail.span for partition, tail in self._tails.items()}
        return News(topics=topics, spans=spans, positions=positions, appended=set(topics), shifted=True)

    def close(self) -> None:
        """
        Close the file; an open transaction is void.
        """
        self._connection.close()

    def _insert(self) -> None:
        """
        Write the rows in few statements: after each the thread must win the interpreter back from the event loop.
        """
        values, self._values = self._values, []
        start, rows = 0, _MOST_ROWS
        while start < len(values):
            end = start + rows * _COLUMNS
            if end > len(values):
                rows //= 2  # few sizes, so that SQLite keeps every statement prepared
                continue
            self._connection.execute(_INSERT + ",".join([_ROW] * rows), values[start:end])
            start = end

    def _follow(self) -> None:
        if (version := self._seen_version()) == self._version:
            return
        self._version = version
        self._load()
        self._news = self.everything()
        shift = self.rosters.shift()
        self._news.shifted, self._shift = shift != self._shift, shift

    def _seen_version(self) -> int:
        """
        Return a number that is another one once another connection has written.
        """
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _load(self) -> None:
        for log, topic, number, first in self._connection.execute("SELECT id, topic, number, first FROM log"):
            base = log << OFFSET_BITS
            newest = self._connection.execute(
                "SELECT place, at_ms FROM message WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1",
                (base, base + (1 << OFFSET_BITS)),
            ).fetchone()
            end, last_ms = (newest[0] - base + 1, newest[1]) if newest else (first, 0)
            self._tails[Partition(topic, number)] = Tail(base, first, end, last_ms)

    def _take_news(self) -> News:
        news, self._news = self._news, News()
        touched, self._touched = self._touched, set()
        for partition in touched:
            news.spans[partition] = self._tails[partition].span
            news.appended.add(partition.topic)
        news.shifted, self.rosters.changed = news.shifted or self.rosters.changed, False
        return news


def connect(path: Path, *, writing: bool = True) -> sqlite3.Connection:
    """
    Open *path* with the settings that make a commit durable.
    """
    mode = "rw" if writing else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA mmap_size = 0")  # a failing disk is then an error, not a signal that kills us
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if not empty and application != _APPLICATION:
        message = f"{str(path)!r} is a database, but not one of the bus"
        raise Invalid(message, hint="move it away, or give this hub another state folder")
    if version > _VERSION:
        message = f"{str(path)!r} was written by a newer Penstock"
        raise Invalid(message, hint="upgrade this one")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    if version < _VERSION:
        words = " ".join(schema.read_text() for schema in _SCHEMAS[version:])
        marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {words} {marks} COMMIT;")


def create(path: Path) -> None:
    """
    Make the file and its folder when missing, readable by their owner only: messages are other people's data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=_OWNER_ONLY, exist_ok=True)


def pack(headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    """
    Return *headers* as bytes: per header the length and text of its name, then of its value.
    """
    if not headers:
        return None
    parts = []
    for name, value in headers:
        encoded = name.encode()
        parts += [len(encoded).to_bytes(4), encoded, len(value).to_bytes(4), value]
    return b"".join(parts)


def unpack(packed: bytes | None) -> tuple[tuple[str, bytes], ...]:
    """
    Return the headers that `pack` packed.
    """
    texts, at = [], 0
    while packed and at < len(packed):
        length = int.from_bytes(packed[at : at + 4])
        texts.append(packed[at + 4 : at + 4 + length])
        at += 4 + length
    return tuple((name.decode(), value) for name, value in zip(texts[::2], texts[1::2], strict=True))
