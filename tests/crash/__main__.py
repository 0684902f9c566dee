"""
`make crash`: the long run, `python -m tests.crash --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import orjson

from tests.crash.ground import COMBINATIONS
from tests.crash.report import Report, table
from tests.crash.scene import RATE, WORKERS, Order, run

FAULTS = 200


def main() -> int:
    """
    Run the asked combinations one after the other; 1 when anything was wrong.
    """
    names = [str(one) for one in COMBINATIONS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Kill hubs, and count what became of it."
    )
    parser.add_argument("--combination", choices=["all", *names], default="all")
    parser.add_argument("--faults", type=int, default=FAULTS, help="at least so many per combination")
    parser.add_argument("--seed", default="", help="of the plan; a new one by default")
    parser.add_argument("--workers", type=int, default=WORKERS + 1, help="side by side")
    parser.add_argument("--rate", type=float, default=RATE, help="events a second")
    parser.add_argument("--results", type=Path, help="folder for the results as JSON and as a table")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no worker stays behind
    reports = []
    for one in COMBINATIONS:
        if given.combination in ("all", str(one)):
            seed = given.seed or secrets.token_hex(4)
            order = Order(combination=one, faults=given.faults, seed=seed, workers=given.workers, rate=given.rate)
            reports.append(_one(order))
    _keep(reports, given.results)
    return 1 if any(report.wrong for report in reports) else 0


def _one(order: Order) -> Report:
    folder = Path(tempfile.mkdtemp(prefix=f"penstock-crash-{order.combination}-"))
    sys.stdout.write(f"{order.combination}: seed {order.seed}, {order.faults} faults, in {folder}\n")
    sys.stdout.flush()
    report = asyncio.run(run(order, folder))
    sys.stdout.write("\n".join(report.lines()) + "\n")
    sys.stdout.flush()
    if not report.wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _keep(reports: list[Report], folder: Path | None) -> None:
    text = "\n".join(table(reports)) + "\n"
    sys.stdout.write(text)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for report in reports:
            (folder / f"{report.combination}.json").write_bytes(
                orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2)
            )
        (folder / "table.md").write_text(text)


if __name__ == "__main__":
    sys.exit(main())
