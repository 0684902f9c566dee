"""
Amounts as people write them: strict, with units, and never guessed.

    Amount         `0.02 USD`         int micro-USD
    Spend          `25 USD/day`       amount and period
    Duration       `20s`, `4h`        float seconds
    DurationRange  `2s..60s`          two durations
    Tokens         `2000`, `200k`     int tokens
    TokenRange     `60..120`, `..500` floor and ceiling
    Percent        `50%`              float, 0.5
    Share          `2%`, `0%`         float, 0.02
    Rate           `20/hour`          count and seconds
    PerMinute      `500/minute`, `200k/minute`  int
    StartingPoint  `now`, `2h`        where something new begins to read
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

MICRO = 1_000_000  # micro-USD per USD
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PER = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_LONGEST = 400 * 86400.0  # seconds: nothing is kept longer
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) USD")  # in micro-USD far below 2 ** 63
_SPEND = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) USD/(day|month)")
_TOKENS = re.compile(r"([0-9]{1,9})(k?)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_SHARE = re.compile(r"(100(?:\.0{1,6})?|[0-9]{1,2}(?:\.[0-9]{1,6})?)%")
_PER_MINUTE = re.compile(r"([0-9]{1,9})(k?)/minute")
_RATE = re.compile(r"([0-9]{1,9})/(second|minute|hour|day)")


def amount(text: Any) -> int:
    """
    Return micro-USD from `0.02 USD`.
    """
    if not isinstance(text, str) or not (match := _AMOUNT.fullmatch(text)):
        raise ValueError(f"{text!r} is not an amount of money: write for example '0.02 USD'")
    return _micro(match[1])


def _micro(number: str) -> int:
    return int(Decimal(number) * MICRO)


def usd(micro: int) -> str:
    """
    Return micro-USD as people write it, e.g. `0.0118 USD`.
    """
    return f"{Decimal(micro) / MICRO:f} USD"


def span(seconds: float) -> str:
    """
    Return seconds as a duration, in the largest unit that is whole.
    """
    for unit in ("d", "h", "m", "s"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{round(seconds * 1000)}ms"


def duration(text: Any) -> float:
    """
    Return seconds from `20s`, `5m`, `4h`, `30d`.
    """
    if not isinstance(text, str) or not (match := _DURATION.fullmatch(text)):
        raise ValueError(f"{text!r} is not a duration: write a number and ms, s, m, h or d, for example '20s'")
    seconds = float(Decimal(match[1]) * Decimal(str(_SECONDS[match[2]])))
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{text!r} is out of range: durations are more than 0 and at most 400d")
    return seconds


def tokens(text: Any) -> int:
    """
    Return tokens from `2000` or `200k`.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not (match := _TOKENS.fullmatch(text)):
        raise ValueError(f"{text!r} is not a number of tokens: write for example '2000' or '200k'")
    count = int(match[1]) * (1000 if match[2] else 1)
    if not 0 < count <= 10_000_000:
        raise ValueError(f"{text!r} is out of range: tokens are more than 0 and at most 10000k")
    return count


def percent(text: Any) -> float:
    """
    Return a share of one from `50%`.
    """
    if not isinstance(text, str) or not (match := _PERCENT.fullmatch(text)) or not 0 < float(match[1]) <= 100:
        raise ValueError(f"{text!r} is not a percentage: write for example '50%'")
    return float(match[1]) / 100


def share(text: Any) -> float:
    """
    Return a share of one from `2%`; none of it is `0%`.
    """
    if not isinstance(text, str) or not (match := _SHARE.fullmatch(text)):
        raise ValueError(f"{text!r} is not a share: write a percentage from '0%' to '100%', for example '2%'")
    return float(match[1]) / 100


def per_minute(text: Any) -> int:
    """
    Return a number from `500/minute` or `200k/minute`.
    """
    if not isinstance(text, str) or not (match := _PER_MINUTE.fullmatch(text)) or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a number per minute: write for example '500/minute' or '200k/minute'")
    return int(match[1]) * (1000 if match[2] else 1)


class _Written:
    """
    A value that pydantic reads from text.
    """

    _pattern = ""
    _example = ""

    @classmethod
    def parse(cls, text: Any) -> Any:
        """
        Return the value that *text* means; raises `ValueError`.
        """
        raise ValueError(f"{text!r} cannot be read")

    @classmethod
    def _read(cls, value: Any) -> Any:
        return value if isinstance(value, cls) else cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._read, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": cls._pattern, "examples": [cls._example]}


@dataclass(frozen=True)
class Spend(_Written):
    """
    Money per period.
    """

    amount: int
    """Micro-USD."""
    period: Literal["day", "month"]

    _pattern = f"^{_SPEND.pattern}$"
    _example = "25 USD/day"

    def __str__(self) -> str:
        return f"{usd(self.amount)}/{self.period}"

    @classmethod
    def parse(cls, text: Any) -> Spend:
        if not isinstance(text, str) or not (match := _SPEND.fullmatch(text)):
            raise ValueError(f"{text!r} is not money per period: write for example '25 USD/day' or '600 USD/month'")
        return cls(_micro(match[1]), "day" if match[2] == "day" else "month")


