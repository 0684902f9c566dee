"""
What a budget costs: a 200 kB event packed into 2,000 tokens, against one plain tiktoken encode of the same text.

Times are of the processor. Run it with `python -m benchmarks.context`; `--json` for machines, `--rounds N` for more rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Callable

from ai import tokens
from benchmarks.ratio import Comparison, compare, report
from penstock.expressions import Template, compile_template
from pipelines.context import assemble
from pipelines.declaration import Context

SIZE = 200_000  # characters of the event's text
BUDGET = 2_000  # tokens
AIM = 1.3

_LOG = (
    "2026-11-24T09:{minute:02}:{second:02}Z ERROR checkout failed for order {order}: timeout after {wait} ms\n"
    "    at com.acme.shop.Checkout.pay(Checkout.java:{line})\n"
)
_LETTER = "I wrote on day {order} that parcel {line} has not arrived, and nobody answered me. Please look into it. "
_GERMAN = (
    "Am Tag {order} schrieb ich, dass die Größe {line} nicht paßt, und niemand hat geantwortet. Bitte prüfen Sie. "
)
_number = itertools.count()


def main() -> int:
    """
    Measure three kinds of text and print the ratios.
    """
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    kinds = {"a log, many lines": _LOG, "a letter, one line": _LETTER, "German, one line": _GERMAN}
    return report([_compared(name, pattern, chosen.rounds) for name, pattern in kinds.items()], "tiktoken")


def _compared(name: str, pattern: str, rounds: int) -> Comparison:
    return compare(
        f"{name}: 200 kB into {BUDGET} tokens",
        _timed(_assembled, pattern),
        _timed(tokens.encoding().encode_ordinary, pattern),
        rounds,
        at_most=AIM,
    )


def _timed(work: Callable[[str], object], pattern: str) -> Callable[[], float]:
    def measure() -> float:
        text = _text(pattern)
        begun = time.process_time()  # work, not waiting: neighbours on the machine do not count
        work(text)
        return time.process_time() - begun

    return measure


def _text(pattern: str) -> str:
    """
    Return a text nobody has counted before, so that no cache helps.
    """
    start = next(_number) * 7_919
    lines = (
        pattern.format(order=start + n, line=n * 13 % 997, wait=n * 37 % 30_000, minute=n % 60, second=n * 7 % 60)
        for n in itertools.count()
    )
    found, size = [], 0
    while size < SIZE:
        found.append(next(lines))
        size += len(found[-1])
    return "".join(found)[:SIZE]


_CONTEXT = Context.model_validate(
    {
        "tokens": BUDGET,
        "sections": {"ticket": {"from": "event.data.description", "tokens": f"300..{BUDGET}", "cut": "middle"}},
    }
)
_LOOP = asyncio.Runner()


def _assembled(text: str) -> int:
    event = {"id": "1", "subject": "1", "data": {"description": text}}
    packed = assemble(_CONTEXT, event=event, fetch=_none, many=(), nonce="048213579624", templates=_template)
    found = _LOOP.run(packed)
    assert found.used <= BUDGET
    return found.used


async def _none(_target: str, _by: str, _most: int) -> list[dict[str, object]]:
    return []


def _template(name: str) -> Template:
    return compile_template("", name)


if __name__ == "__main__":
    raise SystemExit(main())
