"""
What `penstock doctor` looks at on this machine.
"""

from __future__ import annotations

import os
import platform
import resource
import socket
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from console.cli.exam import Finding
from penstock import __version__

SQLITE_NEEDED = (3, 38, 0)
SQLITE_RESET_FIXED = (3, 51, 3)
"""Before it, a checkpoint racing a writer in another process could corrupt a WAL file (the WAL-reset bug)."""
SQLITE_RESET_BACKPORTS = ((3, 44, 6), (3, 50, 7))
OPEN_FILES_NEEDED = 1024
SLOW_FSYNC = 25.0  # milliseconds; every accepted event waits for one
FSYNCS = 9  # the median of so many
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # a clock before it was never set
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "9p", "sshfs"}


def machine() -> list[Finding]:
    """
    Look at Python, SQLite, the clock and the limits of this process.
    """
    return [_python(), _sqlite(), _clock(), _open_files()]


def state(folder: Path, listen: str) -> list[Finding]:
    """
    Look at the state folder and the port.
    """
    return [_folder(folder), _file_system(folder), _port(listen)]


def _python() -> Finding:
    says = f"Python {platform.python_version()}, penstock {__version__}, {platform.system()} {platform.machine()}"
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        return Finding(what="python", state="bad", says=says, next="use Python 3.11, 3.12 or 3.13")
    return Finding(what="python", state="ok", says=says)


def _sqlite() -> Finding:
    found = sqlite3.sqlite_version_info
    says = f"SQLite {sqlite3.sqlite_version}"
    if found < SQLITE_NEEDED:
        return Finding(what="sqlite", state="bad", says=says, next="use a Python built with SQLite 3.38 or newer")
    fixed = found >= SQLITE_RESET_FIXED or any(
        found[:2] == line[:2] and found >= line for line in SQLITE_RESET_BACKPORTS
    )
    if not fixed:
        return Finding(
            what="sqlite",
            state="ok",
            says=f"{says}; it has the WAL-reset bug, which writers that take turns (ours) do not meet",
        )
    return Finding(what="sqlite", state="ok", says=says)


def _clock() -> Finding:
    now = datetime.now(UTC)
    says = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now < EARLIEST:
        return Finding(what="clock", state="bad", says=says, next="set the clock: signatures and budgets depend on it")
    return Finding(what="clock", state="ok", says=says)


def _open_files() -> Finding:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    says = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES_NEEDED:
        return Finding(what="open files", state="bad", says=says, next=f"raise it: ulimit -n {OPEN_FILES_NEEDED}")
    return Finding(what="open files", state="ok", says=says)


def _folder(folder: Path) -> Finding:
    there = _nearest(folder)
    try:
        took = _fsync_ms(there)
    except OSError as error:
        return Finding(
            what="state folder",
            state="bad",
            says=f"{there}: {error.strerror}",
            next="make it writable, or change hub.state",
        )
    says = f"{folder}: one fsync takes {took:.2f} ms"
    if took > SLOW_FSYNC:
        return Finding(what="state folder", state="note", says=says, next="a faster disk takes more events")
    return Finding(what="state folder", state="ok", says=says)


def _nearest(folder: Path) -> Path:
    """
    Return *folder* or the nearest parent that exists: nothing is made by looking.
    """
    there = folder.absolute()
    while not there.is_dir() and there != there.parent:
        there = there.parent
    return there


def _fsync_ms(folder: Path) -> float:
    times = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".penstock-doctor-") as file:
        for _ in range(FSYNCS):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    return sorted(times)[FSYNCS // 2]


def _file_system(folder: Path) -> Finding:
    kind = file_system_of(_nearest(folder))
    if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        return Finding(
            what="file system",
            state="bad",
            says=f"{kind}: locks of a network file system cannot be trusted",
            next="put hub.state on a local disk",
        )
    return Finding(what="file system", state="ok", says=kind or "unknown")


def file_system_of(folder: Path) -> str:
    """
    Return the type of the file system *folder* is on, e.g. `ext4`; empty when nobody says.
    """
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for line in mounts:
        _device, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if (folder == Path(point) or Path(point) in folder.parents) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _port(listen: str) -> Finding:
    host, _, port = listen.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host.strip("[]"), int(port)), family=family):
            return Finding(what="port", state="ok", says=f"{listen} is free")
    except OSError as error:
        return Finding(
            what="port",
            state="note",
            says=f"{listen}: {error.strerror}",
            next="a running hub holds it, or change hub.listen",
        )
    except ValueError:
        return Finding(
            what="port", state="bad", says=f"{listen!r} is no address", next="write hub.listen: 127.0.0.1:8080"
        )
