"""
Calendar dates in prose, in the spellings that tickets use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Day = tuple[int | None, int, int]
"""Year (None when not said), month, day."""

_MONTHS = {
    1: "january janvier januar jänner enero gennaio janeiro januari jan ene gen janv",
    2: "february février fevrier februar febrero febbraio fevereiro februari feb fév févr",
    3: "march mars märz marzo março maart mar mrz maa",
    4: "april avril abril aprile apr avr abr",
    5: "may mai mayo maggio maio mei mag",
    6: "june juin juni junio giugno junho jun giu",
    7: "july juillet juli julio luglio julho jul lug juil",
    8: "august août aout agosto augustus aug ago",
    9: "september septembre septiembre settembre setembro sep sept set",
    10: "october octobre oktober octubre ottobre outubro oct okt ott out",
    11: "november novembre noviembre novembro nov",
    12: "december décembre decembre dezember diciembre dicembre dezembro dec déc dez dic",
}
_NUMBER_OF = {name: number for number, names in _MONTHS.items() for name in names.split()}
_NAME = "|".join(sorted(_NUMBER_OF, key=len, reverse=True))
_ISO = re.compile(r"(?<!\d)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)")
_SHORT = re.compile(r"(?<![\d.,/-])(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?![\d/-])")
_DAY_FIRST = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th|er|\.|º)?\s+(?:of\s+|de\s+)?({_NAME})\b\.?(?:,?\s+(?:de\s+)?(\d{{4}})\b)?",
    re.IGNORECASE,
)
_MONTH_FIRST = re.compile(rf"\b({_NAME})\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE)
_DAY = re.compile(r"(?<!\d)\d{1,2}(?!\d)")  # no date is written without a number of one or two digits
CENTURY = 2000  # of years written with two digits


def days(text: str) -> Iterator[tuple[str, tuple[Day, ...]]]:
    """
    Yield each date in *text* as written, with the days it can mean: `03/04/2026` has two.
    """
    if not _DAY.search(text):
        return
    for found in _ISO.finditer(text):
        yield from _dated(found[0], (int(found[1]), int(found[2]), int(found[3])))
    for found in _SHORT.finditer(text):
        year = int(found[4]) if len(found[4]) == 4 else CENTURY + int(found[4])
        one, two = int(found[1]), int(found[3])
        yield from _dated(found[0], (year, two, one), (year, one, two))
    for found in _DAY_FIRST.finditer(text):
        yield from _dated(found[0], (_year(found[3]), _NUMBER_OF[found[2].lower()], int(found[1])))
    for found in _MONTH_FIRST.finditer(text):
        yield from _dated(found[0], (_year(found[3]), _NUMBER_OF[found[1].lower()], int(found[2])))


def _year(text: str | None) -> int | None:
    return int(text) if text else None


def _dated(spelling: str, *choices: Day) -> Iterator[tuple[str, tuple[Day, ...]]]:
    possible = tuple(day for day in choices if 1 <= day[1] <= 12 and 1 <= day[2] <= 31)
    if possible:
        yield spelling, possible
