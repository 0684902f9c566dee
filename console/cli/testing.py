"""
`penstock test`: the cases of `tests/*.test.yaml`, on the real engine, without network.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.text import Text

from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from engine.rehearsal import rehearse
from penstock.errors import Invalid, PenstockError
from pipelines.casebook import find_files, read_cases
from pipelines.loading import Loaded
from pipelines.testing import Case, Mismatch, Outcome, compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    A case that ran.
    """

    case: Case
    mismatches: tuple[Mismatch, ...]
    outcome: Outcome | None
    seconds: float

    @property
    def passed(self) -> bool:
        """
        Whether everything was as expected.
        """
        return not self.mismatches


def test(file: Path, paths: Sequence[Path], *, match: str | None, junit: Path | None, as_json: bool) -> int:
    """
    Run the cases; 0 when all are as expected, 1 when not.
    """
    loaded = project.load(file)
    cases = _cases(loaded, paths, match)
    results = asyncio.run(_all(loaded, cases, quiet=as_json))
    if junit is not None:
        junit.write_bytes(_junit(results))
    if as_json:
        emit("test", cases=[_as_data(result) for result in results])
    failed = sum(not result.passed for result in results)
    say(f"{wording.plural(len(results), 'case')}, {failed} failed, {sum(r.seconds for r in results):.2f} s")
    return Exit.FINDINGS if failed or not results else Exit.OK


def _cases(loaded: Loaded, paths: Sequence[Path], match: str | None) -> list[Case]:
    cases = [case for path in find_files(paths, loaded.root) for case in read_cases(path)]
    known = project.declaration(loaded).pipelines
    for case in cases:
        if case.pipeline not in known:
            raise Invalid(
                f"there is no pipeline {case.pipeline!r}", where=f"{case.file}", hint=f"one of {', '.join(known)}"
            )
    if not cases:
        say("there is no case to run; next: write tests/<pipeline>.test.yaml, `penstock init` makes one to copy")
    return [case for case in cases if not match or match.lower() in f"{case.pipeline} {case.name}".lower()]


async def _all(loaded: Loaded, cases: Sequence[Case], *, quiet: bool) -> list[Result]:
    results = []
    for case in cases:
        result = await _one(loaded, case)
        results.append(result)
        if not quiet:
            _print(result)
    return results


async def _one(loaded: Loaded, case: Case) -> Result:
    begun = time.perf_counter()
    outcome, mismatches = None, []
    try:
        outcome = await rehearse(project.declaration(loaded), loaded.root, case)
        mismatches = compare(case.words.expect, outcome)
    except PenstockError as error:
        mismatches = [Mismatch(what="run", expected="the case runs", actual=str(error))]
    return Result(case=case, mismatches=tuple(mismatches), outcome=outcome, seconds=time.perf_counter() - begun)


def _print(result: Result) -> None:
    word, colour = ("pass", "green") if result.passed else ("FAIL", "red")
    out().print(Text.assemble((word, colour), f"  {result.case.pipeline}  {result.case.name}"), soft_wrap=True)
    for line in _failure(result):
        out().print(Text(f"      {line}"), soft_wrap=True)


def _failure(result: Result) -> list[str]:
    if result.passed:
        return []
    lines = [result.case.place]
    for mismatch in result.mismatches:
        lines += [mismatch.what, f"  expected  {mismatch.expected}", f"  actual    {mismatch.actual}"]
    if result.outcome is not None and result.outcome.why and "verdict" not in {m.what for m in result.mismatches}:
        lines.append(f"the run ended {result.outcome.verdict}: {result.outcome.why}")
    return lines


def _as_data(result: Result) -> dict[str, object]:
    outcome = result.outcome
    return {
        "pipeline": result.case.pipeline,
        "name": result.case.name,
        "file": str(result.case.file),
        "line": result.case.line,
        "passed": result.passed,
        "seconds": round(result.seconds, 3),
        "mismatches": [
            {"what": each.what, "expected": each.expected, "actual": each.actual} for each in result.mismatches
        ],
        "verdict": outcome.verdict if outcome else None,
        "cost_micro_usd": outcome.cost if outcome else None,
        "context_tokens": outcome.receipt.used if outcome and outcome.receipt else None,
    }


def _junit(results: Sequence[Result]) -> bytes:
    failed = str(sum(not result.passed for result in results))
    seconds = f"{sum(result.seconds for result in results):.3f}"
    suite = ET.Element("testsuite", name="penstock", tests=str(len(results)), failures=failed, time=seconds)
    for result in results:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=result.case.pipeline,
            name=result.case.name,
            file=str(result.case.file),
            line=str(result.case.line),
            time=f"{result.seconds:.3f}",
        )
        if not result.passed:
            failure = ET.SubElement(case, "failure", message=result.mismatches[0].what)
            failure.text = "\n".join(_failure(result))
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
