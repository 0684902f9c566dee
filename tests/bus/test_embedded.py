"""
What only the file promises: it outlives its process, whatever happens to that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

import bus as room
from bus import Archive, Bus, EmbeddedBus, Outgoing, Partition, logfile
from penstock.clock import ManualClock
from penstock.errors import Invalid, Unavailable, Unreachable

TOPIC = "penstock.events.helpdesk"
ROOT = Path(__file__).parents[2]

OPENING = """
import asyncio, resource, signal, sys
from pathlib import Path
import bus
from bus import Outgoing
from penstock.clock import SystemClock
from penstock.errors import Unavailable

TOPIC = "penstock.events.helpdesk"

def opened():
    return bus.open(Path(sys.argv[1]), partitions=4, keep=86400.0, clock=SystemClock())

def note(value):
    return Outgoing(topic=TOPIC, key=value[:1], value=value)
"""

ENDLESS = """
async def publish(hub, name):
    for number in range(10**9):
        await hub.publish([note(b"%s/%d/%d" % (name, number, part)) for part in range(3)])
        print(f"{name.decode()}/{number}", flush=True)

async def main():
    hub = opened()
    await asyncio.gather(*(publish(hub, name) for name in (b"a", b"b", b"c", b"d")))

asyncio.run(main())
"""

FULL_DISK = """
async def main():
    hub = opened()
    await hub.publish([note(b"before")])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    accepted, refused = [], 0
    for number in range(40):
        pair = [note(b"x%d" % number + bytes(9_000)), note(b"y%d" % number + bytes(9_000))]
        try:
            accepted.append(number if await hub.publish(pair) else None)
        except Unavailable:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await hub.publish([note(b"after")])
    await hub.close()
    print(" ".join(map(str, accepted)))
    print(refused)

