"""
A pytest plugin that writes the quality block of each connector whose tests ran.

    python -m pytest -p connectors.testing_quality --quality tests/connectors
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors import catalog
from connectors.quality import POINTS, Kept, Quality, State, tier_of, write
from connectors.testing import ConnectorContract
from connectors.testing_bench import OnBench
from connectors.testing_points import EXEMPT, MISSING

PROPERTY = "point"  # of a report: connector and number
FOREIGN = "foreign"  # of a report: a system that others wrote
OURS = "ours"  # of a report: a system that we wrote
SUITE = "suite"  # of a report: connector and digest
SHORT = 12  # hex digits of a digest


@dataclass(slots=True)
class Gathered:
    """
    What the tests of one connector said.
    """

    suite: str = ""
    outcomes: dict[int, list[tuple[Kept, str]]] = field(default_factory=lambda: defaultdict(list))
    foreign: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add `--quality`.
    """
    parser.addoption("--quality", action="store_true", help="write the quality block of each connector that was tested")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Note on each test to which connector and points it belongs; a class that inherits a part of the contract adds to them.
    """
    for item in items:
        name = connector_of(item)
        if name is None:
            continue
        item.user_properties += [(PROPERTY, (name, number)) for number in _numbers(item)]
        kept = getattr(item, "cls", None)
        if isinstance(kept, type) and issubclass(kept, ConnectorContract):
            item.user_properties.append((SUITE, (name, digest(kept))))


def pytest_configure(config: pytest.Config) -> None:
    """
    Gather in the process that sees all reports.
    """
    if config.getoption("--quality") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gathering(), "quality")


class Gathering:
    """
    Gathers reports and writes the blocks at the end.
    """

    def __init__(self) -> None:
        self._found: dict[str, Gathered] = defaultdict(Gathered)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """
        Take what one phase of a test said.
        """
        said = _said(report)
        if said is None:
            return
        properties: list[tuple[str, Any]] = [*report.user_properties]
        foreign = {str(value) for key, value in properties if key == FOREIGN}
        ours = {str(value) for key, value in properties if key == OURS}
        for key, value in properties:
            if key == SUITE:
                self._found[value[0]].suite = value[1]
            if key == PROPERTY:
                self._found[value[0]].outcomes[value[1]].append(said)
                self._found[value[0]].foreign |= foreign if said[0] == "passed" else set()
                self._found[value[0]].ours |= ours

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """
        Write the blocks and say which tier each connector reaches.
        """
        for name, found in sorted(self._found.items()):
            if not found.suite:
                continue  # it does not inherit the suite: there is nothing to say of it
            quality = judged(name, found)
            write(catalog.folder(name), quality)
            terminalreporter.write_line(f"{name}: {quality.tier or 'no tier'}")


def judged(name: str, found: Gathered) -> Quality:
    """
    Return the quality block that what was gathered makes.
    """
    points = {number: _state(found.outcomes.get(number, [])) for number in POINTS}
    return Quality(
        connector=name,
        tier=tier_of(points),
        date=datetime.now(UTC).date().isoformat(),
        suite=found.suite,
        points=points,
        ours=tuple(sorted(found.ours)),
        foreign=tuple(sorted(found.foreign)),
    )


def digest(kept: type[OnBench]) -> str:
    """
    Return a digest of the tests of a connector: their points and names, what they need and what it lacks.
    """
    lines = [f"{number} {name}" for name, test in _tests(kept) for number in _marked(test)]
    lines += [f"{need}: {reason}" for need, reason in kept.lacks.items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:SHORT]


def connector_of(item: pytest.Item) -> str | None:
    """
    Return the connector a test belongs to: by its class, or by the folder it is in.
    """
    kept = getattr(item, "cls", None)
    if isinstance(kept, type) and issubclass(kept, OnBench):
        return kept.name
    folder = item.path.parent.name
    return folder if folder in catalog.names() else None


def _tests(kept: type) -> Iterator[tuple[str, Any]]:
    for name in dir(kept):
        if name.startswith("test_"):
            yield name, getattr(kept, name)


def _marked(test: Any) -> list[int]:
    return [mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "point"]


def _numbers(item: pytest.Item) -> list[int]:
    return [mark.args[0] for mark in item.iter_markers("point")]


def _said(report: pytest.TestReport) -> tuple[Kept, str] | None:
    """
    Return what a report says of its points; None for a phase that says nothing.
    """
    if report.failed:
        return "failed", report.nodeid
    expected = getattr(report, "wasxfail", None)
    if report.skipped and expected is not None:
        said = str(expected).removeprefix("reason: ")
        exempt = said.startswith(EXEMPT)
        return ("exempt" if exempt else "missing"), said.removeprefix(EXEMPT).removeprefix(MISSING)
    if report.skipped:
        return "skipped", str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    return ("passed", "") if report.when == "call" else None


def _state(outcomes: list[tuple[Kept, str]]) -> State:
    order: tuple[Kept, ...] = ("failed", "skipped", "passed", "missing", "exempt")
    states = {state for state, _ in outcomes}
    state: Kept = next((each for each in order if each in states), "missing")
    reasons = tuple(dict.fromkeys(reason for _, reason in outcomes if reason))
    return State(
        state=state,
        tests=sum(each == "passed" for each, _ in outcomes),
        reasons=reasons if outcomes else ("no test",),
    )