SETTLE_MOST = 10  # a single duration stretches to this many times itself at most


@dataclass(frozen=True)
class DurationRange(_Written):
    """
    A shortest and a longest duration, in seconds.
    """

    low: float
    high: float

    _pattern = rf"^{_DURATION.pattern}(\.\.{_DURATION.pattern})?$"
    _example = "2s..60s"

    def __str__(self) -> str:
        return f"{span(self.low)}..{span(self.high)}"

    @classmethod
    def parse(cls, text: Any) -> DurationRange:
        low, dots, high = text.partition("..") if isinstance(text, str) else (text, "", "")
        first = duration(low)
        last = duration(high) if dots else first * SETTLE_MOST
        if last < first:
            raise ValueError(f"{text!r} runs backwards: write the shorter duration first, for example '2s..60s'")
        return cls(first, last)


@dataclass(frozen=True)
class TokenRange(_Written):
    """
    Tokens at least and at most; no ceiling is None.
    """

    floor: int
    ceiling: int | None

    _pattern = r"^([0-9]{1,9}k?(\.\.([0-9]{1,9}k?)?)?|\.\.[0-9]{1,9}k?)$"
    _example = "60..120"

    def __str__(self) -> str:
        return f"{self.floor or ''}..{self.ceiling or ''}"

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        written = {"type": "string", "pattern": cls._pattern}
        return {"anyOf": [{"type": "integer", "minimum": 1}, written], "examples": [cls._example]}

    @classmethod
    def parse(cls, text: Any) -> TokenRange:
        text = str(text) if isinstance(text, int) and not isinstance(text, bool) else text
        if not isinstance(text, str) or text in ("", ".."):
            raise ValueError(f"{text!r} is not a range of tokens: write for example '60..120', '..500' or '300..'")
        low, dots, high = text.partition("..")
        if not dots:
            low, high = "", low
        floor = tokens(low) if low else 0
        ceiling = tokens(high) if high else None
        if ceiling is not None and ceiling < floor:
            raise ValueError(f"{text!r} runs backwards: write the smaller number first, for example '60..120'")
        return cls(floor, ceiling)


@dataclass(frozen=True)
class Rate(_Written):
    """
    So many per so many seconds.
    """

    count: int
    seconds: float

    _pattern = f"^{_RATE.pattern}$"
    _example = "20/hour"

    def __str__(self) -> str:
        return f"{self.count}/{next(word for word, seconds in _PER.items() if seconds == self.seconds)}"

    @classmethod
    def parse(cls, text: Any) -> Rate:
        if not isinstance(text, str) or not (match := _RATE.fullmatch(text)) or int(match[1]) == 0:
            raise ValueError(f"{text!r} is not a rate: write a number per second, minute, hour or day, like '20/hour'")
        return cls(int(match[1]), _PER[match[2]])


_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})"


@dataclass(frozen=True)
class StartingPoint(_Written):
    """
    Where something new begins to read: `now`, `oldest`, a time, or a span back.
    """

    text: str

    _pattern = f"^(now|oldest|{_DURATION.pattern}|{_MOMENT})$"
    _example = "2h"

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: Any) -> StartingPoint:
        if not isinstance(text, str) or not re.fullmatch(cls._pattern, text):
            raise ValueError(
                f"{text!r} is no starting point: write 'now', 'oldest', a span back like '2h', "
                "or a time with its zone like '2026-11-24T08:00:00Z'"
            )
        try:
            cls(text).at(0)
        except ValueError as error:
            raise ValueError(f"{text!r} is no time: {error}") from None
        return cls(text)

    def at(self, now_ms: int) -> Literal["now", "oldest"] | int:
        """
        Return what it means at UTC ms *now_ms*; a time as UTC ms. Raises `ValueError` for a day there is not.
        """
        if self.text == "now":
            return "now"
        if self.text == "oldest":
            return "oldest"
        if _DURATION.fullmatch(self.text):
            return now_ms - int(duration(self.text) * 1000)
        return int(datetime.fromisoformat(self.text).astimezone(UTC).timestamp() * 1000)


NOW = StartingPoint("now")

Amount = Annotated[
    int,
    BeforeValidator(amount),
    WithJsonSchema({"type": "string", "pattern": f"^{_AMOUNT.pattern}$", "examples": ["0.02 USD"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["20s"]}),
]
Tokens = Annotated[
    int,
    BeforeValidator(tokens),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": f"^{_TOKENS.pattern}$"},
            ],
            "examples": [2000, "200k"],
        }
    ),
]
PerMinute = Annotated[
    int,
    BeforeValidator(per_minute),
    WithJsonSchema({"type": "string", "pattern": f"^{_PER_MINUTE.pattern}$", "examples": ["200k/minute"]}),
]
Share = Annotated[
    float,
    BeforeValidator(share),
    WithJsonSchema({"type": "string", "pattern": f"^{_SHARE.pattern}$", "examples": ["2%"]}),
]
Percent = Annotated[
    float,
    BeforeValidator(percent),
    WithJsonSchema({"type": "string", "pattern": f"^{_PERCENT.pattern}$", "examples": ["50%"]}),
]
