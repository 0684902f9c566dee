"""
Instruments: what several processes counted is shown as one, by whichever is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from penstock import HOUSE
from penstock.metrics import Folder, Instruments

COUNTING = """
import sys
from pathlib import Path
from penstock.metrics import Instruments, Shared

instruments = Instruments(Shared(folder=Path(sys.argv[1]), seat=int(sys.argv[2])))
counter = instruments.counter("events", "Events.", ["kind"])
seconds = instruments.histogram("took_seconds", "Time.", ["kind"], (1.0, 2.0))
for _ in range(int(sys.argv[3])):
    counter(1, "a")
    seconds(1.5, "a")
sys.stdout.buffer.write(instruments.text())
"""


def counted(folder: Path, seat: int, times: int) -> dict[str, float]:
    """
    Count in a process of its own; return what it shows.
    """
    words = [sys.executable, "-c", COUNTING, str(folder), str(seat), str(times)]
    done = subprocess.run(words, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(HOUSE)})
    return samples(done.stdout)


def samples(text: bytes) -> dict[str, float]:
    found = (sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples)
    return {each.name + each.labels.get("le", ""): each.value for each in found}


def test_whoever_is_asked_shows_what_all_counted(tmp_path: Path) -> None:
    """
    Counters and buckets are summed over the processes, and nothing is counted twice.
    """
    counted(tmp_path, 1, 3)
    shown = counted(tmp_path, 2, 4)

    assert shown["events_total"] == 7
    assert (shown["took_seconds_bucket1.0"], shown["took_seconds_bucket2.0"], shown["took_seconds_count"]) == (0, 7, 7)


def test_a_process_goes_on_where_the_one_before_it_stopped(tmp_path: Path) -> None:
    """
    A counter never falls back because a process was replaced, and no file is left of it.
    """
    counted(tmp_path, 1, 3)

    assert counted(tmp_path, 1, 2)["events_total"] == 5
    assert sorted(each.name for each in tmp_path.iterdir()) == ["counter_1.db", "histogram_1.db"]


def test_a_new_run_deletes_what_is_left_of_others(tmp_path: Path) -> None:
    """
    Only of those that are over, however they ended: a folder in use stays.
    """
    over = Folder(tmp_path / "metrics")
    os.close(over._lock)  # as the kernel does when the last process is killed
    running = Folder(tmp_path / "metrics")
    new = Folder(tmp_path / "metrics")

    assert not over.path.exists()
    assert {running.path, new.path} == set((tmp_path / "metrics").iterdir())
    for folder in (running, new):
        folder.remove()
    assert not (tmp_path / "metrics").exists()


def test_instruments_in_memory_are_nobody_elses() -> None:
    """
    Two hubs in one process count apart.
    """
    one, other = Instruments(), Instruments()
    one.counter("events", "Events.", ["kind"])(1, "a")
    other.counter("events", "Events.", ["kind"])(5, "a")

    assert samples(one.text())["events_total"] == 1
    assert samples(other.text())["events_total"] == 5