asyncio.run(main())
"""


class Opener(Protocol):
    """
    Opens one file again and again.
    """

    path: Path

    def open(self) -> EmbeddedBus: ...


def note(value: str, key: str = "k") -> Outgoing:
    return Outgoing(topic=TOPIC, key=key.encode(), value=value.encode())


async def everything(bus: Bus) -> list[bytes]:
    """Return all values the file holds."""
    subscription = await bus.subscribe(TOPIC, "reader", start="oldest")
    found: list[bytes] = []
    while batch := await subscription.fetch(500, wait=0):
        found += [message.value for message in batch]
    await subscription.close()
    return found


async def test_messages_positions_and_counts_survive_closing(embedded: Opener) -> None:
    """Opened again, a group goes on where it was."""
    first = embedded.open()
    await first.ensure_topic(TOPIC, 3)
    subscription = await first.subscribe(TOPIC, "g")
    await first.publish([note("one"), note("two")])
    read = await subscription.fetch(5, wait=0)
    await subscription.commit({read[0].source: 1})
    await first.close()
    second = embedded.open()
    again = await (await second.subscribe(TOPIC, "g", start="now")).fetch(5, wait=0)

    assert [b"two"] == [message.value for message in again]
    assert read[1] == again[0]
    with pytest.raises(Invalid, match="has 3 partitions"):
        await second.ensure_topic(TOPIC, 4)
    await second.close()


async def test_offsets_go_on_after_everything_was_swept(embedded: Opener, clock: ManualClock) -> None:
    """An emptied partition never numbers twice, also in the next process."""
    first = embedded.open()
    old = await first.publish([note("old")] * 3)
    await clock.advance(90_000)
    await first.sweep()
    await first.close()
    second = embedded.open()

    assert old[-1].offset + 1 == (await second.publish([note("new")]))[0].offset
    await second.close()


async def test_a_recorded_start_survives_without_a_commit(embedded: Opener) -> None:
    """A group that started `now` and stopped before its first fetch misses nothing."""
    first = embedded.open()
    await first.subscribe(TOPIC, "g")
    await first.publish([note("between")])
    await first.close()
    second = embedded.open()
    found = await (await second.subscribe(TOPIC, "g")).fetch(5, wait=0)

    assert [b"between"] == [message.value for message in found]
    await second.close()


async def test_a_pause_while_the_disk_is_read_is_respected(embedded: Opener) -> None:
    """What was read too late is read again after the resume."""
    bus = embedded.open()
    subscription = await bus.subscribe(TOPIC, "g")
    position = (await bus.publish([note("held")]))[0]
    fetching = asyncio.create_task(subscription.fetch(5, wait=0))
    await asyncio.sleep(0)
    subscription.pause([Partition(TOPIC, position.partition)])

    assert [] == await fetching
    subscription.resume([Partition(TOPIC, position.partition)])
    assert [b"held"] == [message.value for message in await subscription.fetch(5, wait=0)]
    await bus.close()


async def test_close_finishes_what_was_accepted(embedded: Opener) -> None:
    """A publish under way when the bus closes is durable, and the file is left whole, without a side file."""
    first = embedded.open()
    await first.publish([note("warm")])
    publishing = [asyncio.create_task(first.publish([note(f"{number}")])) for number in range(50)]
    await asyncio.sleep(0)
    await first.close()

    assert not embedded.path.with_name("bus.db-wal").exists()
    await asyncio.gather(*publishing)
    second = embedded.open()

    assert 51 == len(await everything(second))
    await second.close()


@pytest.mark.parametrize("answers", [1, 40, 400])
async def test_what_was_answered_survives_kill_9(embedded: Opener, answers: int) -> None:
    """Every publish that returned is there, whole; none is there in part; order is kept."""
    acknowledged = killed_after(answers, embedded.path)
    bus = embedded.open()
    values = [value.decode() for value in await everything(bus)]
    await bus.close()
    whole = {value.rpartition("/")[0] for value in values}

    assert set(acknowledged) <= whole
    assert len(values) == len(set(values)) == 3 * len(whole)
    for name in "abcd":
        mine = [tuple(map(int, value.split("/")[1:])) for value in values if value.startswith(name)]
        assert sorted(mine) == mine


async def test_a_person_may_look_at_what_a_killed_hub_left(embedded: Opener) -> None:
    """No repair is needed first."""
    killed_after(1, embedded.path)
    archive = Archive(embedded.path)
    found = [await archive.read(TOPIC, number, 0) for number in range(4)]
    await archive.close()

    assert any(found)


def killed_after(answers: int, path: Path) -> list[str]:
    """Publish without end in a child, kill it after *answers*, return every answer it gave."""
    command = [sys.executable, "-c", OPENING + ENDLESS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip() for _ in range(answers)]
        os.kill(child.pid, signal.SIGKILL)
        return acknowledged + [line.strip() for line in child.stdout if line.endswith("\n")]


async def test_a_full_disk_is_unavailable_and_later_all_is_well(embedded: Opener) -> None:
    """Refused publishes leave nothing half-written, accepted ones stay, and room on the disk mends it."""
    accepted, refused = on_a_full_disk(embedded.path)
    bus = embedded.open()
    values = [value.rstrip(b"\0").decode() for value in await everything(bus)]
    await bus.close()

    assert int(refused) > 0 < len(accepted.split())
    assert {"before", "after"} <= set(values)
    assert {int(number) for number in accepted.split()} <= pairs(values, "x")
    assert pairs(values, "x") == pairs(values, "y")


def on_a_full_disk(path: Path) -> list[str]:
    """Publish in a child whose files may not grow, then may; return what it printed."""
    command = [sys.executable, "-c", OPENING + FULL_DISK, str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout.splitlines()


def pairs(values: list[str], letter: str) -> set[int]:
    return {int(value[1:]) for value in values if value.startswith(letter)}


async def test_a_failed_commit_is_refused_and_the_next_one_works(
    embedded: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error at COMMIT the file is opened anew; numbers stay without gaps."""
    bus = embedded.open()
    await bus.publish([note("one")])
    commit = logfile.LogFile.commit
    monkeypatch.setattr(logfile.LogFile, "commit", failing)
    with pytest.raises(Unavailable, match="disk I/O error"):
        await bus.publish([note("lost")])
    monkeypatch.setattr(logfile.LogFile, "commit", commit)
    await bus.publish([note("two")])

    assert [b"one", b"two"] == await everything(bus)
    assert 1 == (await bus.publish([note("three")]))[0].offset - 1
    await bus.close()


def failing(_file: object) -> None:
    message = "disk I/O error"
    raise sqlite3.OperationalError(message)


