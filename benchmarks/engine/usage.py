"""
What a process and its children have used, as the kernel counts it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")  # per second
_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """
    Processor and memory.
    """

    cpu: float
    """Seconds, of children that ended too."""
    peak: int
    """Bytes resident at most so far, all processes together."""


def usage(pid: int) -> Usage:
    """
    Return what *pid* and everything below it have used so far.
    """
    found = [pid, *_below(pid)]
    return Usage(cpu=sum(map(_cpu, found)), peak=sum(map(_peak, found)))


def _read(pid: int, name: str) -> str:
    """
    Return what the kernel says of a process; nothing of one that is gone.
    """
    try:
        return (Path("/proc") / str(pid) / name).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _cpu(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK  # utime, stime, and those of waited-for children


def _peak(pid: int) -> int:
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    return 0


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for task in _tasks(pid):
        children = [int(child) for child in _read(pid, f"task/{task}/children").split()]
        found += [below for child in children for below in (child, *_below(child))]
    return found


def _tasks(pid: int) -> list[str]:
    try:
        return [entry.name for entry in (Path("/proc") / str(pid) / "task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []
