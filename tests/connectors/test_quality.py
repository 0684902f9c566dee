"""
Quality blocks are made by runs of the contract suite, and say when they are out of date.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors import catalog, quality
from connectors.quality import POINTS, Kept, Quality, State, tier_of
from connectors.testing import ConnectorContract
from connectors.testing_quality import Gathered, digest, judged
from penstock.errors import Invalid

HERE = Path(__file__).parent


def contracts() -> Iterator[type[ConnectorContract]]:
    """Yield the tests of each connector that inherits the contract."""
    for path in sorted(HERE.glob("*/test_*.py")):
        if "ConnectorContract" not in path.read_text("utf-8"):
            continue
        module = importlib.import_module(f"tests.connectors.{path.parent.name}.{path.stem}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, ConnectorContract) and found is not ConnectorContract:
                yield found


CONTRACTS = {kept.name: kept for kept in contracts()}


def test_every_connector_inherits_the_contract() -> None:
    """
    None has tests of its own only.
    """
    assert set(catalog.names()) == set(CONTRACTS)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_the_block_is_of_these_tests(name: str) -> None:
    """
    The tests that there are made it: `make quality` makes it anew.
    """
    kept = quality.read(catalog.folder(name))

    assert kept is not None
    assert set(kept.points) == set(POINTS)
    assert kept.suite == digest(CONTRACTS[name]), "out of date: run `make quality`"
    assert (kept.connector, kept.tier) == (name, tier_of(kept.points))
    assert kept.tier in ("silver", "gold")


def states(**other: Kept) -> dict[int, State]:
    return {number: State(state=other.get(f"p{number}", "passed")) for number in POINTS}


@pytest.mark.parametrize(
    ("other", "tier"),
    [
        ({}, "gold"),
        ({"p4": "exempt", "p15": "exempt"}, "gold"),
        ({"p16": "missing"}, "silver"),
        ({"p16": "missing", "p8": "skipped"}, "bronze"),
        ({"p1": "failed"}, None),
        ({"p6": "missing"}, None),
    ],
)
def test_a_tier_stands_on_those_below(other: dict[str, Kept], tier: str | None) -> None:
    """
    One point that is not reached ends the climb; one that does not concern the connector does not.
    """
    assert tier_of(states(**other)) == tier


def test_a_failure_outweighs_what_passed() -> None:
    """
    So does a test that could not be run; a test elsewhere makes up for one that nobody could write here.
    """
    found = Gathered(suite="0" * 12)
    found.outcomes[1] += [("passed", ""), ("failed", "test_x")]
    found.outcomes[2] += [("passed", ""), ("skipped", "no server")]
    found.outcomes[4] += [("exempt", "why"), ("exempt", "why")]
    found.outcomes[8] += [("exempt", "why"), ("passed", "")]
    found.outcomes[16] += [("missing", "only our double"), ("passed", "")]
    found.foreign.add("Dovecot 2.3")
    found.ours.add("double")
    made = judged("zendesk", found)

    assert [made.points[number].state for number in (1, 2, 3, 4, 8, 16)] == [
        "failed",
        "skipped",
        "missing",
        "exempt",
        "passed",
        "passed",
    ]
    assert made.points[4].reasons == ("why",)
    assert made.points[3].reasons == ("no test",)
    assert (made.tier, made.ours, made.foreign) == (None, ("double",), ("Dovecot 2.3",))


def test_the_digest_is_of_the_tests() -> None:
    """
    One more test, or one thing more that a connector lacks, is another suite.
    """

    class More(CONTRACTS["zendesk"]):  # type: ignore[misc]
        @pytest.mark.point(9, needs=())
        def test_more(self) -> None: ...

    class Less(CONTRACTS["zendesk"]):  # type: ignore[misc]
        lacks = {**CONTRACTS["zendesk"].lacks, "text": "none"}  # noqa: RUF012

    assert len({digest(CONTRACTS["zendesk"]), digest(More), digest(Less)}) == 3


def test_a_block_comes_back_as_it_was(tmp_path: Path) -> None:
    """
    What is written is read; a broken file is one error with its place.
    """
    made = Quality(connector="x", tier=None, date="2026-01-05", suite="0", points=states(), foreign=("Dovecot 2",))
    quality.write(tmp_path, made)
    assert quality.read(tmp_path) == made
    (tmp_path / quality.FILE).write_text("{")

    with pytest.raises(Invalid, match="quality.json"):
        quality.read(tmp_path)
    assert quality.read(tmp_path / "nowhere") is None