async def test_many_publishers_share_commits(embedded: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred publishes at once take a few commits, not a hundred."""
    bus = embedded.open()
    await bus.publish([note("warm")])
    commits = []
    commit = logfile.LogFile.commit

    def counted(file: logfile.LogFile) -> logfile.News:
        commits.append(file)
        return commit(file)

    monkeypatch.setattr(logfile.LogFile, "commit", counted)
    await asyncio.gather(*(bus.publish([note(f"{number}")]) for number in range(100)))

    assert 20 > len(commits)
    await bus.close()


async def test_a_person_may_look_while_the_hub_runs(embedded: Opener) -> None:
    """An archive needs no lock and sees what is durable."""
    bus = embedded.open()
    position = (await bus.publish([note("seen")]))[0]
    archive = Archive(embedded.path)
    during = await archive.read(*position)
    await bus.close()
    await archive.close()
    archive = Archive(embedded.path)
    after = await archive.read(*position)

    assert during is not None
    assert during == after
    assert await archive.read(TOPIC, 0, 99) is None
    assert await archive.read("elsewhere", 0, 0) is None
    await archive.close()


def test_an_archive_of_nothing_says_so(tmp_path: Path) -> None:
    """Looking never makes a file."""
    with pytest.raises(Unreachable, match="there is no bus file"):
        Archive(tmp_path / "none.db")


async def test_the_log_is_folded_by_the_writer(embedded: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log does not grow with everything ever published."""
    monkeypatch.setattr(logfile, "_FOLD_AFTER", 200_000)
    bus = embedded.open()
    for _ in range(40):
        await bus.publish([Outgoing(topic=TOPIC, key=b"k", value=bytes(100_000))])
    size = embedded.path.with_name("bus.db-wal").stat().st_size
    await bus.close()

    assert 2_000_000 > size


async def test_the_file_is_durable_by_its_settings(embedded: Opener) -> None:
    """WAL with synchronous=FULL, folding on our terms, no memory mapping; and nobody else may read it."""
    await embedded.open().close()
    connection = logfile.LogFile(embedded.path, "test")._connection
    names = ("journal_mode", "synchronous", "wal_autocheckpoint", "mmap_size")
    settings = [connection.execute(f"PRAGMA {name}").fetchone() for name in names]
    connection.close()

    assert ["wal", 2, 0] == [row[0] for row in settings[:3]]
    assert settings[3] in {None, (0,)}
    assert 0o600 == stat.S_IMODE(embedded.path.stat().st_mode)


async def test_a_foreign_file_is_left_alone(embedded: Opener) -> None:
    """Text, another database and a newer version are refused with a remedy."""
    embedded.path.write_text("dear diary " * 100)
    with pytest.raises(Invalid, match="is not a bus file"):
        embedded.open()
    embedded.path.unlink()
    with sqlite3.connect(embedded.path) as connection:
        connection.execute("CREATE TABLE diary (day TEXT)")
    connection.close()
    with pytest.raises(Invalid, match="not one of the bus"):
        embedded.open()
    embedded.path.unlink()
    await embedded.open().close()
    with sqlite3.connect(embedded.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Invalid, match="newer Penstock"):
        embedded.open()


async def test_a_file_of_the_first_version_is_brought_up_to_date(embedded: Opener) -> None:
    """Whoever opens it first; its messages and positions are there, and a member can join."""
    with sqlite3.connect(embedded.path) as first:
        first.executescript((Path(__file__).with_name("schemas") / "1.sql").read_text())
        first.executescript(f"PRAGMA application_id = {logfile._APPLICATION}; PRAGMA user_version = 1;")
        first.execute("INSERT INTO topic VALUES (?, 1)", (TOPIC,))
        log = first.execute("INSERT INTO log (topic, number) VALUES (?, 0)", (TOPIC,)).lastrowid
        places = [(log << logfile.OFFSET_BITS) + offset for offset in range(3)]
        first.executemany("INSERT INTO message VALUES (?, 1, NULL, ?, NULL)", [(at, b"%d" % at) for at in places])
        first.execute("INSERT INTO position VALUES ('p', ?, 2)", (log,))
    first.close()
    opened = await asyncio.gather(*(asyncio.to_thread(embedded.open) for _ in range(4)))
    subscription = await opened[0].subscribe(TOPIC, "p", start="oldest")
    got = [message.value for message in await subscription.fetch(10, wait=5)]

    assert got == [b"%d" % places[2]]
    for one in opened:
        await one.close()
    with sqlite3.connect(embedded.path) as now:
        assert now.execute("PRAGMA user_version").fetchone() == (logfile._VERSION,)
    now.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, clock: ManualClock) -> None:
    """The message names the path and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreachable, match="cannot be opened"):
        room.open(tmp_path / "file" / "bus.db", keep=1.0, clock=clock)


async def test_a_callers_mistake_does_not_reach_other_publishers(embedded: Opener) -> None:
    """What cannot be packed is raised to who sent it, before it joins a group."""
    bus = embedded.open()
    await bus.publish([note("warm")])
    bad = Outgoing(topic=TOPIC, key=b"k", value=b"v", headers=[("\ud800", b"")])
    good = [bus.publish([note(f"{number}")]) for number in range(10)]
    results = await asyncio.gather(*good[:5], bus.publish([bad]), *good[5:], return_exceptions=True)

    assert [UnicodeEncodeError] == [type(result) for result in results if isinstance(result, Exception)]
    assert 11 == len(await everything(bus))
    assert Partition(TOPIC, 0) in (await (await bus.subscribe(TOPIC, "g")).committed())
    await bus.close()


async def test_an_unwritable_file_is_logged_once_per_failure(
    embedded: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what could not be written, and why."""
    bus = embedded.open()
    await bus.publish([note("one")])
    monkeypatch.setattr(logfile.LogFile, "commit", failing)
    with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
        await bus.publish([note("lost")])
    await bus.close()

    assert ["the bus could not write to bus.db: disk I/O error"] == [record.getMessage() for record in caplog.records]
