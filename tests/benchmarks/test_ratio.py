"""
Ratios are taken round by round, in turns.
"""

from __future__ import annotations

import json

import pytest

from benchmarks import ratio


def test_both_take_turns_and_the_first_round_only_warms_up() -> None:
    """Who begins changes every round, so that neither always runs on a warmer machine."""
    calls: list[str] = []

    def run(name: str) -> float:
        calls.append(name)
        return 1.0

    ratio.compare("x", lambda: run("ours"), lambda: run("theirs"), 2)

    assert ["ours", "theirs", "ours", "theirs", "theirs", "ours"] == calls


def test_one_slow_round_does_not_decide() -> None:
    """The median of the rounds' ratios is reported, and all of them as spread."""
    ours, theirs = iter([0.0, 2.0, 90.0, 2.0]), iter([1.0, 1.0, 1.0, 1.0])
    result = ratio.compare("x", lambda: next(ours), lambda: next(theirs), 3, at_most=5)

    assert (2.0, (2.0, 90.0), True) == (result.ratio, result.spread, result.met)


@pytest.mark.parametrize(
    ("at_least", "at_most", "met"),
    [(0.8, None, False), (0.4, None, True), (None, 0.4, False), (None, 0.5, True), (None, None, True)],
)
def test_an_aim_is_met_or_not(
    at_least: float | None,
    at_most: float | None,
    met: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report says so, and its exit code too."""
    monkeypatch.setattr("sys.argv", ["bench", "--json"])
    result = ratio.compare("x", lambda: 1.0, lambda: 2.0, 1, at_least=at_least, at_most=at_most)
    code = ratio.report([result])

    assert (0 if met else 1) == code
    assert met == json.loads(capsys.readouterr().out)["results"][0]["met"]
