"""
The position of a partition.
"""

from hypothesis import given
from hypothesis import strategies as st

from engine import Watermark


def test_position_stops_at_the_first_unfinished_offset() -> None:
    """
    Finishing later offsets first does not move the position.
    """
    mark = Watermark()
    for offset in range(5, 9):
        assert mark.add(offset)
    mark.finish(6)
    mark.finish(8)

    assert mark.position == 5
    mark.finish(5)
    assert mark.position == 7
    mark.finish(7)
    assert mark.position == 9


def test_an_offset_is_taken_once() -> None:
    """
    An offset that was received before is refused, finished or not.
    """
    mark = Watermark()
    mark.add(1)
    mark.add(2)
    mark.finish(1)

    assert not mark.add(1)
    assert not mark.add(2)
    assert mark.add(7)


@given(gaps=st.lists(st.integers(1, 5), min_size=1, max_size=60), seed=st.randoms(use_true_random=False))
def test_position_never_passes_unfinished_work(gaps: list[int], seed) -> None:  # type: ignore[no-untyped-def]
    """
    For any order of ends: everything below the position is finished, and at the end all is passed.
    """
    offsets, at = [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
    mark = Watermark()
    for offset in offsets:
        mark.add(offset)
    todo = set(offsets)
    order = list(offsets)
    seed.shuffle(order)
    for offset in order:
        mark.finish(offset)
        todo.discard(offset)
        assert mark.position is not None
        assert all(offset >= mark.position for offset in todo)

    assert mark.position == offsets[-1] + 1
    assert mark.outstanding == 0
