"""
What a call to a model costs us, against the vendors' own SDKs: `python -m benchmarks.calls [--json] [--results FILE] [--rounds N]`.

Each contender is a process of its own and has 200 calls in flight, in turns, at a model in one more process that takes
half a second. Processor is counted inside the contender, after it is warm. `penstock, AI.ask` is more than a call: a
claim, a reservation, a checked answer and its entry in a ledger; it is told once, and not compared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import ratio
from benchmarks.calls.caller import IN_FLIGHT, Figures
from benchmarks.calls.contenders import CONTENDERS
from benchmarks.calls.model import COUNTS
from penstock import HOUSE

ROUNDS = 3
CALLS = 800
AIM = 0.35  # of the SDK's processor
PAIRS = {"penstock, OpenAI": "openai SDK", "penstock, Anthropic": "anthropic SDK"}
COMPARED = {*PAIRS, *PAIRS.values()}
_STOP = 30.0  # seconds
_PATIENCE = 300.0  # seconds
_MB, _KB = 1e6, 1e3

Runs = Mapping[str, Sequence[Figures]]
"""What each contender took, round by round."""


@contextlib.contextmanager
def model() -> Iterator[str]:
    """
    Run the model as long as the block lasts; give its URL.
    """
    command = [sys.executable, "-m", "benchmarks.calls.model"]
    with subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
            process.wait(_STOP)


def called(contender: str, url: str, calls: int) -> Figures:
    """
    Let *contender* make *calls* calls in a process of its own.
    """
    command = [sys.executable, "-m", "benchmarks.calls.caller", contender, url, str(calls)]
    done = subprocess.run(command, cwd=HOUSE, check=True, stdout=subprocess.PIPE, timeout=_PATIENCE)
    return Figures(**json.loads(done.stdout))


def measured(rounds: int, calls: int) -> Runs:
    """
    Let all of them call, in turns; who begins changes every round. Raises `RuntimeError` when too few were in flight.
    """
    runs: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
    for number in range(rounds):
        turns = [name for name in runs if number == 0 or name in COMPARED]
        for contender in turns if number % 2 == 0 else reversed(turns):
            with model() as url:
                runs[contender].append(called(contender, url, calls))
                with urllib.request.urlopen(url + COUNTS, timeout=_STOP) as answer:
                    most = json.load(answer)["most"]
            if most < IN_FLIGHT:
                raise RuntimeError(f"{contender}: only {most} calls were in flight, {IN_FLIGHT} were meant to be")
            print(f"{contender}: {runs[contender][-1].cpu * 1e3:.2f} ms of processor per call", file=sys.stderr)
    return runs


def aims(runs: Runs) -> list[ratio.Comparison]:
    """
    Compare our adapters with the SDKs, round by round.
    """
    return [
        ratio.compared(
            f"CPU per call, {mine} / {theirs}",
            [(one.cpu, other.cpu) for one, other in zip(runs[mine], runs[theirs], strict=True)],
            at_most=AIM,
        )
        for mine, theirs in PAIRS.items()
    ]


def table(runs: Runs) -> str:
    """
    Return what each took as text in columns: medians over the rounds.
    """
    head = ("contender", "CPU ms/call", "calls/s", "import s", "peak MB above import", "kB/call in flight")
    rows = [head, *(_row(name, figures) for name, figures in runs.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _row(name: str, figures: Sequence[Figures]) -> tuple[str, ...]:
    return (
        name,
        f"{median(one.cpu for one in figures) * 1e3:.2f}",
        f"{median(one.calls / one.wall for one in figures):.0f}",
        f"{median(one.imported for one in figures):.2f}",
        f"{median(one.peak for one in figures) / _MB:.0f}",
        f"{median(one.each for one in figures) / _KB:.0f}",
    )


def report(runs: Runs, *, as_json: bool, results: Path | None) -> int:
    """
    Print, keep, and return 1 when an aim was missed.
    """
    facts = ratio.machine("aiohttp", "anthropic", "httpx2", "openai", "pydantic", "uvloop")
    found = aims(runs)
    numbers = {
        "machine": facts | {"in flight": str(IN_FLIGHT)},
        "aims": [{**asdict(one), "met": one.met} for one in found],
        "contenders": {name: [asdict(one) for one in figures] for name, figures in runs.items()},
    }
    text = json.dumps(numbers, indent=2)
    if results is not None:
        results.write_text(text + "\n", "utf-8")
    named = ", ".join(f"{name} {value}" for name, value in facts.items())
    print(text if as_json else "\n".join((named, table(runs), ratio.table(found))))
    return 0 if all(one.met for one in found) else 1


def main() -> int:
    """
    Measure and report.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    return report(measured(given.rounds, CALLS), as_json=given.json, results=given.results)


if __name__ == "__main__":
    sys.exit(main())
