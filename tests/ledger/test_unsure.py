"""
Traces in which a claim was won and nobody was told, and in which a machine began anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger import Claim, file_lease
from ledger import lease as lease_module
from penstock.clock import ManualClock
from penstock.errors import Unavailable

BODY = b"{}"
DISK = sqlite3.SQLITE_IOERR


class LostCommits:
    """
    A disk that takes a batch, then its single operation, and reports an error both times.
    """

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, point: str) -> None:
        if point == "commit:after" and self.left:
            self.left -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = DISK
            raise error


async def test_p21_a_claim_won_without_an_answer_is_found_by_the_next_try(make: Callable[..., Any]) -> None:
    """
    The claim took effect and failed for its caller: tried again, it gives the lane it has won.
    """
    lost = LostCommits()
    book = await ledger.open(None, clock=ManualClock(), fail=lost)
    lost.left = 2
    with pytest.raises(Unavailable):
        await book.claim(make("1"))
    claimed = await book.claim(make("1"))
    again = await book.claim(make("1"))
    await book.close()

    assert isinstance(claimed, Claim)
    assert again == ledger.Busy(), "only the try that follows the failure finds it"


async def test_p21_what_was_picked_up_without_an_answer_is_picked_up_again(make: Callable[..., Any]) -> None:
    """
    A pick-up took effect and failed for its caller: there is something due at once, and it is the same run.
    """
    lost, clock = LostCommits(), ManualClock()
    book = await ledger.open(None, clock=clock, fail=lost)
    await book.admit(make("1"), BODY, reason="behind")
    lost.left = 2
    with pytest.raises(Unavailable):
        await book.pick_up(["p"], 9)
    due = await book.next_due(["p"])
    (picked,) = await book.pick_up(["p"], 9)
    after = await book.next_due(["p"])
    await book.finish(picked.claim, "delivered")
    await book.close()

    assert due == clock.now_ms()
    assert picked.claim.run == make("1").run
    assert after is None


async def test_p24_a_reboot_does_not_put_a_retry_off(
    tmp_path: Path, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The machine's uptime begins at nothing again: a run is due when the clock on the wall says so.
    """
    clock = ManualClock()
    book = await ledger.open(tmp_path / "ledger.db", clock=clock)
    claim = await book.claim(make("1"))
    assert isinstance(claim, Claim)
    await book.wait(claim, "retry", BODY, why="503", due_at=clock.now_ms() + 60_000)
    await book.close()
    for module in (lease_module, file_lease):
        monkeypatch.setattr(module, "boot_ms", lambda: 30_000)
        monkeypatch.setattr(module, "boot_id", lambda: "another")
    book = await ledger.open(tmp_path / "ledger.db", clock=clock)
    early = await book.pick_up(["p"], 9)
    await clock.advance(61)
    (picked,) = await book.pick_up(["p"], 9)
    await book.close()

    assert early == []
    assert picked.claim.run == claim.run
