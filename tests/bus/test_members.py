"""
Partitions are shared evenly, and only those that must move do.
"""

from __future__ import annotations

import pytest

from bus.roster import share


@pytest.mark.parametrize("members", range(1, 9))
@pytest.mark.parametrize("partitions", [1, 4, 12])
def test_members_that_come_and_go_keep_the_shares_even(partitions: int, members: int) -> None:
    """After each join and each leave every partition has one owner, and sizes differ by one at most."""
    everything = list(range(partitions))
    held: list[list[int]] = []
    for _ in range(members):
        held = share(everything, [*held, []])
        check(everything, held)
    while len(held) > 1:
        held = share(everything, held[1:])
        check(everything, held)


def check(everything: list[int], held: list[list[int]]) -> None:
    assert everything == sorted(partition for mine in held for partition in mine)
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_a_newcomer_takes_no_more_than_its_share() -> None:
    """Twelve partitions, a third member: four move, eight stay."""
    everything = list(range(12))
    before = share(everything, [everything[:6], everything[6:]])
    after = share(everything, [*before, []])

    assert [4, 4, 4] == [len(mine) for mine in after]
    assert all(set(new) <= set(old) for old, new in zip(before, after, strict=False))
